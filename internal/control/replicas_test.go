package control

import (
	"os"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/store/storetest"
)

// two are replicas on one store, of which the first leads.
func two(t *testing.T) (leader, follower *bench, away *storetest.Client) {
	t.Helper()
	memory, models := storetest.NewMemory(5*time.Second), newModels(t)
	leader = startOn(t, t.TempDir(), "one", memory.Open())
	if !eventually(leader.control.leads) {
		t.Fatal("nobody leads")
	}
	away = memory.Open()
	follower = startOn(t, t.TempDir(), "two", away)
	for _, b := range []*bench{leader, follower} {
		b.configure(models.world(t, one, 1, 100, unedited))
	}
	leader.promote()
	return leader, follower, away
}

// A person's rollback at a replica that the store cannot be reached from holds
// there, and at all the others once it can.
func TestARollbackThatWasKeptReachesTheOthers(t *testing.T) {
	leader, follower, away := two(t)
	follower.until("it follows", func(s release.State) bool { return s.Weights["v2"] == 99 })
	away.Cut(true)
	if s := follower.do(release.Command{Do: release.Rollback}); s.Weights["v2"] != 0 {
		t.Fatalf("%+v", s)
	}
	away.Cut(false)
	s := leader.until("the leader has it", func(s release.State) bool { return s.Weights["v2"] == 0 && s.Withdrawal != nil })
	if s.Withdrawal.By != "ann" {
		t.Errorf("%+v", s.Withdrawal)
	}
}

// What the leader has seen is known to all: a person's command at another replica
// is held against it.
func TestAFollowerKnowsTheEvidence(t *testing.T) {
	leader, follower, _ := two(t)
	if !eventually(func() bool { return follower.control.tests.evidence(fraud)["v2"].Requests > 50 }) {
		t.Fatalf("%+v", follower.control.tests.evidence(fraud))
	}
	var want, got release.Verdict // it goes on being made
	if !eventually(func() bool {
		want, got = leader.control.tests.evidence(fraud)["v1"].Verdict, follower.control.tests.evidence(fraud)["v1"].Verdict
		return got == want
	}) {
		t.Errorf("the verdict of v1 is %q here and %q where it was made", got, want)
	}
}

// A data folder that takes no more files does not keep a rollback from the
// proxies.
func TestAFullDiskHoldsUpNoRollback(t *testing.T) {
	away := storetest.NewMemory(time.Minute).Open()
	dir := t.TempDir()
	b := startOn(t, dir, "one", away)
	b.configure(newModels(t).world(t, one, 1, 100, unedited))
	b.promote()
	before := b.xds.Version()
	if !eventually(func() bool { return os.RemoveAll(dir) == nil }) { // files come while it goes
		t.Fatal("the folder cannot be removed")
	}
	away.Cut(true)
	b.do(release.Command{Do: release.Rollback})
	if b.xds.Version() == before {
		t.Error("the rollback is not published")
	}
}

// With the store away a version that fails still leaves traffic, whatever else
// cannot be written.
func TestAVersionLeavesWithoutTheStore(t *testing.T) {
	away := storetest.NewMemory(time.Minute).Open()
	b := startOn(t, t.TempDir(), "one", away)
	b.configure(newModels(t).world(t, one, 1, 100, unedited))
	b.promote()
	away.Cut(true)
	if !eventually(func() bool {
		b.answer("v2", 5, true)
		b.answer("v1", 1, false)
		return b.state().Weights["v2"] == 0
	}) {
		t.Fatalf("v2 keeps its traffic: %+v", b.control.tests.evidence(fraud))
	}
	away.Cut(false)
	if !eventually(func() bool {
		e, err := away.Get(t.Context(), modelKey(fraud))
		if err != nil {
			return false
		}
		s, err := decode(fraud, e.Value)
		return err == nil && s.Weights["v2"] == 0
	}) {
		t.Error("the store does not get to know")
	}
}

// Another replica's decision that a conflict tells of is published, though the
// watch then has no news.
func TestWhatAConflictTellsIsPublished(t *testing.T) {
	s := storetest.NewMemory(time.Minute).Open()
	b := startOn(t, t.TempDir(), "one", s)
	b.configure(newModels(t).world(t, one, 1, 100, unedited))
	b.promote()
	b.until("the promotion is proven", func(s release.State) bool { return s.Acked.Generation == s.Generation })
	b.stop() // nobody follows the store any more
	before, from := b.xds.Version(), b.control.book.get(fraud)
	m := b.control.model(fraud)
	back, err := release.Apply(from.state, release.Command{Do: release.Rollback, By: "bob", Reason: "x"}, b.control.input(m, from.state), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text, err := encode(back)
	if err != nil {
		t.Fatal(err)
	}
	again := storetest.NewMemory(time.Minute).Open()
	b.control.book.store = again
	b.control.o.Store = again
	if _, err := again.Put(t.Context(), modelKey("default/other"), nil, 0); err != nil { // so that revisions differ
		t.Fatal(err)
	}
	if _, err := again.Put(t.Context(), modelKey(fraud), text, 0); err != nil {
		t.Fatal(err)
	}
	if err := b.control.commit(t.Context(), from, from.state); err == nil {
		t.Fatal("an old state was written")
	}
	if b.state().Weights["v2"] != 0 || b.xds.Version() == before {
		t.Errorf("weights %v, published anew: %v", b.state().Weights, b.xds.Version() != before)
	}
}

func TestTwoRecordsOfOneNumberBothStay(t *testing.T) {
	s := storetest.NewMemory(time.Minute).Open()
	b := startOn(t, t.TempDir(), "one", s)
	for range 2 { // the second time changes nothing
		for _, by := range []string{"ann", "bob"} {
			if _, err := b.control.put(t.Context(), &release.Record{Model: fraud, Sequence: 7, By: by}); err != nil {
				t.Fatal(err)
			}
		}
	}
	records, err := b.control.History(t.Context(), fraud, 0)
	if err != nil || len(records) != 2 {
		t.Errorf("%+v, %v", records, err)
	}
}
