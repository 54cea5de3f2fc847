package product

import (
	"net/http"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
)

// TestIstiodAway: istiod is stopped. The gateway keeps what it has; what is killed is
// refused at once by the processor, bad answers come from the ladder, and weights and
// routes follow when istiod is back.
func TestIstiodAway(t *testing.T) {
	s := newStand(t)
	s.guarded()
	s.halfway()
	load := s.load(100)
	s.istiod.Stop()
	s.noIstiod()

	s.v2.nan.Store(true)
	s.moves("rolled back in the API server", func(w []int64) bool { return w[1] == 0 })
	s.lasting(*away, "no NaN, though v2 has its share", func() bool { return !s.infer().nan() && s.share("fraud-v2") == 50 })
	s.istiod.Start()
	s.routed("fraud-v2", 0)
	s.v2.nan.Store(false)

	s.istiod.Stop()
	s.noIstiod()
	before, had := s.filters(), s.route()
	s.kill(v1)
	s.stopped(*away, func() bool { return s.route() == had }) // by the processor alone
	s.written(before)
	s.istiod.Start()
	dataplane.Eventually(t, patience, "the gateway has it", func() bool { return s.route() != had })
	s.unharmed(load)
	s.revive(v1)
	s.until("v1 is back", func(a answer) bool { return a.source == "primary" })
}

// noIstiod proves that istiod does not answer.
func (s *stand) noIstiod() {
	s.t.Helper()
	if status, _ := get("http://" + s.istiod.HTTP + "/ready"); status == http.StatusOK || !s.istiod.Process.Exited() {
		s.t.Fatal("istiod still answers")
	}
}
