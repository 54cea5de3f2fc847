package releases

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/release"
)

// TestWeakFaults breaks a version that has half of the traffic in weaker ways:
// each is rolled back.
func TestWeakFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fault fm.Fault
		every int // request that asks for it; 1: all of them
	}{
		{"a fifth of the answers is NaN", fm.C01NaNBare, 5},
		{"503", fm.S04UnavailableForEver, 1},
		{"no answer in time", fm.S06NeverAnswers, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "v1", "v2")
			if c.fault == fm.S06NeverAnswers {
				w.Deadline = 2 * time.Second // each failure takes as long
				w.write()
			}
			s := newStand(t, w)
			l := startLoad(t, s.proxy, func(nth int, q *dataplane.Request) {
				if nth%c.every == 0 && c.every > 1 {
					q.Header = map[string][]string{"X-Sample-Fault": {c.fault.String()}} // v1 does not read it
				}
			})
			s.rollout("50,1s,50,gate", "100,1s")
			if c.every == 1 {
				s.phase(release.PhaseGate)
				w.version("v2").Set(c.fault, 0)
			}
			m := s.proven()
			weigh(t, m, map[string]int{"v1": 100})
			if m.Withdrawal.Kind != release.KindRollback || m.Withdrawal.By != release.By || w.version("v2").Count(c.fault) == 0 {
				t.Errorf("v2 failed %d times, and the withdrawal is %+v", w.version("v2").Count(c.fault), m.Withdrawal)
			}
			w.version("v2").Set(fm.None, 0)
			l.unharmed(t)
		})
	}
}

// TestBadFeed breaks both versions at the same moment, as a feed of theirs does
// that is broken: there is nothing better to go back to, and a person is called.
func TestBadFeed(t *testing.T) {
	t.Parallel()
	s := newStand(t, newWorld(t, "v1", "v2"))
	l := startLoad(t, s.proxy, nil)
	s.rollout("50,1s,50,gate", "100,1s")
	before := s.phase(release.PhaseGate)
	for _, v := range s.world.Versions {
		v.Set(fm.C01NaNBare, 0)
	}
	s.until("the cause is known to be common", func(m admin.Model) bool { return m.Incident != nil })
	l.more(t, 2*perSecond)
	m, _ := s.model()
	weigh(t, m, map[string]int{"v1": 50, "v2": 50})
	if m.Withdrawal != nil || m.Generation != before.Generation {
		t.Errorf("generation %d became %d, and the withdrawal is %+v", before.Generation, m.Generation, m.Withdrawal)
	}
	if out := s.does("status"); !strings.Contains(out, "common cause") {
		t.Errorf("the status tells no common cause:\n%s", out)
	}
	s.tells(release.KindCommonCause)
	l.unharmed(t)
	for _, v := range s.world.Versions {
		if v.Count(fm.C01NaNBare) == 0 {
			t.Errorf("%s has answered nothing bad", v.Name)
		}
	}
}

// TestGateAndPause breaks versions that wait for a person (flagger#1801): nobody
// has to come.
func TestGateAndPause(t *testing.T) {
	t.Parallel()
	for _, phase := range []release.Phase{release.PhaseGate, release.PhasePaused} {
		t.Run(string(phase), func(t *testing.T) {
			t.Parallel()
			s := newStand(t, newWorld(t, "v1", "v2"))
			l := startLoad(t, s.proxy, nil)
			s.rollout("10,1s,5,gate", "100,1s")
			s.phase(release.PhaseGate)
			if phase == release.PhasePaused {
				s.does("rollout", "pause", "score", "--reason", "lunch")
			}
			s.phase(phase)
			s.world.version("v2").Set(fm.C01NaNBare, 0)
			weigh(t, s.proven(), map[string]int{"v1": 100})
			r := s.find(release.KindRollback)
			if r == nil || r.By != release.By {
				t.Errorf("the rollback is %+v", r)
			}
			l.unharmed(t)
		})
	}
}

// TestDeadTarget breaks a promoted version whose predecessor is not there any
// more (flagger#1898): nothing goes there, the ladder answers, and the
// predecessor gets its traffic when it is back.
func TestDeadTarget(t *testing.T) {
	t.Parallel()
	s := newStand(t, newWorld(t, "v1", "v2"))
	v1, v2 := s.world.version("v1"), s.world.version("v2")
	l := startLoad(t, s.proxy, nil)
	s.promote()
	cached := s.cachedOf("v2")
	v1.Set(fm.S15Down, 0)
	s.until("v1 is known to be away", func(m admin.Model) bool {
		return slices.ContainsFunc(m.Versions, func(v admin.Version) bool { return v.Name == "v1" && v.Ready != nil && !*v.Ready })
	})
	m := s.until("the holdback has ended", func(m admin.Model) bool { return weights(m)["v2"] == 100 })
	weigh(t, m, map[string]int{"v2": 100})
	v2.Set(fm.C01NaNBare, 0)
	m = s.phase(release.PhaseDegraded)
	weigh(t, m, map[string]int{})
	r := s.find(release.KindDegraded)
	if r == nil || !strings.Contains(r.Reason, "v1 has no ready endpoint") {
		t.Errorf("the record is %+v", r)
	}
	s.proven()
	asked := v2.Requests()
	l.reset()
	l.more(t, perSecond)
	if sources, _ := l.seen(); sources["safe_default"] == 0 || sources["primary"] > 0 {
		t.Errorf("degraded, and the answers are by %v", sources)
	}
	if n := v2.Requests() - asked; n > 0 {
		t.Errorf("v2 was asked %d times after the proof", n)
	}
	s.gone(cached)
	v1.Set(fm.None, 0)
	s.until("v1 is back", func(m admin.Model) bool { return weights(m)["v1"] == 100 })
	l.reset()
	l.until(t, "v1 answers", func(_, versions map[string]int) bool { return versions["v1"] > 0 })
	if _, versions := l.seen(); versions["v2"] > 0 {
		t.Errorf("v1 is back, and the answers are by %v", versions)
	}
	l.unharmed(t)
}

// TestAbort has callers whose sessions are on the version that is aborted
// (argo-rollouts#4841, #1838): none of them is left there.
func TestAbort(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1", "v2")
	w.Session = true
	w.write()
	s := newStand(t, w)
	s.rollout("50,1h", "100,1s")
	var sessions []string
	dataplane.Eventually(t, soon, "ten callers are on v2", func() bool {
		a := s.proxy.client.Do(question())
		name, _, _ := strings.Cut(a.Header.Get("Set-Cookie"), ";")
		if name != "" && a.Header.Get("X-Safestate-Version") == "v2" {
			sessions = append(sessions, name)
		}
		return len(sessions) == 10
	})
	ask := func(cookie string) string {
		q := question()
		q.Header = map[string][]string{"Cookie": {cookie}}
		a := s.proxy.client.Do(q)
		return strings.TrimSpace(a.Source() + " " + a.Header.Get("X-Safestate-Version") + " " + a.Reason())
	}
	for _, cookie := range sessions {
		for range 5 {
			if got := ask(cookie); got != "primary v2" {
				t.Errorf("before the abort a caller with a session on v2 is answered by %q", got)
			}
		}
	}
	out := s.does("rollout", "abort", "score", "--reason", "never mind")
	asked := w.version("v2").Requests()
	for _, cookie := range sessions {
		for range 5 {
			if got := ask(cookie); got != "primary v1" {
				t.Errorf("after the abort a caller with a session is answered by %q\n%s", got, out)
			}
		}
	}
	if n := w.version("v2").Requests() - asked; n > 0 {
		t.Errorf("v2 was asked %d times after the abort", n)
	}
	m, _ := s.model()
	weigh(t, m, map[string]int{"v1": 100})
	if m.Rollout != nil || m.Candidate != "" || m.Withdrawal == nil || m.Withdrawal.Kind != release.KindAborted || m.Withdrawal.Done.IsZero() {
		t.Errorf("after the abort: rollout %+v, candidate %q, withdrawal %+v", m.Rollout, m.Candidate, m.Withdrawal)
	}
}
