package control

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/store"
)

// record is a store of one record, whose revisions a test makes.
type record struct {
	store.Store
	entry store.Entry // Revision 0: there is none
}

func (r *record) Get(context.Context, string) (store.Entry, error) {
	if r.entry.Revision == 0 {
		return store.Entry{}, store.ErrNotFound
	}
	return r.entry, nil
}

func (r *record) Put(_ context.Context, key string, value []byte, revision int64) (store.Entry, error) {
	if revision != r.entry.Revision {
		return store.Entry{}, store.ErrConflict
	}
	r.entry = store.Entry{Key: key, Value: value, Revision: revision + 1}
	return r.entry, nil
}

// stateOf is one at a generation.
func stateOf(t *testing.T, generation uint64) (release.State, []byte) {
	t.Helper()
	s := release.New(fraud)
	s.Generation = generation
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return s, text
}

func bookOn(t *testing.T, s store.Store) *book {
	t.Helper()
	c, err := openCopy(t.TempDir(), copyFile)
	if err != nil {
		t.Fatal(err)
	}
	b, err := openBook(s, c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A cluster that is set back has lower revisions than this replica has seen:
// nothing may wait for the higher ones.
func TestAStoreThatIsSetBack(t *testing.T) {
	_, five := stateOf(t, 5)
	eight, text := stateOf(t, 8)
	for name, to := range map[string]store.Entry{
		"to an older record": {Key: modelKey(fraud), Value: five, Revision: 3},
		"to the same record": {Key: modelKey(fraud), Value: text, Revision: 3},
		"to nothing":         {},
	} {
		t.Run(name, func(t *testing.T) {
			s := &record{entry: store.Entry{Key: modelKey(fraud), Value: text, Revision: 20}}
			b := bookOn(t, s)
			b.take([]store.Event{{Entry: s.entry}})
			s.entry = to
			if _, err := b.put(t.Context(), b.get(fraud), eight); !errors.Is(err, store.ErrConflict) {
				t.Fatal(err)
			}
			if _, err := b.put(t.Context(), b.get(fraud), b.get(fraud).state); err != nil {
				t.Fatalf("the second time: %v", err)
			}
			if got := b.get(fraud).state.Generation; got != 8 {
				t.Errorf("generation %d: it has shrunk", got)
			}
			if lost := b.lost(); len(lost) != 0 {
				t.Errorf("%v is not saved", lost)
			}
		})
	}
}

// The watch tells that the store was set back before anything is written.
func TestAWatchThatGoesBackIsHeldAgainstTheStore(t *testing.T) {
	_, five := stateOf(t, 5)
	_, eight := stateOf(t, 8)
	s := &record{entry: store.Entry{Key: modelKey(fraud), Value: eight, Revision: 20}}
	b := bookOn(t, s)
	b.take([]store.Event{{Entry: s.entry}})
	old := store.Entry{Key: modelKey(fraud), Value: five, Revision: 3}
	if got := b.take([]store.Event{{Entry: old}}).doubtful; len(got) != 1 {
		t.Fatalf("%v is to be read again", got)
	}
	if err := b.reread(t.Context(), fraud, 20); err != nil || b.get(fraud).revision != 20 {
		t.Fatalf("our own write was newer: %v", err)
	}
	s.entry = old
	if err := b.reread(t.Context(), fraud, 20); err != nil || b.get(fraud).revision != 3 || len(b.lost()) != 1 {
		t.Errorf("revision %d, to be saved %v, %v", b.get(fraud).revision, b.lost(), err)
	}
}

// A store that was set back may have written another record at a revision that is
// known here.
func TestAnotherRecordAtAKnownRevision(t *testing.T) {
	_, five := stateOf(t, 5)
	_, six := stateOf(t, 6)
	b := bookOn(t, &record{})
	tell := func(text []byte) taken {
		return b.take([]store.Event{{Entry: store.Entry{Key: modelKey(fraud), Value: text, Revision: 20}}})
	}
	tell(five)
	if got := tell(five); len(got.changed) != 0 {
		t.Errorf("the same record is news: %+v", got)
	}
	if got := tell(six); len(got.changed) != 1 || b.get(fraud).state.Generation != 6 {
		t.Errorf("%+v, %+v", got, b.get(fraud))
	}
}

// A conflict over one model says nothing of the others.
func TestAConflictIsNotTheFirstRead(t *testing.T) {
	s, text := stateOf(t, 5)
	b := bookOn(t, &record{entry: store.Entry{Key: modelKey(fraud), Value: text, Revision: 3}})
	if _, err := b.put(t.Context(), page{}, s); !errors.Is(err, store.ErrConflict) {
		t.Fatal(err)
	}
	if b.ready() {
		t.Error("the store is taken for read")
	}
}

// Reading all models is not one write for each.
func TestTheCopyIsWrittenApart(t *testing.T) {
	s, text := stateOf(t, 5)
	b := bookOn(t, &record{})
	b.take([]store.Event{{Entry: store.Entry{Key: modelKey(fraud), Value: text, Revision: 3}}})
	if _, err := os.Stat(b.copy.path()); err == nil {
		t.Error("the copy was written while the book was held")
	}
	next := s
	next.Generation++
	onDisk, err := b.keep(b.get(fraud), next)
	if err != nil {
		t.Fatal(err)
	}
	if err := onDisk(); err != nil {
		t.Fatal(err)
	}
	c, err := openCopy(filepath.Dir(b.copy.path()), copyFile)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decode(fraud, c.all()[fraud]); err != nil || got.Generation != 6 {
		t.Errorf("%+v, %v", got, err)
	}
}

// What cannot be read, and never was, is not the same as nothing: the files'
// weights may be those of a version that was rolled back.
func TestAnUnreadableStateIsNotNone(t *testing.T) {
	b := start(t, t.TempDir())
	if _, err := b.store.Put(t.Context(), modelKey(fraud), []byte(`{"format": 99, "model": "default/fraud"}`), 0); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return b.control.book.unreadable(fraud) != nil }) {
		t.Fatal("it was read")
	}
	if _, err := b.control.Configure(t.Context(), newModels(t).world(t, one, 1, 100, unedited)); err == nil || b.xds.Version() != "" {
		t.Errorf("published %q, error %v", b.xds.Version(), err)
	}
}
