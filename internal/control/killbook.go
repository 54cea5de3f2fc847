package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/store"
)

// killBook is this replica's view of everything that was ever killed: the
// store's, and until that was read, or where it is away, its own. What it has is
// in force at once. It is safe for concurrent use.
//
// What the store says and what is known here are reconciled: nothing that is
// killed comes back by a store that was set back, lost, or written by a replica
// that was away.
type killBook struct {
	store   store.Store
	copy    *localCopy
	replica string
	live    *kill.Live

	mu      sync.Mutex
	pages   map[kill.Target]killPage
	unsaved map[kill.Target]bool    // whose newest state is not in the store
	broken  map[string]error        // keys of which nothing could be read
	read    bool                    // the store has answered once
	trailed map[kill.RecordKey]bool // records that are in the audit trail
}

// killPage is one target's state and the store's revision of it; 0: the store
// has none.
type killPage struct {
	state    kill.State
	revision int64
}

// openKillBook starts from the local copy, which is in force before the store has
// answered.
func openKillBook(s store.Store, c *localCopy, replica string) (*killBook, error) {
	b := &killBook{
		store: s, copy: c, replica: replica, live: kill.NewLive(nil), pages: map[kill.Target]killPage{},
		unsaved: map[kill.Target]bool{}, broken: map[string]error{}, trailed: map[kill.RecordKey]bool{},
	}
	for key, text := range c.all() {
		state, err := decodeKill(key, text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.path(), err)
		}
		b.pages[state.Target] = killPage{state: state}
	}
	b.enforce()
	return b, nil
}

func decodeKill(key string, text []byte) (kill.State, error) {
	state, err := kill.Decode(text)
	if err == nil && state.Target.Key() != key {
		err = fmt.Errorf("it says that it is that of %s", state.Target)
	}
	if err != nil {
		return state, fmt.Errorf("the kill %s cannot be used: %w", key, err)
	}
	return state, nil
}

// enforce puts what is known in force. b.mu is held, or b is nobody else's yet.
func (b *killBook) enforce() {
	states := make([]kill.State, 0, len(b.pages))
	for t := range b.pages {
		states = append(states, b.pages[t].state)
	}
	b.live.Store(kill.NewSet(states...))
}

// set is what is in force.
func (b *killBook) set() *kill.Set {
	set, _ := b.live.Load()
	return set
}

// get returns a target's state, and the revision that it was made from.
func (b *killBook) get(t kill.Target) killPage {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p, ok := b.pages[t]; ok {
		return p
	}
	return killPage{state: kill.New(t)}
}

// ready reports whether the store was read once.
func (b *killBook) ready() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read
}

// take notes what a watch of the store told, and reports whether something else
// is in force by it. What could not be read is a problem; what was known of it
// stays.
func (b *killBook) take(events []store.Event) (changed bool, problems []error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.read {
		b.read = true
		in := map[string]bool{}
		for i := range events {
			in[strings.TrimPrefix(events[i].Key, killsPrefix)] = true
		}
		for t := range b.pages {
			b.unsaved[t] = b.unsaved[t] || !in[t.Key()]
		}
	}
	for i := range events {
		e := &events[i]
		key := strings.TrimPrefix(e.Key, killsPrefix)
		t, err := kill.ParseKey(key)
		if err == nil && e.Deleted {
			if p, known := b.pages[t]; known && e.Revision >= p.revision {
				b.pages[t] = killPage{state: p.state}
				b.unsaved[t] = true
			}
			continue
		}
		var differs bool
		if err == nil {
			differs, err = b.accept(key, e.Entry)
		}
		if err != nil {
			b.broken[key] = err
			problems = append(problems, err)
		}
		changed = changed || differs
	}
	if changed {
		b.enforce()
	}
	return changed, problems
}

// accept reconciles what the store has of a target with what is known here. b.mu
// is held.
func (b *killBook) accept(key string, e store.Entry) (changed bool, problem error) {
	theirs, err := decodeKill(key, e.Value)
	if err != nil {
		return false, err
	}
	delete(b.broken, key)
	ours, known := b.pages[theirs.Target]
	if known && e.Revision < ours.revision {
		return false, nil // our own write came first
	}
	state := theirs
	if known {
		state = kill.Reconcile(ours.state, theirs, kill.Moment{At: time.Now().UTC(), Replica: b.replica})
	}
	b.keep(killPage{state, e.Revision})
	if sameKill(state, theirs) {
		delete(b.unsaved, theirs.Target)
	} else {
		b.unsaved[theirs.Target] = true
	}
	return !known || !sameEffect(ours.state, state), nil
}

// keep notes a state, in memory and in the local copy. b.mu is held.
func (b *killBook) keep(p killPage) {
	b.pages[p.state.Target] = p
	if text, err := json.Marshal(p.state); err == nil {
		b.copy.set(p.state.Target.Key(), text)
	}
}

// sameKill reports whether two states of a target are one, but for records that
// one of them does not carry any more.
func sameKill(x, y kill.State) bool {
	x.Outbox, y.Outbox = nil, nil
	return x.Sequence == y.Sequence && reflect.DeepEqual(x, y)
}

// sameEffect reports whether two states of a target let the same through.
func sameEffect(x, y kill.State) bool {
	return x.Killed == y.Killed && x.Mode == y.Mode && x.Generation == y.Generation && x.Since.Equal(y.Since) && reflect.DeepEqual(x.Ramp, y.Ramp)
}

// put writes a target's next state over the one that it was made from; it is in
// force then. With store.ErrConflict somebody else was first, and get says what
// there is now.
func (b *killBook) put(ctx context.Context, from killPage, next kill.State) error {
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	entry, err := b.store.Put(ctx, killKey(next.Target), text, from.revision)
	if errors.Is(err, store.ErrConflict) {
		return errors.Join(err, b.reread(ctx, next.Target))
	}
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pages[next.Target].revision >= entry.Revision {
		return nil // the watch has told of it, or of a later one
	}
	if now := b.pages[next.Target].state; now.Sequence != from.state.Sequence {
		// a kill that was taken here meanwhile, without the store
		next = kill.Reconcile(now, next, kill.Moment{At: time.Now().UTC(), Replica: b.replica})
		b.unsaved[next.Target] = true
	} else {
		delete(b.unsaved, next.Target)
	}
	b.keep(killPage{next, entry.Revision})
	b.enforce()
	return nil
}

// reread takes over what the store has of a target now.
func (b *killBook) reread(ctx context.Context, t kill.Target) error {
	entry, err := b.store.Get(ctx, killKey(t))
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case errors.Is(err, store.ErrNotFound):
		if p, known := b.pages[t]; known {
			b.pages[t] = killPage{state: p.state}
			b.unsaved[t] = true
		}
		return nil
	case err != nil:
		return err
	}
	if p, known := b.pages[t]; known && entry.Revision < p.revision { // the store was set back
		b.pages[t] = killPage{state: p.state}
	}
	changed, err := b.accept(t.Key(), entry)
	if changed {
		b.enforce()
	}
	return err
}

// alone is a kill without the store: it is in force when alone returns, and on
// this replica's disk where the error is nil.
func (b *killBook) alone(o kill.Order, t kill.Target) (kill.State, error) {
	b.mu.Lock()
	p, known := b.pages[t]
	if !known {
		p.state = kill.New(t)
	}
	next := kill.Kill(p.state, o)
	b.keep(killPage{next, p.revision})
	b.unsaved[t] = true
	b.enforce()
	b.mu.Unlock()
	return next, b.copy.flush()
}

// stored reports whether the store has the newest state of a target.
func (b *killBook) stored(t kill.Target) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pages[t].revision != 0 && !b.unsaved[t]
}

// lost returns the targets whose newest state is not in the store.
func (b *killBook) lost() []kill.Target {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []kill.Target
	for t, is := range b.unsaved {
		if is {
			out = append(out, t)
		}
	}
	return out
}

// save writes what the store has lost, or could not take.
func (b *killBook) save(ctx context.Context) error {
	if !b.ready() {
		return nil
	}
	for _, t := range b.lost() {
		from := b.get(t)
		if err := b.put(ctx, from, from.state); err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return nil
}

// unreadable is why something that the store has of kills cannot be read; nil:
// everything can.
func (b *killBook) unreadable() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []error
	for _, key := range sortedKeys(b.broken) {
		all = append(all, b.broken[key])
	}
	return errors.Join(all...)
}

// untold returns the records that this replica made and that are not known to be
// in its audit trail, oldest first.
func (b *killBook) untold() []kill.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []kill.Record
	here := map[kill.RecordKey]bool{}
	for t := range b.pages {
		for _, r := range b.pages[t].state.Outbox {
			here[r.Key()] = true
			if r.Replica == b.replica && !b.trailed[r.Key()] {
				out = append(out, r)
			}
		}
	}
	if len(b.trailed) > mostTrailed { // one that comes again is in the trail already
		maps.DeleteFunc(b.trailed, func(k kill.RecordKey, _ bool) bool { return !here[k] })
	}
	slices.SortFunc(out, func(x, y kill.Record) int {
		return cmp.Or(x.At.Compare(y.At), cmp.Compare(x.Target.Key(), y.Target.Key()), cmp.Compare(x.Sequence, y.Sequence))
	})
	return out
}

// mostTrailed bounds what is remembered of records that no state carries any more.
const mostTrailed = 4096

// told notes that a record is in the audit trail.
func (b *killBook) told(r kill.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trailed[r.Key()] = true
}

// acknowledged drops from a state the records that are in this replica's audit
// trail: it is about to be written.
func (b *killBook) acknowledged(s kill.State) kill.State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return s.Ack(func(r kill.Record) bool { return b.trailed[r.Key()] })
}
