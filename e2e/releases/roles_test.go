package releases

import (
	"testing"

	fm "github.com/safestate/safestate/e2e/faultmodel"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/release"
)

// TestRolesApart has the two halves of safestate as processes of their own: the
// death of one does not touch the other, and rollback works.
func TestRolesApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1", "v2")
	host, control := newReplica(t), newReplica(t)
	host.flags = []string{"--role", "extproc", "--control", control.grpc}
	control.flags = []string{"--role", "control", "--config", w.dir, "--traffic", anyPort,
		"--processor", host.grpc, "--answers-upstream", host.answers}
	control.start()
	host.start()
	s := &stand{replica: control, world: w, proxy: startProxy(t, "envoy", control, host)}
	l := startLoad(t, s.proxy, nil)
	before := s.promote()

	// Without the control plane every answer is inspected as before.
	control.process.Kill()
	l.reset()
	l.more(t, 2*perSecond)
	if sources, versions := l.seen(); sources["primary"] == 0 || sources["safe_default"] > 0 || versions["v2"] == 0 {
		t.Errorf("the control plane is dead, and the answers are by %v of %v", sources, versions)
	}
	control.start()
	// What the host counted meanwhile is no news: nothing is rolled back by it,
	// and what it counts from now on is.
	requests := judged(s.until("the proof is there", func(m admin.Model) bool { return m.Proof.Applied && m.Proof.Expected == 1 }), "v2")
	m := s.until("reports are taken up again", func(m admin.Model) bool { return judged(m, "v2") > requests+perSecond/2 })
	if m.Generation != before.Generation || m.Phase != release.PhasePromoted {
		t.Errorf("restarted, generation %d in phase promoted became %d in %s", before.Generation, m.Generation, m.Phase)
	}

	// Without a host Envoy alone answers; the control plane does not mind.
	host.process.Kill()
	l.reset()
	l.until(t, "Envoy alone answers", func(sources, _ map[string]int) bool { return sources["safe_default"] > perSecond/2 })
	if m, ok := s.model(); !ok || m.Generation != before.Generation || control.process.Exited() {
		t.Errorf("the host is dead: the control plane answers: %v, generation %d", ok, m.Generation)
	}
	host.start()
	requests = judged(s.until("the control plane answers", func(admin.Model) bool { return true }), "v2")
	s.until("reports are taken up again", func(m admin.Model) bool { return judged(m, "v2") > requests+perSecond/2 })

	w.version("v2").Set(fm.C01NaNBare, 0)
	weigh(t, s.proven(), map[string]int{"v1": 100})
	l.unharmed(t)
}

// judged is how many answers of a version are in its evidence.
func judged(m admin.Model, version string) uint64 {
	for _, v := range m.Versions {
		if v.Name == version && v.Evidence != nil {
			return v.Evidence.Requests
		}
	}
	return 0
}
