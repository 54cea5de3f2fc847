package control

import (
	"testing"
	"time"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/signals"
)

// A version is known to answer by its last clean answer, until a bad one comes.
func TestWhatAnswers(t *testing.T) {
	model := []compile.Model{{Name: fraud, Rollout: &compile.Rollout{}, Versions: []compile.ModelVersion{{Name: "v1"}}}}
	tests, b, began := newTests(), bookOn(t, &record{}), time.Now()
	at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }
	for i, c := range []struct {
		clean, bad, streak uint64
		want               time.Time // zero: it is not known to
	}{
		{0, 0, 0, time.Time{}},
		{9, 0, 0, at(1)},
		{0, 0, 0, at(1)},
		{0, 1, 1, time.Time{}},
		{0, 0, 0, time.Time{}},
		{7, 5, 0, at(5)},
		{7, 3, 3, time.Time{}},
		{1, 0, 0, at(7)},
	} {
		came := signals.Increment{Version: signals.Version{Model: fraud, Name: "v1"}, Streak: c.streak}
		came.Clean, came.Bad = c.clean, c.bad
		came.Callers[0].Clean, came.Callers[0].Bad = c.clean, c.bad
		if c.bad > 0 {
			came.FirstBad = at(i)
		}
		tests.feed([]signals.Increment{came}, model, b, at(i))
		if got := tests.answered(fraud)["v1"]; !got.Equal(c.want) {
			t.Errorf("step %d: %s, want %s", i, got, c.want)
		}
	}
}

// Where the control plane reaches no model, the answers that come through the
// proxies say which versions are ready.
func TestReadyByItsAnswers(t *testing.T) {
	m := newModels(t)
	b := start(t, t.TempDir())
	world := m.world(t, one, 1, 100, unedited)
	_ = m[0].Close() // v1 is not reached from here any more
	b.configure(world)
	ready := func(version string) *bool {
		return b.control.input(b.control.model(fraud), b.state()).Versions[version].Ready
	}
	if !eventually(func() bool { return ready("v2") != nil && ready("v1") != nil }) {
		t.Fatal("nothing is known of readiness")
	}
	if *ready("v1") || !*ready("v2") {
		t.Fatalf("v1 %v, v2 %v by the probes", *ready("v1"), *ready("v2"))
	}
	b.answer("v1", 10, false)
	if !eventually(func() bool { return *ready("v1") }) {
		t.Error("v1 answers well and is not ready")
	}
	b.answer("v1", 10, true)
	if !eventually(func() bool { return !*ready("v1") }) {
		t.Error("v1 answers no more and is ready")
	}
}
