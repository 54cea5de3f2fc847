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
	broken  map[string]unreadable   // by key
	read    bool                    // the store has answered once
	knew    bool                    // it had before, and the local copy is of then
	trailed map[kill.RecordKey]bool // records that are in the audit trail
}

// killPage is one target's state and the store's revision of it; 0: the store
// has none.
type killPage struct {
	state    kill.State
	revision int64
}

// copyRead is in a local copy that was made with what the store had: one without it
// may lack kills, though it has some that were taken here.
const copyRead = "read"

// unreadable is what the store has of a key, and nobody can read.
type unreadable struct {
	err      error
	revision int64
}

// openKillBook starts from the local copy, which is in force before the store has
// answered.
func openKillBook(s store.Store, c *localCopy, replica string) (*killBook, error) {
	b := &killBook{
		store: s, copy: c, replica: replica, live: kill.NewLive(nil), pages: map[kill.Target]killPage{},
		unsaved: map[kill.Target]bool{}, broken: map[string]unreadable{}, trailed: map[kill.RecordKey]bool{},
	}
	for key, text := range c.all() {
		if key == copyRead {
			b.knew = true
			continue
		}
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

// known reports whether the store was read once, now or before a restart: what is
// killed is known, as of then.
func (b *killBook) known() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read || b.knew
}

// take notes what a watch of the store told, and reports whether something else
// is in force by it. What could not be read is a problem; what was known of it
// stays. Doubtful are the targets to be read again, see reread: the store says that
// it has an older one than is known.
func (b *killBook) take(events []store.Event) (changed bool, doubtful []kill.Target, problems []error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.first(events)
	for i := range events {
		e := &events[i]
		key := strings.TrimPrefix(e.Key, killsPrefix)
		t, err := kill.ParseKey(key)
		p, known := b.pages[t]
		var differs bool
		switch {
		case err == nil && known && e.Revision < p.revision: // our own write came first, or the store was set back
			doubtful = append(doubtful, t)
		case e.Deleted:
			b.gone(key, t)
		case err != nil:
			b.broken[key] = unreadable{fmt.Errorf("%s: %w", e.Key, err), e.Revision}
			problems = append(problems, b.broken[key].err)
		default:
			if differs, err = b.accept(key, e.Entry); err != nil {
				problems = append(problems, err)
			}
		}
		changed = changed || differs
	}
	if changed {
		b.enforce()
	}
	return changed, doubtful, problems
}

// first notes, with the first events, what the store has lost. b.mu is held.
func (b *killBook) first(events []store.Event) {
	if b.read {
		return
	}
	b.read = true
	b.copy.set(copyRead, encoded(true))
	in := map[string]bool{}
	for i := range events {
		in[strings.TrimPrefix(events[i].Key, killsPrefix)] = true
	}
	for t := range b.pages {
		b.unsaved[t] = b.unsaved[t] || !in[t.Key()]
	}
}

// gone notes that the store has no such key any more: what was known of it is
// written anew. b.mu is held.
func (b *killBook) gone(key string, t kill.Target) {
	delete(b.broken, key)
	if p, known := b.pages[t]; known {
		b.pages[t] = killPage{state: p.state}
		b.unsaved[t] = true
	}
}

// accept reconciles what the store has of a target with what is known here. b.mu
// is held.
func (b *killBook) accept(key string, e store.Entry) (changed bool, problem error) {
	theirs, err := decodeKill(key, e.Value)
	if err != nil {
		b.broken[key] = unreadable{err, e.Revision}
		b.spoil(key, e.Revision)
		return false, err
	}
	delete(b.broken, key)
	ours, known := b.pages[theirs.Target]
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

// spoil notes that the store has something else of a target than what is known. b.mu
// is held.
func (b *killBook) spoil(key string, revision int64) {
	t, err := kill.ParseKey(key)
	if p, known := b.pages[t]; err == nil && known {
		b.pages[t] = killPage{p.state, revision}
		b.unsaved[t] = true
	}
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

// unreadable is why something that the store has of kills cannot be read; nil:
// everything can.
func (b *killBook) unreadable() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []error
	for _, key := range sortedKeys(b.broken) {
		all = append(all, fmt.Errorf("%w: kill it once more, or take %s out of the store", b.broken[key].err, killsPrefix+key))
	}
	return errors.Join(all...)
}

// untold returns the records that are not known to be in a trail and that this
// replica has to bring to its own, oldest first: those that it made, and where it
// leads those that another has had time for, which may be gone.
func (b *killBook) untold(now time.Time, leads bool) []kill.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []kill.Record
	here := map[kill.RecordKey]bool{}
	for t := range b.pages {
		for _, r := range b.pages[t].state.Outbox {
			here[r.Key()] = true
			mine := r.Replica == b.replica || leads && now.Sub(r.At) > othersTell
			if mine && !r.Trailed && !b.trailed[r.Key()] {
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

const (
	// othersTell is how long the replica that made a record has to bring it to its
	// trail, before another does.
	othersTell = time.Minute
	// tellStore is how long after a change the store is told that it is in a trail: a
	// change that follows it tells that too.
	tellStore = 10 * time.Second
)

// settle tells the store of the records that are in this replica's trail: else
// another would bring them to its own.
func (b *killBook) settle(ctx context.Context, now time.Time) error {
	for _, from := range b.unsettled(now) {
		next := b.acknowledged(from.state)
		text, err := json.Marshal(next)
		if err != nil {
			return err
		}
		entry, err := b.store.Put(ctx, killKey(next.Target), text, from.revision)
		if errors.Is(err, store.ErrConflict) {
			continue // the watch tells of what there is
		}
		if err != nil {
			return err
		}
		b.mu.Lock()
		if p := b.pages[next.Target]; p.revision == from.revision && p.state.Sequence == from.state.Sequence {
			b.keep(killPage{next, entry.Revision}) // which lets the same through
		}
		b.mu.Unlock()
	}
	return nil
}

// unsettled are the states in the store of which it is to be told.
func (b *killBook) unsettled(now time.Time) (out []killPage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for t, p := range b.pages {
		if _, broken := b.broken[t.Key()]; broken || p.revision == 0 || b.unsaved[t] {
			continue
		}
		if slices.ContainsFunc(p.state.Outbox, func(r kill.Record) bool {
			return !r.Trailed && b.trailed[r.Key()] && now.Sub(r.At) > tellStore
		}) {
			out = append(out, p)
		}
	}
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

// acknowledged notes in a state which records are in this replica's audit trail: it
// is about to be written.
func (b *killBook) acknowledged(s kill.State) kill.State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return s.Ack(func(r kill.Record) bool { return b.trailed[r.Key()] })
}
