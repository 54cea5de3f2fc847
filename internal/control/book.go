package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/store"
)

// book is this replica's view of every model's releases: the store's, and until
// that was read the local copy's. It is safe for concurrent use.
//
// Generations only grow. A record of the store that is older than what this
// replica has seen (a backup was restored, the store was lost) does not take
// the place of the newer one: it is written back instead.
type book struct {
	store store.Store
	copy  *localCopy

	mu      sync.Mutex
	pages   map[string]page   // by model
	read    bool              // the store has answered once
	unsaved map[string]bool   // models whose newest state is not in the store
	broken  map[string]error  // models of which nothing could be read ever
	history map[string]uint64 // the last record in the history, by model
}

// page is one model's state and the store's revision of it; 0: the store has
// none.
type page struct {
	state    release.State
	revision int64
}

func openBook(s store.Store, c *localCopy) (*book, error) {
	b := &book{store: s, copy: c, pages: map[string]page{}, unsaved: map[string]bool{}, broken: map[string]error{}, history: map[string]uint64{}}
	for model, text := range c.all() {
		state, err := decode(model, text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.path(), err)
		}
		b.pages[model] = page{state: state}
	}
	return b, nil
}

// decode reads a state and refuses one that cannot be acted on.
func decode(model string, text []byte) (release.State, error) {
	state, err := release.Decode(text)
	if err != nil {
		return state, fmt.Errorf("the state of model %s cannot be used: %w", model, err)
	}
	if state.Model != model {
		return state, fmt.Errorf("the state of model %s says that it is that of %q", model, state.Model)
	}
	return state, nil
}

// taken is what became of events.
type taken struct {
	changed  []string // models of which other weights hold now
	doubtful []string // models to be read again, see reread
	problems []error  // what could not be read: then the last good state stays
}

// take notes what a watch of the store told.
func (b *book) take(events []store.Event) (t taken) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.first(events)
	for i := range events {
		e := &events[i]
		model := strings.TrimPrefix(e.Key, modelsPrefix)
		old, known := b.pages[model]
		switch {
		case e.Revision < old.revision: // our own write came first, or the store was set back
			t.doubtful = append(t.doubtful, model)
		case e.Deleted && known:
			b.pages[model] = page{state: old.state}
			b.unsaved[model] = true
		case e.Deleted:
		case e.Revision == old.revision && (b.unsaved[model] || same(old.state, e.Value)):
		default: // also a store that was set back, and has written another at this revision
			changed, err := b.accept(model, e.Entry)
			if err != nil {
				t.problems = append(t.problems, err)
			}
			if changed {
				t.changed = append(t.changed, model)
			}
		}
	}
	return t
}

// same reports whether a text is that of a state: it is what we wrote.
func same(s release.State, text []byte) bool {
	ours, err := json.Marshal(s)
	return err == nil && bytes.Equal(ours, text)
}

// first notes, with the first events, what the store has lost. b.mu is held.
func (b *book) first(events []store.Event) {
	if b.read {
		return
	}
	b.read = true
	in := map[string]bool{}
	for i := range events {
		in[strings.TrimPrefix(events[i].Key, modelsPrefix)] = true
	}
	for model := range b.pages {
		if !in[model] {
			b.unsaved[model] = true
		}
	}
}

// accept takes over what the store has of a model, and reports whether other
// weights hold by it. b.mu is held.
func (b *book) accept(model string, e store.Entry) (changed bool, problem error) {
	old, known := b.pages[model]
	state, err := decode(model, e.Value)
	if err != nil {
		if !known {
			b.broken[model] = err
		}
		return false, err
	}
	delete(b.broken, model)
	if known && state.Generation < old.state.Generation {
		b.pages[model] = page{state: old.state, revision: e.Revision}
		b.unsaved[model] = true
		return false, nil
	}
	alike := known && state.Generation == old.state.Generation && maps.Equal(state.Weights, old.state.Weights)
	if b.unsaved[model] && !alike {
		problem = fmt.Errorf("model %s: what was decided here while the store was away, to generation %d, was overtaken by generation %d of another replica",
			model, old.state.Generation, state.Generation)
	}
	b.pages[model] = page{state: state, revision: e.Revision}
	delete(b.unsaved, model)
	b.copy.set(model, e.Value)
	return !alike || state.Released != old.state.Released, problem
}

// ready reports whether the store was read once.
func (b *book) ready() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read
}

// unreadable is why nothing is known of a model that the store has something of;
// nil: that is not so.
func (b *book) unreadable(model string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.broken[model]
}

// lost returns the models whose newest state is not in the store.
func (b *book) lost() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return sortedKeys(b.unsaved)
}

// get returns a model's state; a new one where there is none.
func (b *book) get(model string) page {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p, ok := b.pages[model]; ok {
		return p
	}
	return page{state: release.New(model)}
}

// all returns every state that there is.
func (b *book) all() map[string]release.State {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[string]release.State, len(b.pages))
	for model, p := range b.pages {
		out[model] = p.state
	}
	return out
}

// put writes a model's next state over the one that it was made from. With
// store.ErrConflict somebody else was first, and get says what there is now.
func (b *book) put(ctx context.Context, from page, next release.State) (page, error) {
	text, err := encode(next)
	if err != nil {
		return page{}, err
	}
	entry, err := b.store.Put(ctx, modelKey(next.Model), text, from.revision)
	if errors.Is(err, store.ErrConflict) {
		return page{}, errors.Join(err, b.reread(ctx, next.Model, from.revision))
	}
	if err != nil {
		return page{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	to := page{state: next, revision: entry.Revision}
	if b.pages[next.Model].revision > to.revision {
		return to, nil // the watch has told of a later one
	}
	b.pages[next.Model] = to
	delete(b.unsaved, next.Model)
	b.copy.set(next.Model, text)
	return to, nil
}

// encode refuses a state that decode would.
func encode(s release.State) ([]byte, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("the next state of model %s is none: %w", s.Model, err)
	}
	return json.Marshal(s)
}

// keep is put without the store: it holds at once, and onDisk says whether it is
// on this replica's disk.
func (b *book) keep(from page, next release.State) (onDisk func() error, err error) {
	text, err := encode(next)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := b.pages[next.Model]; now.revision != from.revision || now.state.Sequence != from.state.Sequence {
		return nil, store.ErrConflict
	}
	b.pages[next.Model] = page{state: next, revision: from.revision}
	b.unsaved[next.Model] = true
	b.copy.set(next.Model, text)
	return b.copy.flush, nil
}

// written is the last record of a model that is known to be in the history.
func (b *book) written(model string) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.history[model]
}

func (b *book) wrote(model string, sequence uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.history[model] = max(b.history[model], sequence)
}

// reread takes over what the store has of a model that is not known otherwise than
// at a revision which the store says it is not at any more. That may be an older
// one: the store was set back.
func (b *book) reread(ctx context.Context, model string, known int64) error {
	entry, err := b.store.Get(ctx, modelKey(model))
	gone := errors.Is(err, store.ErrNotFound)
	if err != nil && !gone {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p, is := b.pages[model]
	switch {
	case p.revision != known, !gone && entry.Revision == known: // told otherwise meanwhile, or no news
		return nil
	case !gone:
		_, err := b.accept(model, entry)
		return err
	case is:
		b.pages[model] = page{state: p.state}
		b.unsaved[model] = true
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
