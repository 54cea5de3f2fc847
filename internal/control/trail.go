package control

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/audit"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/policies"
	"github.com/safestate/safestate/internal/release"
)

// Trail is where what was done is recorded for good; *audit.Log is one. It is safe
// for concurrent use.
type Trail interface {
	// Append returns when the entry is durable. One whose ID is there already is not
	// written again.
	Append(ctx context.Context, e audit.Entry) (audit.Entry, error)
}

// trailPatience is how long the trail has for one entry: its disk may hang.
const trailPatience = 3 * time.Second

// note brings entries of what was done to the trail.
func (c *Control) note(entries ...audit.Entry) error {
	if err := c.append(entries...); err != nil {
		return fmt.Errorf("it is done, and the audit trail does not take it: %w", err)
	}
	return nil
}

// begin notes what is about to be done, where nothing but this tells of it after a
// crash. A trail that does not take it holds nothing up: what was done comes after
// it, and is answered with an error then.
func (c *Control) begin(e audit.Entry) {
	e.ID, e.Outcome = "", audit.OutcomeBegun
	if err := c.append(e); err != nil {
		c.o.Log.Error().Err(err).Str("target", e.Target).Msg("what is about to be done is not in the audit trail")
	}
}

func (c *Control) append(entries ...audit.Entry) error {
	if c.o.Trail == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), trailPatience)
	defer cancel()
	for i := range entries {
		if _, err := c.o.Trail.Append(ctx, entries[i]); err != nil {
			return err
		}
	}
	return nil
}

// trail brings the kills and revives that this replica took to its audit trail, and
// where it leads those of replicas that are gone.
func (c *Control) trail() error {
	for _, r := range c.kills.untold(time.Now(), c.leads()) {
		if err := c.note(killEntry(&r)); err != nil {
			return err
		}
		c.kills.told(r)
		if c.o.Killed != nil {
			c.o.Killed(r)
		}
	}
	return nil
}

// entryID is the ID of what an entry tells, by its kind and what else tells it from
// every other. Names may be longer than the trail's IDs, and a replica's may hold
// anything: then the ID is a hash.
func entryID(kind string, parts ...any) string {
	id := kind
	for _, part := range parts {
		id += fmt.Sprintf("/%v", part)
	}
	odd := func(r rune) bool { return r < ' ' || r > '~' }
	if len(id) > audit.MaxID || strings.ContainsFunc(id, odd) {
		return fmt.Sprintf("%s/%x", kind, sha256.Sum256([]byte(id)))
	}
	return id
}

// killKinds are the kinds of entries that tell of kills.
var killKinds = map[kill.Kind]audit.Kind{
	kill.KindKill: audit.KindKill, kill.KindAsked: audit.KindRevive, kill.KindApproved: audit.KindApproval,
	kill.KindRevive: audit.KindRevive, kill.KindMerged: audit.KindMerge, kill.KindCounted: audit.KindKill,
}

func killEntry(r *kill.Record) audit.Entry {
	e := audit.Entry{
		Kind: killKinds[r.Kind], ID: entryID("kill", r.Target.Key(), r.Replica, r.Sequence, r.At.UnixNano()), Happened: r.At,
		Actor: audit.Actor{Name: r.By, How: r.How, Address: r.Address}, Target: r.Target.Key(), Reason: r.Reason, Generation: r.Generation, After: encoded(r),
	}
	switch r.Kind {
	case kill.KindAsked:
		e.Outcome = audit.OutcomeBegun
	case kill.KindCounted:
		e.Outcome = audit.OutcomeFailed
	}
	if r.Evidence != "" {
		e.Evidence = encoded(r.Evidence)
	}
	return e
}

// releaseEntries are those of the records that a state has and the one before had
// not.
func releaseEntries(from, to *release.State) (out []audit.Entry) {
	for i := range to.Outbox {
		if r := &to.Outbox[i]; r.Sequence > from.Sequence {
			out = append(out, releaseEntry(r))
		}
	}
	return out
}

func releaseEntry(r *release.Record) audit.Entry {
	e := audit.Entry{
		Kind: audit.KindRelease, ID: entryID("release", r.Model, r.Sequence, r.At.UnixNano()), Happened: r.At,
		Actor: audit.Actor{Name: r.By}, Target: "model/" + r.Model, Reason: string(r.Kind) + ": " + r.Reason, Generation: r.Generation,
		Before: encoded(r.Before), After: encoded(r.After), Evidence: encoded(r),
	}
	if r.By == release.By {
		e.Kind = audit.KindDecision
	}
	return e
}

// policyEntry tells of a policy's newest change, and who made it.
func policyEntry(name string, from, to *policies.State, by audit.Actor) audit.Entry {
	number := func(s *policies.State) json.RawMessage {
		return encoded(map[string]any{"number": s.Current})
	}
	e := audit.Entry{
		Kind: audit.KindPolicy, ID: entryID("policy", name, from.Current, to.Current), Target: "policy/" + name,
		Before: number(from), After: number(to), Actor: by,
	}
	if change, ok := to.Change(to.Current); ok {
		e.ID = entryID("policy", name, from.Current, to.Current, change.At.UnixNano())
		e.Happened, e.Reason, e.After = change.At, change.Reason, encoded(change)
	}
	return e
}

// encoded is a value as JSON; nil: it is none, or has nothing in it.
func encoded(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil || string(text) == "null" {
		return nil
	}
	return text
}
