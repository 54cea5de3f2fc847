package control

import (
	"fmt"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/store/storetest"
	"github.com/safestate/safestate/internal/telemetry"
)

// A check that nobody wants any more is not measured for ever: the model may have
// left the files, and the lead this replica.
func TestAWishEnds(t *testing.T) {
	m, now := newMeter(nil, func() {}), time.Now()
	model := &compile.Model{Name: fraud, Rollout: &compile.Rollout{Checks: []compile.Check{{Name: "errors", Interval: time.Second}}}}
	m.want(model, "v2", now)
	if len(m.due(now)) != 1 {
		t.Error("it is not measured")
	}
	m.results[question{fraud, "v2", "errors"}] = release.CheckResult{Verdict: release.Success}
	if got := m.latest(model, "v2"); len(got) != 1 {
		t.Errorf("%+v", got)
	}
	if len(m.due(now.Add(wishFor))) != 0 || len(m.wanted)+len(m.asked)+len(m.results) > 0 {
		t.Errorf("it is measured still: %+v", m)
	}
}

// What is kept of a model does not grow with every version that it ever had.
func TestEvidenceOfVersionsThatLeftIsForgotten(t *testing.T) {
	tests, b := newTests(), bookOn(t, &record{})
	for i := range 20 {
		m := compile.Model{Name: fraud, Rollout: &compile.Rollout{}, Versions: []compile.ModelVersion{{Name: fmt.Sprint("v", i)}, {Name: fmt.Sprint("v", i+1)}}}
		tests.feed(nil, []compile.Model{m, {Name: "default/other", Rollout: &compile.Rollout{}}}, b, time.Now())
	}
	if got := tests.evidence(fraud); len(got) != 2 {
		t.Errorf("%d versions", len(got))
	}
	tests.feed(nil, nil, b, time.Now())
	if len(tests.models) > 0 {
		t.Errorf("%d models", len(tests.models))
	}
}

// Evidence that could not be written is, when it can, whether more comes or not.
func TestEvidenceIsWrittenLate(t *testing.T) {
	s := storetest.NewMemory(time.Minute).Open()
	tests, now, log := newTests(), time.Now(), telemetry.NopLog()
	tests.feed(nil, []compile.Model{{Name: fraud, Rollout: &compile.Rollout{}, Versions: []compile.ModelVersion{{Name: "v1"}}}}, bookOn(t, &record{}), now)
	s.Cut(true)
	tests.keep(t.Context(), s, log, now)
	s.Cut(false)
	tests.keep(t.Context(), s, log, now.Add(keepEvery))
	e, err := s.Get(t.Context(), evidenceKey(fraud))
	if err != nil {
		t.Fatal(err)
	}
	// Taken away by somebody: it is made anew, at the second try at the latest.
	if err := s.Delete(t.Context(), e.Key, e.Revision); err != nil {
		t.Fatal(err)
	}
	tests.again(fraud)
	for i := range 2 {
		tests.keep(t.Context(), s, log, now.Add(time.Duration(2+i)*keepEvery))
	}
	if _, err := s.Get(t.Context(), evidenceKey(fraud)); err != nil {
		t.Error(err)
	}
}

// The list of proxies that somebody took away is made anew.
func TestTheListOfProxiesIsMadeAnew(t *testing.T) {
	b := start(t, t.TempDir())
	r := b.control.register
	write := func(node string) bool {
		return eventually(func() bool {
			if err := r.write(t.Context(), []string{node}, time.Now()); err != nil {
				t.Fatal(err)
			}
			e, err := b.store.Get(t.Context(), proxiesKey)
			return err == nil && len(e.Value) > 0
		})
	}
	write("edge-1")
	e, err := b.store.Get(t.Context(), proxiesKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.store.Delete(t.Context(), e.Key, e.Revision); err != nil {
		t.Fatal(err)
	}
	if !write("edge-2") {
		t.Error("it is not")
	}
}
