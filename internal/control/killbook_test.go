package control

import (
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/audit"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/store/storetest"
)

// A kill whose time is earlier may be written later: that another record is in the
// trail says nothing of this one.
func TestEveryRecordComesToTheTrail(t *testing.T) {
	copied, err := openCopy("", killFile)
	if err != nil {
		t.Fatal(err)
	}
	b, err := openKillBook(storetest.NewMemory(time.Second).Open(), copied, "one")
	if err != nil {
		t.Fatal(err)
	}
	order := func(id string, at time.Time) kill.Order {
		return kill.Order{ID: id, At: at, By: "on-call", Replica: "one", Reason: "wrong answers"}
	}
	now := time.Now().UTC()
	for _, o := range []kill.Order{order("late", now), order("early", now.Add(-time.Second))} {
		if _, err := b.alone(o, theModel); err != nil {
			t.Fatal(err)
		}
	}
	records := b.untold()
	if len(records) != 2 || records[0].ID != "early" {
		t.Fatalf("untold: %+v", records)
	}
	b.told(records[0])
	if left := b.untold(); len(left) != 1 || left[0].ID != "late" {
		t.Errorf("with one in the trail: %+v", left)
	}
	kept := b.acknowledged(b.get(theModel).state)
	if len(kept.Outbox) != 1 || kept.Outbox[0].ID != "late" {
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
	for _, r := range b.untold() {
		ids[r.ID] = true
	}
	if !ids["before"] || ids["late"] || ids["early"] {
		t.Errorf("untold of two that have number 1: %v", ids)
	}
}

// An order that comes again is in the store where it is, and not where it was once
// taken.
func TestAnOrderThatComesAgainWithoutTheStore(t *testing.T) {
	m, l := storetest.NewMemory(time.Second), &trail{}
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
