package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/policies"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/store"
)

// policyBook is this replica's view of every policy's history, and of what the
// files say of it. It is safe for concurrent use.
type policyBook struct {
	mu     sync.Mutex
	pages  map[string]policyPage      // by namespace/name
	edited map[string]json.RawMessage // the specs of the files as they were read last
	files  map[string]json.RawMessage // the same of those that were applied
	models map[string]string          // the one policy of a model; empty: it has several
	counts map[string]policies.Counts // that came since they were last written
	at     map[string]time.Time       // when they were

	copy  *localCopy    // of those that are pinned
	known chan struct{} // closed when the store has been read
	until time.Time     // how long that is waited for
}

type policyPage struct {
	state    policies.State
	revision int64
}

func openPolicyBook(c *localCopy, until time.Time) (*policyBook, error) {
	b := &policyBook{
		pages: map[string]policyPage{}, files: map[string]json.RawMessage{}, edited: map[string]json.RawMessage{},
		models: map[string]string{}, counts: map[string]policies.Counts{}, at: map[string]time.Time{},
		copy: c, known: make(chan struct{}), until: until,
	}
	for name, text := range c.all() {
		state, err := policies.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: policy %s: %w", c.path(), name, err)
		}
		b.pages[name] = policyPage{state: state}
	}
	return b, nil
}

// wait waits for the store's first answer, but not for ever: until then nobody knows
// what was pinned since the local copy was written.
func (b *policyBook) wait() {
	end := time.NewTimer(time.Until(b.until))
	defer end.Stop()
	select {
	case <-b.known:
	case <-end.C:
	}
}

// Edit puts what a person has pinned in the place of what the files say of a
// policy. It is called with every world before that is compiled, once Run runs.
func (c *Control) Edit(w *config.World) config.Problems {
	b := c.policies
	b.wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	var problems config.Problems
	b.edited = map[string]json.RawMessage{}
	for _, p := range w.Policies {
		spec, err := json.Marshal(p.Value.Spec)
		if err != nil {
			problems = append(problems, p.Source.Problem("spec", "cannot be kept: %v", err))
			continue
		}
		b.edited[p.Key()] = spec
		held := b.pages[p.Key()].state
		if held.Pinned == 0 {
			continue
		}
		var pinned v1alpha1.FailSafePolicySpec
		if err := json.Unmarshal(held.Effective(spec), &pinned); err != nil {
			problems = append(problems, p.Source.Problem("spec", "is pinned to change %d, which cannot be read: %v", held.Pinned, err))
			continue
		}
		p.Value.Spec = pinned
	}
	return problems
}

// followPolicies takes in what the store has of policies, and has the files read
// again where a pin came or went.
func (c *Control) followPolicies(ctx context.Context) {
	first := true
	for events := range c.o.Store.Watch(ctx, policiesPrefix) {
		again := false
		for i := range events {
			name := strings.TrimPrefix(events[i].Key, policiesPrefix)
			moved, err := c.policies.take(&events[i])
			if known := c.policies.get(name).revision; err == nil && events[i].Revision < known {
				err = c.rereadPolicy(ctx, name, known) // our own write came first, or the store was set back
			}
			if err != nil && ctx.Err() == nil {
				c.o.Log.Error().Err(err).Str("policy", name).Msg("a policy's history cannot be followed")
			}
			again = again || moved
		}
		if first {
			close(c.policies.known)
			first = false
		}
		if again {
			c.o.Reload()
		}
	}
}

// take notes a policy's history, and reports whether another content is pinned
// now.
func (b *policyBook) take(e *store.Event) (moved bool, err error) {
	name := strings.TrimPrefix(e.Key, policiesPrefix)
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.pages[name]
	if ours, _ := json.Marshal(old.state); e.Revision < old.revision || e.Revision == old.revision && bytes.Equal(ours, e.Value) {
		return false, nil
	}
	if e.Deleted { // the store has lost it: it is written again
		b.pages[name] = policyPage{state: old.state}
		return false, nil
	}
	next, err := policies.Parse(e.Value)
	if err != nil {
		return false, err
	}
	b.turn(name, policyPage{next, e.Revision}, e.Value)
	return next.Pinned != old.state.Pinned, nil
}

// turn goes to another page, of which text is the state. b.mu is held.
func (b *policyBook) turn(name string, to policyPage, text []byte) {
	before := b.pages[name].state.Pinned
	b.pages[name] = to
	switch {
	case to.state.Pinned != 0:
		b.copy.set(name, text)
	case before != 0:
		b.copy.drop(name)
	}
}

// rereadPolicy takes over what the store has of a policy that is not known otherwise
// than at a revision which it is not at any more; that may be an older one.
func (c *Control) rereadPolicy(ctx context.Context, name string, known int64) error {
	entry, err := c.o.Store.Get(ctx, policiesPrefix+name)
	gone := errors.Is(err, store.ErrNotFound)
	if err != nil && !gone {
		return err
	}
	b := c.policies
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.pages[name].revision != known: // told otherwise meanwhile
	case gone:
		b.pages[name] = policyPage{state: b.pages[name].state}
	default:
		state, err := policies.Parse(entry.Value)
		if err != nil {
			return err
		}
		if state.Pinned != b.pages[name].state.Pinned {
			c.o.Reload()
		}
		b.turn(name, policyPage{state, entry.Revision}, entry.Value)
	}
	return nil
}

// count attributes what came of a model to its policy, where it has one.
func (b *policyBook) count(came []signals.Increment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range came {
		policy := b.models[came[i].Model]
		if policy == "" {
			continue
		}
		n := b.counts[policy]
		n.Clean += came[i].Clean - min(came[i].Clean, came[i].Observed)
		n.Observed += came[i].Observed
		if current, ok := b.pages[policy].state.Change(b.pages[policy].state.Current); ok && current.Mode == string(v1alpha1.Observe) {
			n.Observed += came[i].Bad // what would have been answered passed
		} else {
			n.Bad += came[i].Bad
		}
		b.counts[policy] = n
	}
}

// cover notes that the files which were read last are in use, and which policy
// judges each model's answers.
func (b *policyBook) cover(s *compile.Snapshot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.files = b.edited // a world that was refused is no change
	clear(b.models)
	for _, r := range s.Judged() {
		p := r.Policy
		if other, known := b.models[p.Model]; known && other != p.Name {
			b.models[p.Model] = "" // nobody can tell them apart here
			continue
		}
		b.models[p.Model] = p.Name
	}
}

// recordPolicies writes what the files say where that is news, and the counts.
func (c *Control) recordPolicies(ctx context.Context) {
	c.policies.mu.Lock()
	specs := make(map[string]json.RawMessage, len(c.policies.files))
	for name, spec := range c.policies.files {
		specs[name] = spec
	}
	c.policies.mu.Unlock()
	for _, name := range sortedKeys(specs) {
		from := c.policies.get(name)
		state := c.policies.counted(name, from.state)
		next, changed, err := policies.Observe(state, specs[name], time.Now())
		if err == nil && (changed || from.revision == 0 || c.policies.due(name, time.Now())) {
			err = c.putPolicy(ctx, name, from, next)
		}
		if err != nil && !errors.Is(err, store.ErrConflict) {
			c.o.Log.Warn().Err(err).Str("policy", name).Msg("a policy's history cannot be written")
		}
	}
}

func (b *policyBook) get(name string) policyPage {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pages[name]
}

// countsEvery is how many answers a policy's counts may be behind in the store, and
// countsFor for how long.
const (
	countsEvery = 10_000
	countsFor   = time.Minute
)

// due reports whether counts are worth a write.
func (b *policyBook) due(name string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.counts[name]
	sum := n.Clean + n.Bad + n.Observed
	if b.at[name].IsZero() {
		b.at[name] = now
	}
	return sum >= countsEvery || sum > 0 && now.Sub(b.at[name]) >= countsFor
}

// counted adds what came to the change in force.
func (b *policyBook) counted(name string, s policies.State) policies.State {
	b.mu.Lock()
	defer b.mu.Unlock()
	current, ok := s.Change(s.Current)
	if !ok {
		return s
	}
	n, sum := b.counts[name], current.Counts
	sum.Clean += n.Clean
	sum.Bad += n.Bad
	sum.Observed += n.Observed
	return s.Counted(sum)
}

func (c *Control) putPolicy(ctx context.Context, name string, from policyPage, next policies.State) error {
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	entry, err := c.o.Store.Put(ctx, policiesPrefix+name, text, from.revision)
	if errors.Is(err, store.ErrConflict) {
		return errors.Join(err, c.rereadPolicy(ctx, name, from.revision)) // the next try finds it
	}
	if err != nil {
		return err
	}
	c.policies.wrote(name, from, policyPage{next, entry.Revision}, text)
	return nil
}

// wrote notes what is in the store, and that the counts in it are.
func (b *policyBook) wrote(name string, from, to policyPage, text []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := b.pages[name].revision; to.revision > now || now == from.revision {
		b.turn(name, to, text)
	}
	b.at[name] = time.Now()
	old, _ := from.state.Change(from.state.Current)
	now, _ := to.state.Change(old.Number)
	left := b.counts[name]
	left.Clean -= min(left.Clean, now.Counts.Clean-old.Counts.Clean)
	left.Bad -= min(left.Bad, now.Counts.Bad-old.Counts.Bad)
	left.Observed -= min(left.Observed, now.Counts.Observed-old.Counts.Observed)
	b.counts[name] = left
}

// inFiles reports whether the files that are in use have a policy.
func (b *policyBook) inFiles(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, in := b.files[name]
	return in
}

func (b *policyBook) names() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return sortedKeys(b.pages)
}
