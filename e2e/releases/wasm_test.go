package releases

import (
	"slices"
	"testing"

	fm "github.com/safestate/safestate/e2e/faultmodel"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/release"
)

// TestLoopInEnvoy is the loop with the filter alone: what its workers report takes a
// version forward, and back.
func TestLoopInEnvoy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1", "v2")
	w.Host = "WASM"
	w.write()
	s := newStand(t, w)
	v2 := s.world.version("v2")
	l := startLoad(t, s.proxy, nil)
	m := s.promote()
	weigh(t, m, map[string]int{"v1": 1, "v2": 99})
	s.until("v2 is known to be good", func(admin.Model) bool { return s.find(release.KindGood) != nil })

	l.reset()
	v2.Set(fm.C01NaNBare, 0)
	m = s.proven()
	if v2.Count(fm.C01NaNBare) == 0 {
		t.Fatal("v2 has answered nothing bad")
	}
	weigh(t, m, map[string]int{"v1": 100})
	if back := m.Withdrawal; back.Kind != release.KindRollback || !slices.Equal(back.From, []string{"v2"}) || back.To != "v1" || back.By != release.By {
		t.Errorf("the withdrawal is %+v", back)
	}
	asked := v2.Requests()
	l.more(t, perSecond)
	if n := v2.Requests() - asked; n > 0 {
		t.Errorf("v2 was asked %d times after the proof", n)
	}
	l.unharmed(t)
	if r := s.find(release.KindRollback); r.Evidence["v2"].Bad == 0 || r.Evidence["v2"].Detectors["nonfinite"] == 0 {
		t.Errorf("the rollback was decided on %+v", r.Evidence["v2"])
	}
}
