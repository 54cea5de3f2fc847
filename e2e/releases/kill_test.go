package releases

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/release"
)

// TestKillDuringRollout kills the version that is being rolled out, under load: it is
// asked no more, its rollout is over, and neither force nor the revive alone brings it
// back.
func TestKillDuringRollout(t *testing.T) {
	t.Parallel()
	s := newStand(t, newWorld(t, "v1", "v2"))
	v2 := s.world.version("v2")
	l := startLoad(t, s.proxy, nil)
	s.rollout("50,1h", "100")
	dataplane.Eventually(t, soon, "v2 is asked", func() bool { return v2.Requests() > 10 })
	s.does("kill", "score/v2", "--reason", "it leaks names", "--wait", "0s")
	m := s.proven()
	asked := v2.Requests()
	l.more(t, perSecond)
	if n := v2.Requests() - asked; n > 0 {
		t.Errorf("v2 was asked %d times after the proof", n)
	}
	weigh(t, m, map[string]int{"v1": 100})
	if m.Rollout != nil || m.Withdrawal.Kind != release.KindKilled {
		t.Errorf("%+v", m)
	}
	again := []string{"rollout", "start", "score", "v2", "--reason", "x", "--again", "--step", "50,1h", "--step", "100"}
	if out, exit := s.cli(append(again, "--force")...); exit == 0 || !strings.Contains(out, "killed by") || !strings.Contains(out, "safestate revive version/default/score/v2") {
		t.Errorf("exit code %d: %s", exit, out)
	}
	s.does("revive", "score/v2", "--generation", "1", "--reason", "mended", "--wait", "0s")
	l.more(t, perSecond)
	if n := v2.Requests() - asked; n > 0 {
		t.Errorf("v2 was asked %d times after its revive alone", n)
	}
	s.does(again...)
	dataplane.Eventually(t, soon, "v2 is asked again", func() bool { return v2.Requests() > asked })
	l.unharmed(t)
	s.tells(release.KindStarted, release.KindKilled, release.KindStarted)
}

// TestOnlyVersionIsKilledByItself breaks the only version there is: no rollback can
// help, so the model is killed by itself, is asked no more, and a person's revive
// brings it back.
func TestOnlyVersionIsKilledByItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1")
	w.guard("{when: [{detector: NonFinite, badPercent: 30, minRequests: 10, within: 2m}], coolDown: 1m}")
	s := newStand(t, w)
	v1 := w.version("v1")
	v1.Set(fm.C01NaNBare, 0)
	l := startLoad(t, s.proxy, nil)
	m := s.until("releases stand still", func(m admin.Model) bool {
		return slices.ContainsFunc(m.Explanation, func(line string) bool { return strings.Contains(line, "nothing goes on until it is revived") })
	})
	weigh(t, m, map[string]int{"v1": 100})
	if r := s.find(release.KindAutomaticKill); r == nil || r.By != release.By || !strings.Contains(r.Reason, "answers within 2m0s bad (nonfinite)") {
		t.Errorf("%+v", r)
	}
	s.until("v1 is asked no more", func(admin.Model) bool {
		before := v1.Requests()
		l.more(t, perSecond/2)
		return v1.Requests() == before
	})
	v1.Set(fm.None, 0)
	s.does("revive", "score", "--generation", "1", "--reason", "mended", "--wait", "0s")
	asked := v1.Requests()
	dataplane.Eventually(t, soon, "v1 is asked again", func() bool { return v1.Requests() > asked })
	l.unharmed(t)
}

// guard has the model killed by itself.
func (w *world) guard(automatic string) {
	w.t.Helper()
	path := filepath.Join(w.dir, "world.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	guarded := strings.Replace(string(text), "  rollout: {", "  kill: {automatic: "+automatic+"}\n  rollout: {", 1)
	if err := os.WriteFile(path, []byte(guarded), 0o600); err != nil {
		w.t.Fatal(err)
	}
}
