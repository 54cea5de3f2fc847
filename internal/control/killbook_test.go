package control

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/audit"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/store"
	"github.com/safestate/safestate/internal/store/storetest"
)

// A kill whose time is earlier may be written later: that another record is in the
// trail says nothing of this one.
func TestEveryRecordComesToTheTrail(t *testing.T) {
	copied, err := openCopy("", killFile)
	if err != nil {
		t.Fatal(err)
	}
	b, err := openKillBook(storetest.NewMemory(5*time.Second).Open(), copied, "one")
	if err != nil {
		t.Fatal(err)
	}
	order := func(id string, at time.Time) kill.Order {
		return kill.Order{ID: id, At: at, By: "on-call", Replica: "one", Reason: "wrong answers"}
	}
	now := time.Now().UTC()
	for _, o := range []kill.Order{order("late", now), order("early", now.Add(-time.Second))} {
		b.alone(o, theModel)
	}
	records := b.untold(now, false)
	if len(records) != 2 || records[0].ID != "early" {
		t.Fatalf("untold: %+v", records)
	}
	b.told(records[0])
	if left := b.untold(now, false); len(left) != 1 || left[0].ID != "late" {
		t.Errorf("with one in the trail: %+v", left)
	}
	kept := b.acknowledged(b.get(theModel).state)
	if len(kept.Outbox) != 2 || kept.Outbox[0].Trailed || !kept.Outbox[1].Trailed || kept.Outbox[1].ID != "early" {
		t.Errorf("the next state carries %+v", kept.Outbox)
	}
	b.told(records[1])

	// This replica was here before, and what it wrote last was not on its disk: the
	// store has another record of the same number.
	before := kill.Kill(kill.New(theModel), order("before", now.Add(-time.Minute)))
	state := kill.Reconcile(b.get(theModel).state, before, kill.Moment{At: now, Replica: "one"})
	b.mu.Lock()
	b.keep(killPage{state: state})
	b.mu.Unlock()
	ids := map[string]bool{}
	for _, r := range b.untold(now, false) {
		ids[r.ID] = true
	}
	if !ids["before"] || ids["late"] || ids["early"] {
		t.Errorf("untold of two that have number 1: %v", ids)
	}
}

// An order that comes again is in the store where it is, and not where it was once
// taken.
func TestAnOrderThatComesAgainWithoutTheStore(t *testing.T) {
	m, l := storetest.NewMemory(5*time.Second), &trail{}
	b, link := replica(t, m, t.TempDir(), "one", l)
	b.configure(newModels(t).world(t, one, 1, 100, unedited))
	link.Cut(true)
	order := stopping("1")
	for range 2 {
		if state, where, err := b.control.Kill(t.Context(), theModel, order); err != nil || where != InCopy || state.Generation != 1 {
			t.Errorf("without the store: %+v in %s, %v", state, where, err)
		}
	}
	link.Cut(false)
	if !eventually(func() bool { return b.control.kills.stored(theModel) }) {
		t.Fatal("the store does not get it")
	}
	if state, where, err := b.control.Kill(t.Context(), theModel, order); err != nil || where != InStore || state.Generation != 1 {
		t.Errorf("with the store: %+v in %s, %v", state, where, err)
	}
	if got := l.kinds(); got != "kill" {
		t.Errorf("trail: %s", got)
	}
}

// Names of any length and replicas of any name have entries that the trail takes,
// each an ID of its own.
func TestEntriesThatTheTrailTakes(t *testing.T) {
	l, err := audit.Open(audit.Options{Dir: t.TempDir(), Name: "one"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	long := strings.Repeat("n", 250)
	ids := map[string]bool{}
	for _, r := range []kill.Record{
		{Sequence: 1, Target: kill.ForVersion(long+"/"+long, "v1"), Replica: "one"},
		{Sequence: 2, Target: kill.ForVersion(long+"/"+long, "v1"), Replica: "one"},
		{Sequence: 1, Target: kill.ForVersion(long+"/"+long, "v2"), Replica: "one"},
		{Sequence: 1, Target: theModel, Replica: "die Zentrale\nüber\u202e"},
		{Sequence: 1, Target: theModel, Replica: "one"},
	} {
		r.At, r.Kind, r.By, r.Reason = time.Now().UTC(), kill.KindKill, "on-call", "wrong answers"
		e, err := l.Append(t.Context(), killEntry(&r))
		if err != nil || ids[e.ID] || !strings.HasPrefix(e.ID, "kill/") {
			t.Errorf("%q: %v", e.ID, err)
		}
		ids[e.ID] = true
	}
}

// deaf is a store that says nothing of what is under a prefix: it went away before
// that was asked for.
type deaf struct {
	store.Store
	prefix string
}

func (d deaf) Watch(ctx context.Context, prefix string) <-chan []store.Event {
	if prefix != d.prefix {
		return d.Store.Watch(ctx, prefix)
	}
	nothing := make(chan []store.Event)
	context.AfterFunc(ctx, func() { close(nothing) })
	return nothing
}

func (d deaf) Put(ctx context.Context, key string, value []byte, revision int64) (store.Entry, error) {
	if strings.HasPrefix(key, d.prefix) {
		return store.Entry{}, store.ErrUnavailable
	}
	return d.Store.Put(ctx, key, value, revision)
}

// A replica that has read the releases, and not what is killed, publishes nothing: it
// would bring back what is. One that was told before goes by that.
func TestNothingIsPublishedBeforeTheKillsAreKnown(t *testing.T) {
	m, dir := storetest.NewMemory(5*time.Second), t.TempDir()
	world := newModels(t).world(t, one, 1, 100, unedited)
	b, _ := replica(t, m, dir, "one", &trail{})
	b.configure(world)
	b.kill(theModel, "1")
	b.stop()

	fresh := t.TempDir()
	unread := func(dir string) (*bench, error) {
		b := startWith(t, dir, "two", deaf{m.Open(), killsPrefix}, func(o *Options) { o.FirstRead = 100 * time.Millisecond })
		if !eventually(b.control.book.ready) {
			t.Fatal("the releases are not read")
		}
		_, err := b.control.Configure(t.Context(), world)
		return b, err
	}
	b, err := unread(fresh)
	if !errors.Is(err, ErrUnread) || b.xds.Version() != "" {
		t.Errorf("configured without kills: %v", err)
	}
	b.kill(kill.ForVersion(fraud, "v2"), "2") // what is taken alone is not all that there is
	b.stop()
	if b, err := unread(fresh); !errors.Is(err, ErrUnread) {
		t.Errorf("configured by a copy that the store has no part in: %v", err)
	} else {
		b.stop()
	}
	if b, err := unread(dir); err != nil || b.weight("v1") != 0 {
		t.Errorf("by what was known: v1 has %d, %v", b.weight("v1"), err)
	}
}

// A store that is set back has an older word on a target, or none, at a revision that
// is lower than the one that is known: what is killed is written to it again, so that
// a replica which knows nothing else reads that it is.
func TestAStoreThatIsSetBackHasTheKillAgain(t *testing.T) {
	revived, err := kill.Revive(kill.Kill(kill.New(theModel), stopping("old")), reviving(1))
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range []bool{false, true} {
		m := storetest.NewMemory(5 * time.Second)
		b, _ := replica(t, m, t.TempDir(), "one", &trail{})
		b.configure(newModels(t).world(t, one, 1, 100, unedited))
		here, there := b.control.kills, m.Open()
		old, err := there.Put(t.Context(), killKey(theModel), encoded(revived), 0)
		if err != nil || !eventually(func() bool { return here.get(theModel).revision == old.Revision }) {
			t.Fatalf("the store's is not read: %v", err)
		}
		newest := kill.Kill(revived, stopping("new"))
		here.take([]store.Event{{Entry: store.Entry{Key: old.Key, Value: encoded(newest), Revision: 1_000_000}}})
		if gone {
			err = there.Delete(t.Context(), old.Key, old.Revision)
		} else {
			_, err = there.Put(t.Context(), old.Key, old.Value, old.Revision)
		}
		if err != nil {
			t.Fatal(err)
		}
		if !eventually(func() bool {
			e, err := there.Get(t.Context(), old.Key)
			state, _ := kill.Decode(e.Value)
			return err == nil && state.Killed && here.stored(theModel)
		}) {
			t.Errorf("gone: %v; the store does not get the kill", gone)
		}
		if !b.control.Killed(theModel) {
			t.Errorf("gone: %v; it is not killed here", gone)
		}
	}
}

// What nobody can read keeps no kill of that target from the store, and the files are
// taken once it is gone.
func TestAKillThatCannotBeRead(t *testing.T) {
	m := storetest.NewMemory(5 * time.Second)
	b, _ := replica(t, m, t.TempDir(), "one", &trail{})
	world := newModels(t).world(t, one, 1, 100, unedited)
	b.configure(world)
	there, v2 := m.Open(), kill.ForVersion(fraud, "v2")
	put := func(key, value string) store.Entry {
		t.Helper()
		e, err := there.Put(t.Context(), killsPrefix+key, []byte(value), 0)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	refused := func(name string) bool {
		_, err := b.control.Configure(t.Context(), world)
		return err != nil && strings.Contains(err.Error(), name)
	}
	taken := func() bool { return b.control.kills.unreadable() == nil }
	for _, key := range []string{theModel.Key(), "no-kind/default/fraud"} {
		bad := put(key, "{")
		if !eventually(func() bool { return refused("out of the store") }) {
			t.Errorf("%s: the files are taken", key)
		}
		reloads := b.reloads.Load()
		if err := there.Delete(t.Context(), bad.Key, bad.Revision); err != nil {
			t.Fatal(err)
		}
		if !eventually(func() bool { return taken() && b.reloads.Load() > reloads }) {
			t.Errorf("%s: gone, and the files are not read again", key)
		}
	}
	put(theModel.Key(), `{"target": {"scope": "model", "name": "default/fraud"}, "generation": 7, "killed": true, "mode": "gentle"}`)
	put(v2.Key(), "{")
	if !eventually(func() bool { return refused("mode") && refused("version/default/fraud/v2") }) {
		t.Fatal("they can be read")
	}
	if _, where, err := b.control.Kill(t.Context(), theModel, stopping("1")); err != nil || where != InStore {
		t.Errorf("a kill of it is in %s, %v", where, err)
	}
	if e, err := there.Get(t.Context(), killKey(theModel)); err != nil || strings.Contains(string(e.Value), "gentle") {
		t.Errorf("the store has %s, %v", e.Value, err)
	}
	if _, err := b.control.Revive(t.Context(), v2, reviving(1)); err == nil || !strings.Contains(err.Error(), "version/default/fraud/v2") {
		t.Errorf("a revive of what nobody can read: %v", err)
	}
	if !refused("version/default/fraud/v2") || refused("mode") {
		t.Error("what could not be read was overwritten by a revive, or is not by a kill")
	}
}

// A kill that is known, and whose record in the store is spoiled, is written again; of
// one that is revived the error says what is wrong.
func TestAKillWhoseRecordIsSpoiled(t *testing.T) {
	m := storetest.NewMemory(5 * time.Second)
	b, _ := replica(t, m, t.TempDir(), "one", &trail{})
	b.configure(newModels(t).world(t, one, 1, 100, unedited))
	there := m.Open()
	spoil := func() {
		t.Helper()
		e, err := there.Get(t.Context(), killKey(theModel))
		if err == nil {
			_, err = there.Put(t.Context(), e.Key, []byte("{"), e.Revision)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	b.kill(theModel, "1")
	spoil()
	if !eventually(func() bool {
		e, err := there.Get(t.Context(), killKey(theModel))
		state, bad := kill.Decode(e.Value)
		return err == nil && bad == nil && state.Killed && b.control.kills.stored(theModel) && b.control.kills.unreadable() == nil
	}) {
		t.Error("it is not written again")
	}
	if _, err := b.control.Revive(t.Context(), theModel, reviving(1)); err != nil {
		t.Fatal(err)
	}
	spoil()
	if !eventually(func() bool { return b.control.kills.spoiled(theModel) }) {
		t.Fatal("it can be read")
	}
	if err := b.control.kills.save(t.Context()); err == nil || !strings.Contains(err.Error(), "model/default/fraud cannot be used") {
		t.Errorf("what is not written: %v", err)
	}
}
