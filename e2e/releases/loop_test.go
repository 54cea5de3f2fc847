package releases

import (
	"slices"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/release"
)

// quick are steps that load passes within seconds.
var quick = []string{"10,1s,5", "50,1s,30", "100,1s,50"}

// promote rolls v2 out and waits until it has the traffic.
func (s *stand) promote() admin.Model {
	s.t.Helper()
	s.rollout(quick...)
	return s.phase(release.PhasePromoted)
}

// TestLoop rolls a version out, and breaks it once it has the traffic: it is
// rolled back by itself, nobody gets a bad answer, and the history tells it.
func TestLoop(t *testing.T) {
	t.Parallel()
	s := newStand(t, newWorld(t, "v1", "v2"))
	v1, v2 := s.world.version("v1"), s.world.version("v2")
	l := startLoad(t, s.proxy, nil)
	m := s.promote()
	weigh(t, m, map[string]int{"v1": 1, "v2": 99})
	s.until("v2 is known to be good", func(admin.Model) bool { return s.find(release.KindGood) != nil })
	cached := s.cachedOf("v2")

	l.reset()
	v2.Set(fm.C01NaNBare, 0)
	m = s.proven()
	if v2.Count(fm.C01NaNBare) == 0 {
		t.Fatal("v2 has answered nothing bad")
	}
	weigh(t, m, map[string]int{"v1": 100})
	back := m.Withdrawal
	if back.Kind != release.KindRollback || !slices.Equal(back.From, []string{"v2"}) || back.To != "v1" || back.By != release.By {
		t.Errorf("the withdrawal is %+v", back)
	}
	story := []any{back.FirstBad, back.Decided, back.Pushed, back.Acked, back.Done}
	if back.FirstBad.IsZero() || back.Decided.Before(back.FirstBad) || back.Pushed.Before(back.Decided) || back.Acked.Before(back.Pushed) || back.Done.Before(back.Acked) {
		t.Errorf("first bad, decided, pushed, ACKed, done: %v", story)
	}
	asked := v2.Requests()
	l.more(t, perSecond)
	if n := v2.Requests() - asked; n > 0 {
		t.Errorf("v2 was asked %d times after the proof", n)
	}
	l.unharmed(t)
	s.tells(release.KindStarted, release.KindStep, release.KindPromoted, release.KindGood, release.KindRollback, release.KindRollbackDone)
	if r := s.find(release.KindRollback); r.Evidence["v2"].Bad == 0 || r.Evidence["v2"].Detectors["nonfinite"] == 0 {
		t.Errorf("the rollback was decided on %+v", r.Evidence["v2"])
	}

	// Its entries in the cache are gone with it.
	v1.Set(fm.C01NaNBare, 0)
	s.gone(cached)
}

// gone fails the test where a question is answered from the cache.
func (s *stand) gone(cached []dataplane.Request) {
	s.t.Helper()
	for _, q := range cached {
		if a := s.proxy.client.Do(q); a.Source() != "safe_default" {
			s.t.Errorf("what a bad version answered once is answered by %s of %s", a.Source(), a.Header.Get("X-Safestate-Version"))
		}
	}
}

// cachedOf are questions that one version alone has answered.
func (s *stand) cachedOf(version string) []dataplane.Request {
	s.t.Helper()
	var out []dataplane.Request
	dataplane.Eventually(s.t, soon, version+" has answered", func() bool {
		q := question()
		if a := s.proxy.client.Do(q); a.Source() == "primary" && a.Header.Get("X-Safestate-Version") == version {
			out = append(out, q)
		}
		return len(out) == 5
	})
	return out
}

// tells fails the test unless the history has these kinds in this order, and
// every record once.
func (r *replica) tells(kinds ...release.Kind) {
	r.t.Helper()
	records := r.history()
	var got []release.Kind
	for i, x := range records {
		got = append(got, x.Kind)
		if x.Sequence != uint64(i+1) {
			r.t.Errorf("record %d has the number %d", i+1, x.Sequence)
		}
	}
	rest := got
	for _, want := range kinds {
		i := slices.Index(rest, want)
		if i < 0 {
			r.t.Errorf("the history is %q: want %q in this order", got, kinds)
			return
		}
		rest = rest[i+1:]
	}
}
