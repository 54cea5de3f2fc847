package control

import (
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/policies"
)

// policyList is what the status tells of policies: those of the files, and those that
// a person holds.
func (c *Control) policyList() []admin.Policy {
	out := []admin.Policy{}
	for _, name := range c.policies.names() {
		p := c.policyOf(name, c.policies.counted(name, c.policies.get(name).state))
		if !p.Gone || p.Pinned {
			out = append(out, p)
		}
	}
	return out
}

func (c *Control) policyOf(name string, s policies.State) admin.Policy {
	current, _ := s.Change(s.Current)
	out := admin.Policy{
		Policy: name, Number: uint64(s.Current), By: current.By, Mode: current.Mode, EnforcePercent: current.EnforcePercent,
		Pinned: s.Pinned != 0, File: uint64(s.File), Reason: current.Reason, Gone: c.snapshot() != nil && !c.policies.inFiles(name),
		Observed: current.Counts.Observed, Enforced: current.Counts.Bad,
	}
	if current.From != nil {
		out.Since = *current.From
	}
	return out
}

// policyHistory are the changes of policies, of one or with an empty name of all.
func (c *Control) policyHistory(only string) []admin.PolicyRecord {
	out := []admin.PolicyRecord{}
	for _, name := range c.policies.names() {
		if only != "" && only != name {
			continue
		}
		before := uint64(0)
		for _, change := range c.policies.get(name).state.Changes {
			kind := "changed"
			switch {
			case change.Unpins:
				kind = "unpinned"
			case change.Restores != 0:
				kind = "rollback"
			case change.From == nil:
				kind = "recorded"
			}
			out = append(out, admin.PolicyRecord{
				Policy: name, Number: uint64(change.Number), Before: before, At: change.At, Kind: kind, By: change.By,
				Reason: change.Reason, Mode: change.Mode, EnforcePercent: change.EnforcePercent,
			})
			if change.From != nil {
				before = uint64(change.Number)
			}
		}
	}
	return out
}
