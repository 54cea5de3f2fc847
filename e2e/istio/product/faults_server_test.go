package product

import (
	"context"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/e2e/istio/cluster"
)

// TestServerAway: the API server is gone, or hangs. Answers are inspected as before, a
// kill holds at once, and what was decided meanwhile is written when it is back.
func TestServerAway(t *testing.T) {
	s := newStand(t)
	s.guarded()
	for _, fault := range []struct {
		name       string
		away, back func(*cluster.API)
	}{
		{"killed", (*cluster.API).Kill, (*cluster.API).Start},
		{"frozen", (*cluster.API).Freeze, func(api *cluster.API) { api.Thaw(); api.WaitReady() }},
	} {
		s.part(fault.name+" before a rollback", func(s *stand) {
			s.halfway()
			load := s.load(100)
			fault.away(s.api)
			s.noServer()
			s.v2.nan.Store(true)
			rescued := 0
			s.lasting(*away, "no NaN", func() bool {
				a := s.infer()
				if a.source == "safe_default" {
					rescued++
				}
				return !a.nan() && s.share("fraud-v2") == 50
			})
			if rescued < 20 {
				t.Errorf("%d answers from the ladder: nothing is shown by that", rescued)
			}
			fault.back(s.api)
			began := time.Now()
			s.moves("v2 has nothing", func(w []int64) bool { return w[1] == 0 })
			t.Log("rolled back in the API server after", time.Since(began))
			s.routed("fraud-v2", 0)
			s.v2.nan.Store(false)
			s.unharmed(load)
			s.freshIstiod()
		})
		s.part(fault.name+" before a kill", func(s *stand) {
			load, before := s.load(100), s.filters()
			fault.away(s.api)
			s.noServer()
			s.kill(v1)
			s.stopped(*away, always)
			fault.back(s.api)
			s.written(before)
			s.unharmed(load)
			s.revive(v1)
			s.until("v1 is back", func(a answer) bool { return a.source == "primary" })
			s.freshIstiod()
		})
	}
	if s.safestate.Exited() {
		t.Error("safestate has ended")
	}
}

// written waits until the kill of v1 is in the store, and in the EnvoyFilters, which
// were others before.
func (s *stand) written(before map[string]*unstructured.Unstructured) {
	s.t.Helper()
	began := time.Now()
	dataplane.Eventually(s.t, 4*patience, "the kill is in the API server", func() bool {
		return s.stored("kills/" + v1)["killed"] == true && !equality.Semantic.DeepEqual(s.filters()[routeFilter].Object["spec"], before[routeFilter].Object["spec"])
	})
	s.t.Log("in the API server after", time.Since(began))
}

// freshIstiod starts istiod anew: one that has missed its API server asks for it, as
// client-go has it, up to a minute later.
func (s *stand) freshIstiod() {
	s.t.Helper()
	s.istiod.Stop()
	s.istiod.Start()
}

// halfway starts a rollout, of which half has reached v2.
func (s *stand) halfway() {
	s.t.Helper()
	s.command("rollout", "start", "models/fraud", "v2", "--reason", "a new version", "--again", "--step", "50,10m", "--step", "100")
	s.routed("fraud-v2", 50)
	s.until("its breaker lets v2 be asked", func(a answer) bool { return a.version == "v2" && a.source == "primary" })
}

// noServer proves that the API server does not answer.
func (s *stand) noServer() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
	defer cancel()
	if _, err := s.api.Admin.Get(ctx, kindHTTPRoute, "models", "fraud"); err == nil {
		s.t.Fatal("the API server still answers")
	}
}
