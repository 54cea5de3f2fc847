package control

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/store/storetest"
	"github.com/safestate/safestate/internal/telemetry"
)

// quick are steps that wait for requests alone.
var quick = []release.Step{{Weight: 50, MinRequests: 50}, {Weight: 100, MinRequests: 50}}

// promote brings v2 to all the traffic but the holdback.
func (b *bench) promote() {
	b.t.Helper()
	b.until("the files' weights are taken over", func(s release.State) bool { return s.Generation > 0 })
	b.answer("v1", 500, false)
	b.do(release.Command{Do: release.Start, Version: "v2", Steps: quick})
	if !eventually(func() bool {
		b.answer("v1", 20, false)
		b.answer("v2", 20, false)
		return b.state().Phase() == release.PhasePromoted
	}) {
		b.t.Fatalf("v2 is not promoted: %+v", b.state())
	}
}

func TestABadVersionLeavesByItself(t *testing.T) {
	b := start(t, t.TempDir())
	b.configure(newModels(t).world(t, one, 1, 100, unedited))
	b.promote()
	if got := b.state().Weights; got["v2"] != 99 || got["v1"] != 1 {
		t.Fatalf("weights %v after the promotion", got)
	}
	before := b.state().Generation
	if !eventually(func() bool {
		b.answer("v2", 5, true)
		b.answer("v1", 1, false)
		return b.state().Weights["v2"] == 0
	}) {
		t.Fatalf("v2 keeps its traffic: %+v", b.control.tests.evidence(fraud))
	}
	s := b.until("the rollback is proven", func(s release.State) bool { return s.Withdrawal != nil && !s.Withdrawal.Done.IsZero() })
	if s.Weights["v1"] != 100 || s.Withdrawal.To != "v1" || s.Generation <= before {
		t.Errorf("%+v", s)
	}
	var kinds []string
	if !eventually(func() bool {
		records, err := b.control.History(t.Context(), fraud, 0)
		if err != nil {
			t.Fatal(err)
		}
		kinds = kinds[:0]
		for i := range records {
			if want := uint64(len(records) - i); records[i].Sequence != want {
				t.Fatalf("record %d has the sequence %d", want, records[i].Sequence)
			}
			kinds = append(kinds, string(records[i].Kind))
		}
		return strings.Contains(strings.Join(kinds, " "), "rollback-done")
	}) {
		t.Errorf("the history is %v", kinds)
	}
	for _, want := range []string{"started", "promoted", "rollback"} {
		if !strings.Contains(strings.Join(kinds, " "), want) {
			t.Errorf("no %q in %v", want, kinds)
		}
	}
}

// A breaker stops a version's answers after five bad ones: what comes from then
// on is the control's good ones.
func TestAnOpenBreakerIsNoHidingPlace(t *testing.T) {
	b := start(t, t.TempDir())
	b.configure(newModels(t).world(t, one, 1, 100, unedited))
	b.promote()
	b.answer("v2", 60, false) // in the same report
	b.answer("v2", 5, true)
	if !eventually(func() bool {
		b.answer("v1", 1, false)
		return b.state().Weights["v2"] == 0
	}) {
		t.Errorf("v2 keeps its traffic: %+v", b.control.tests.evidence(fraud))
	}
}

func TestARestartForgetsNothing(t *testing.T) {
	dir, models := t.TempDir(), newModels(t)
	b := start(t, dir)
	b.configure(models.world(t, one, 1, 100, unedited))
	b.promote()
	before := b.state()
	b.stop()

	b = start(t, dir)
	b.configure(models.world(t, one, 1, 100, unedited))
	if got := b.state(); got.Generation != before.Generation || got.Weights["v2"] != 99 {
		t.Errorf("generation %d, weights %v after the restart; want %d and %v", got.Generation, got.Weights, before.Generation, before.Weights)
	}
	b.stop()

	// The store is lost, the local copy is not.
	if err := os.RemoveAll(filepath.Join(dir, "etcd")); err != nil {
		t.Fatal(err)
	}
	b = start(t, dir)
	b.configure(models.world(t, one, 1, 100, unedited))
	if got := b.state(); got.Generation != before.Generation || got.Weights["v2"] != 99 {
		t.Errorf("generation %d, weights %v after the loss; want %d and %v", got.Generation, got.Weights, before.Generation, before.Weights)
	}
	if !eventually(func() bool {
		e, err := b.store.Get(t.Context(), modelKey(fraud))
		return err == nil && strings.Contains(string(e.Value), `"v2":99`)
	}) {
		t.Error("the state is not written back to the store")
	}
}

func TestWithoutStoreAndCopyNothingIsPublished(t *testing.T) {
	b := start(t, t.TempDir())
	b.stop() // of the store, too
	c, err := New(Options{Store: b.store, XDS: b.xds, Hub: b.hub, Log: b.control.o.Log, Metrics: telemetry.NewMetrics("test", telemetry.Caps{}), Replica: "two"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := c.Configure(ctx, newModels(t).world(t, one, 1, 100, unedited)); err == nil || b.xds.Version() != "" {
		t.Errorf("published %q, error %v", b.xds.Version(), err)
	}
}

// With the store away from the start, what this replica last knew is in force, status
// says so, and the store's word holds when it is there.
func TestAStartWithoutTheStore(t *testing.T) {
	dir, models, memory := t.TempDir(), newModels(t), storetest.NewMemory(time.Minute)
	b := startOn(t, dir, "one", memory.Open())
	b.configure(models.world(t, one, 1, 100, unedited))
	b.promote()
	b.stop()

	away := memory.Open()
	away.Cut(true)
	b = startWith(t, dir, "one", away, func(o *Options) { o.FirstRead = time.Millisecond })
	b.configure(models.world(t, one, 1, 100, b.control.Edit))
	if got := b.state().Weights; got["v2"] != 99 || b.xds.Version() == "" {
		t.Fatalf("weights %v, published %q", got, b.xds.Version())
	}
	if _, what := b.status("releases"); len(what) != 1 || !strings.Contains(what[0], "was not read since the start") {
		t.Errorf("%q", what)
	}
	if s, what := b.status("store"); len(what) != 1 || s.Store.Well {
		t.Errorf("%+v", s.Troubles)
	}
	other := startOn(t, t.TempDir(), "two", memory.Open())
	other.configure(models.world(t, one, 1, 100, unedited))
	other.do(release.Command{Do: release.Rollback})
	away.Cut(false)
	b.until("it joins", func(s release.State) bool { return s.Weights["v2"] == 0 })
	if !eventually(func() bool { s, _ := b.status("store"); return s.Store.Well && len(s.Troubles) < 4 }) {
		s, _ := b.status("store")
		t.Errorf("%+v", s.Troubles)
	}
	if _, what := b.status("releases"); len(what) != 0 {
		t.Errorf("%q", what)
	}
}

func TestANameStandsForOneArtifact(t *testing.T) {
	b, models := start(t, t.TempDir()), newModels(t)
	b.configure(models.world(t, one, 1, 100, unedited))
	b.until("v1 is registered, and published", func(s release.State) bool {
		return s.Versions["v1"].Digest == one && s.Acked.Generation == 1
	})
	before := b.xds.Version()
	_, err := b.control.Configure(t.Context(), models.world(t, other, 1, 0, unedited))
	if err == nil || !strings.Contains(err.Error(), one) || !strings.Contains(err.Error(), other) || !strings.Contains(err.Error(), fraud) {
		t.Errorf("%v; want both digests and the model", err)
	}
	if b.xds.Version() != before {
		t.Error("the refused configuration was published")
	}
}

func TestFilesGiveTheFirstWeightsOnly(t *testing.T) {
	b, models := start(t, t.TempDir()), newModels(t)
	b.configure(models.world(t, one, 1, 100, unedited))
	b.until("the files' weights hold", func(s release.State) bool { return s.Weights["v1"] == 100 })
	b.configure(models.world(t, one, 1, 70, unedited))
	b.until("the files' next weights hold", func(s release.State) bool { return s.Weights["v1"] == 70 })
	b.configure(models.world(t, one, 1, 100, unedited))
	b.promote()
	b.configure(models.world(t, one, 1, 70, unedited))
	api := NewAPI(b.control, APIOptions{})
	if !eventually(func() bool {
		m, err := api.Model(t.Context(), fraud)
		return err == nil && len(m.Drift) > 0
	}) {
		t.Error("no drift is shown")
	}
	if got := b.state().Weights; got["v2"] != 99 {
		t.Errorf("weights %v: the files took over", got)
	}
}

func TestARestartKnowsWhomToExpect(t *testing.T) {
	dir, models := t.TempDir(), newModels(t)
	b := start(t, dir)
	b.configure(models.world(t, one, 1, 100, unedited))
	if !eventually(func() bool {
		return b.control.register.write(t.Context(), []string{"edge-1", "edge-2"}, time.Now()) == nil && len(b.control.register.list.Seen) == 2
	}) {
		t.Fatal("the list is not written")
	}
	b.stop()

	b = start(t, dir)
	b.configure(models.world(t, one, 1, 100, unedited))
	api := NewAPI(b.control, APIOptions{})
	missing := func() []string {
		m, err := api.Model(t.Context(), fraud)
		if err != nil {
			t.Fatal(err)
		}
		return m.Proof.Missing
	}
	if !eventually(func() bool { return len(missing()) == 2 }) {
		t.Fatalf("missing: %v, want both proxies", missing())
	}
	if err := api.Deregister(t.Context(), "edge-1", admin.Deregistration{By: "ann", Reason: "scrapped"}); err != nil {
		t.Fatal(err)
	}
	if got := missing(); len(got) != 1 || !strings.Contains(got[0], "edge-2") {
		t.Errorf("missing: %v, want edge-2 alone", got)
	}
	b.stop()

	b = start(t, dir)
	b.configure(models.world(t, one, 1, 100, unedited))
	api = NewAPI(b.control, APIOptions{})
	if !eventually(func() bool { return len(missing()) == 1 }) {
		t.Errorf("missing: %v after another restart, want edge-2 alone", missing())
	}
}
