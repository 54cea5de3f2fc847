package releases

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/release"
)

// TestRestart kills safestate in the middle of a rollout: traffic stays as it
// is, and the release goes on from where it was. Then it loses its store, and
// then all that it knew.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := newStand(t, newWorld(t, "v1", "v2"))
	l := startLoad(t, s.proxy, nil)
	s.rollout("30,1s,20,gate", "60,1s,20,gate", "100,1s")
	before := s.phase(release.PhaseGate)

	s.process.Kill()
	l.reset()
	// Without the processor Envoy alone answers, from its copy of the default.
	l.until(t, "Envoy alone answers", func(sources, _ map[string]int) bool { return sources["safe_default"] > perSecond/2 })
	s.start()
	same := func(what string) admin.Model {
		t.Helper()
		m := s.until(what+": proven", func(m admin.Model) bool { return m.Proof.Applied && m.Proof.Expected == 1 })
		if m.Generation != before.Generation || !maps.Equal(weights(m), weights(before)) || m.Phase != before.Phase {
			t.Errorf("%s: generation %d, weights %v, phase %s; before it was %d, %v, %s", what,
				m.Generation, weights(m), m.Phase, before.Generation, weights(before), before.Phase)
		}
		return m
	}
	same("restarted")
	l.reset()
	l.until(t, "both versions answer after the restart", func(_, versions map[string]int) bool { return versions["v1"] > 0 && versions["v2"] > 0 })
	s.does("rollout", "promote", "score")
	before = s.until("the next step's gate", func(m admin.Model) bool { return m.Phase == release.PhaseGate && weights(m)["v2"] == 60 })

	// The store is lost, the local copy is not. That one is written after the store,
	// by an instant.
	s.copied(t, before.Phase)
	s.process.Kill()
	if err := os.RemoveAll(filepath.Join(s.data, "etcd")); err != nil {
		t.Fatal(err)
	}
	s.start()
	same("without its store")
	s.does("rollout", "promote", "score") // the store has it again
	s.phase(release.PhasePromoted)

	// All is lost: the files' weights hold, as on a first start, and nothing tells
	// this from one.
	s.process.Kill()
	for _, name := range []string{"etcd", "states.json"} {
		if err := os.RemoveAll(filepath.Join(s.data, name)); err != nil {
			t.Fatal(err)
		}
	}
	s.start()
	// Envoy comes back when its backoff says so.
	s.until("the files' weights hold at the proxy", func(m admin.Model) bool {
		return m.Phase == release.PhaseFiles && weights(m)["v1"] == 100 && m.Proof.Applied && m.Proof.Expected == 1
	})
	// Its workers follow what its main thread has accepted.
	dataplane.Eventually(t, soon, "v1 alone answers", func() bool {
		l.reset()
		l.more(t, perSecond)
		_, versions := l.seen()
		return versions["v1"] > 0 && versions["v2"] == 0
	})
	l.unharmed(t)
}

// TestFiles edits the files while a release holds: other weights are drift, and
// another artifact under an old name is refused.
func TestFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1", "v2")
	s := newStand(t, w)
	l := startLoad(t, s.proxy, nil)
	s.rollout("30,1s,20,gate", "100,1s")
	before := s.phase(release.PhaseGate)

	w.version("v1").Weight, w.version("v2").Weight = 20, 80
	w.write()
	m := s.until("the drift is told", func(m admin.Model) bool {
		for _, d := range m.Drift {
			if d.Version == "v2" && d.Files == 80 {
				return true
			}
		}
		return false
	})
	weigh(t, m, map[string]int{"v1": 70, "v2": 30})
	if m.Generation != before.Generation {
		t.Errorf("generation %d became %d", before.Generation, m.Generation)
	}
	if out := s.does("rollout", "status", "score"); !strings.Contains(out, "drift") && !strings.Contains(out, "files") {
		t.Errorf("the drift is not told:\n%s", out)
	}

	good := w.version("v2").Digest
	w.version("v2").Digest = "sha256:" + strings.Repeat("e", 64)
	w.write()
	var problems string
	dataplane.Eventually(t, soon, "the other digest is refused", func() bool {
		st, ok := s.status()
		problems = strings.Join(st.Configuration.Problems, "\n")
		return ok && problems != ""
	})
	for _, want := range []string{good, w.version("v2").Digest, "v2"} {
		if !strings.Contains(problems, want) {
			t.Errorf("the problem does not name %s:\n%s", want, problems)
		}
	}
	l.reset()
	l.until(t, "both versions answer with a refused file", func(_, versions map[string]int) bool { return versions["v1"] > 0 && versions["v2"] > 0 })
	w.version("v2").Digest = good
	w.write()
	dataplane.Eventually(t, soon, "the mended file is taken", func() bool {
		st, ok := s.status()
		return ok && len(st.Configuration.Problems) == 0
	})
	l.unharmed(t)
}

// copied waits until the local copy has the model in a phase.
func (s *stand) copied(t *testing.T, phase release.Phase) {
	t.Helper()
	end := time.Now().Add(soon)
	for {
		var states map[string]release.State
		text, err := os.ReadFile(filepath.Join(s.data, "states.json"))
		if err == nil && json.Unmarshal(text, &states) == nil {
			for _, state := range states {
				if state.Phase() == phase {
					return
				}
			}
		}
		if time.Now().After(end) {
			t.Fatalf("the local copy is not of phase %s: %s, %v", phase, text, err)
		}
		time.Sleep(5 * time.Millisecond) // a poll with a bound
	}
}
