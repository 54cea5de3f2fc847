package control

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/probe"
)

// KillProof is what is proven of a target: for every expected proxy that it has
// taken routes and clusters without it, and that its workers show them.
func (c *Control) KillProof(t kill.Target) admin.KillProof {
	rows, set := c.killRows()
	return c.killProofOf(t, rows, set)
}

// killProofOf is it, of this replica's proxies and the mark of the set in force.
func (c *Control) killProofOf(t kill.Target, rows []admin.KillRow, set string) admin.KillProof {
	now := time.Now().UTC()
	state := c.kills.get(t).state
	rows = append(rows, c.whomRows()...)
	hosts := c.killHosts()
	out := admin.KillProof{State: admin.KillStateOf(state, now), Set: set, At: now}
	for _, said := range c.proofs.otherKills() {
		rows = append(rows, said.rows(set)...)
		said.Hosts.addTo(&hosts, said.Set == set)
	}
	out.Rows = merge(append(rows, hosts.rows(set)...))
	for _, r := range out.Rows {
		out.Expected++
		if r.State == admin.StepProven {
			out.Proven++
		}
	}
	out.Complete = out.Proven == out.Expected
	return out
}

// killRows are this replica's proxies, and the mark of the set that is in force.
func (c *Control) killRows() (rows []admin.KillRow, set string) {
	set = compile.KillsOf(c.kills.set()).Enforced
	if c.o.Mesh != nil {
		m := c.meshKills()
		return m.rows(c.o.Replica), set
	}
	c.publishing.Lock()
	version, published := c.rendered.version, c.rendered.kills == c.kills.set()
	c.publishing.Unlock()
	missing := map[string]xds.Missing{}
	proof := c.o.XDS.Proof(version)
	for _, m := range proof.Missing {
		missing[m.Node] = m
	}
	elsewhere := c.proofs.elsewhere()
	for _, x := range c.o.XDS.Proxies() {
		m, behind := missing[x.Node]
		if x.Processor || m.Reason == xds.Unsubscribed || elsewhere[x.Node] && !x.Connected {
			continue // no model is reached through it; or it has moved
		}
		row := admin.KillRow{Node: x.Node, Kind: kindProxy, Replica: c.o.Replica}
		switch seen := c.killProofs.of(x.Node, set); {
		case !published || !proof.Known:
			row.State, row.How = admin.StepPushed, "the configuration is not published yet"
		case behind:
			row.State, row.How = stepOf(m.Reason), strings.TrimPrefix(m.At(time.Now()), x.Node+": ")
		case !x.Connected:
			row.State, row.How = admin.StepSilent, "it has taken the change, and is cut off since "+x.Since.UTC().Format(time.TimeOnly)
			if seen.Shows(set) {
				row.State, row.How = admin.StepProven, howSeen(seen, set)
			}
		case seen.Shows(set):
			row.State, row.How = admin.StepProven, howSeen(seen, set)
		default:
			row.State, row.How = admin.StepAcked, howSeen(seen, set)
		}
		rows = append(rows, row)
	}
	return rows, set
}

func stepOf(r xds.Reason) admin.KillStep {
	switch r {
	case xds.Refused:
		return admin.StepRefused
	case xds.Silent:
		return admin.StepSilent
	default:
		return admin.StepPushed
	}
}

// howSeen says what a proxy showed, or why it did not.
func howSeen(s probe.Seen, set string) string {
	switch {
	case s.Shows(set):
		return fmt.Sprintf("probe: %d of %d connections show it", s.Sets[set], s.Asked)
	case s.Asked == 0 && s.Problem == "":
		return "ACKed; it is being asked"
	case s.Asked == 0:
		return "ACKed, and not asked: " + s.Problem
	case s.Answered == 0:
		return "ACKed; the probe got no answer: " + s.Problem
	default:
		text := fmt.Sprintf("ACKed; probe: %d of %d connections show it", s.Sets[set], s.Asked)
		if s.Problem != "" {
			text += ", " + s.Problem
		}
		return text
	}
}

// merge has one row of each node: of one that two replicas tell of, that of the
// replica which it is connected to.
func merge(rows []admin.KillRow) []admin.KillRow {
	best := map[string]admin.KillRow{}
	for _, r := range rows {
		old, known := best[r.Kind+"/"+r.Node]
		if !known || old.State == admin.StepSilent && r.State != admin.StepSilent {
			best[r.Kind+"/"+r.Node] = r
		}
	}
	return slices.SortedFunc(maps.Values(best), func(x, y admin.KillRow) int {
		return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Node, y.Node))
	})
}

// killStatement is what a replica says of its proxies' kills.
type killStatement struct {
	Replica string          `json:"replica,omitempty"`
	Set     string          `json:"set,omitempty"`
	Rows    []admin.KillRow `json:"rows,omitempty"`
	Proven  int             `json:"proven,omitempty"` // rows that are not named, as they are proven
	More    int             `json:"more,omitempty"`   // rows that are not named, and not proven
	Hosts   killHosts       `json:"hosts,omitzero"`
}

// killStatement is this replica's.
func (c *Control) killStatement() killStatement {
	if c.kills.set().Empty() {
		return killStatement{}
	}
	rows, set := c.killRows()
	said := killStatement{Replica: c.o.Replica, Set: set, Hosts: c.killHosts().short(mostWords)}
	for _, r := range rows {
		r.How = withoutAge(r)
		switch {
		case len(said.Rows) < mostNamed && r.State != admin.StepProven:
			said.Rows = append(said.Rows, r)
		case r.State == admin.StepProven:
			said.Proven++
		default:
			said.More++
		}
	}
	said.Rows = append(said.Rows, c.whomRows()...)
	return said
}

// withoutAge keeps a statement from changing with each second.
func withoutAge(r admin.KillRow) string {
	switch r.State {
	case admin.StepSilent, admin.StepPushed:
		return string(r.State)
	default:
		return r.How
	}
}

// rows are what another replica says, of the set that is in force here.
func (s *killStatement) rows(set string) []admin.KillRow {
	if s.Set != set {
		return []admin.KillRow{{Node: "replica " + s.Replica, Kind: "proxy", Replica: s.Replica, State: admin.StepPushed, How: "it has not published these kills yet"}}
	}
	out := slices.Clone(s.Rows)
	for i := range s.Proven {
		out = append(out, admin.KillRow{
			Node: fmt.Sprintf("(proxy %d of replica %s)", i+1, s.Replica), Kind: "proxy", Replica: s.Replica, State: admin.StepProven, How: "as that replica says",
		})
	}
	if s.More > 0 {
		out = append(out, admin.KillRow{
			Node: fmt.Sprintf("(%d more of replica %s)", s.More, s.Replica), Kind: "proxy", Replica: s.Replica, State: admin.StepPushed, How: "not proven",
		})
	}
	return out
}

// scrapeKills tells how many targets are killed, and how many rows of the proof are
// not proven.
func (c *Control) scrapeKills() (killed, unproven float64) {
	set := c.kills.set()
	if set.Empty() {
		return 0, 0
	}
	for _, s := range set.All() {
		if s.Killed {
			killed++
		}
	}
	proof := c.KillProof(kill.Everything) // the rows are those of all targets
	return killed, float64(proof.Expected - proof.Proven)
}
