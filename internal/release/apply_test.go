package release

import (
	"errors"
	"testing"
	"time"
)

func TestWhatIsRefused(t *testing.T) {
	running := func(w *world) { w.apply(Command{Do: Start, Version: "v2"}); w.pass(3 * time.Minute) }
	promoted := func(w *world) { w.promoteFully("v2") }
	nothing := func(*world) {}
	for _, c := range []struct {
		name    string
		reach   func(*world)
		command Command
		says    []string
	}{
		{"start of an unknown version", nothing, Command{Do: Start, Version: "v9"}, []string{`"v9"`, "v1, v2"}},
		{"start of one that left the files", func(w *world) { delete(w.in.Versions, "v2") }, Command{Do: Start, Version: "v2"}, []string{"not in the files"}},
		{"start of what has the traffic", nothing, Command{Do: Start, Version: "v1", Force: true}, []string{"v1 has the traffic already"}},
		{"start of what was promoted", promoted, Command{Do: Start, Version: "v2"}, []string{"v2 has the traffic already"}},
		{"start while one runs", running, Command{Do: Start, Version: "v2", Force: true}, []string{"v2 runs", "step 1 of 4 at 1 %", "3m0s ago by mia", "abort"}},
		{"start without a ready endpoint", func(w *world) { w.version("v2", func(v *VersionInfo) { v.Ready = no() }) }, Command{Do: Start, Version: "v2"}, []string{"no ready endpoint", "force"}},
		{"start with the files unread", func(w *world) { w.in.Versions = nil }, Command{Do: Start, Version: "v2"}, []string{"not read yet"}},
		{"a command for another generation", nothing, Command{Do: Start, Version: "v2", Generation: 7}, []string{"generation 1", "7"}},
		{"pause of nothing", nothing, Command{Do: Pause}, []string{"no rollout"}},
		{"pause twice", func(w *world) { running(w); w.apply(Command{Do: Pause}) }, Command{Do: Pause}, []string{"already", "mia"}},
		{"resume of what runs", running, Command{Do: Resume}, []string{"not paused", "step 1 of 4"}},
		{"promote of nothing", promoted, Command{Do: Promote}, []string{"no rollout"}},
		{"promote without a ready endpoint", func(w *world) { running(w); w.version("v2", func(v *VersionInfo) { v.Ready = no() }) }, Command{Do: Promote}, []string{"no ready endpoint"}},
		{"promote under a common cause", func(w *world) {
			running(w)
			w.in.Evidence["v2"] = Evidence{Verdict: CommonCause}
		}, Command{Do: Promote}, []string{"common-cause", "force"}},
		{"abort of what was promoted", promoted, Command{Do: Abort}, []string{"no rollout", "rollback goes back"}},
		{"rollback of the only version", nothing, Command{Do: Rollback}, []string{"no version to go back to"}},
		{"rollback to what has the traffic", promoted, Command{Do: Rollback, Version: "v2"}, []string{"already"}},
		{"rollback to what is rolled out", running, Command{Do: Rollback, Version: "v2"}, []string{"promote"}},
		{"rollback to an unknown version", running, Command{Do: Rollback, Version: "v9"}, []string{"v9"}},
		{"rollback to what is not compatible", func(w *world) {
			promoted(w)
			w.version("v2", func(v *VersionInfo) { v.CompatibleWith = []string{"v3"} })
		}, Command{Do: Rollback, Version: "v1"}, []string{"compatibleWith of v2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			c.reach(w)
			err := w.try(c.command)
			refused(t, err, c.says...)
			if !errors.Is(err, ErrRefused) {
				t.Errorf("%v is no refusal", err)
			}
		})
	}
}

func TestCommandsThatAreWrong(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		command Command
		says    string
	}{
		{Command{Do: Start, Version: "v2", Reason: "x"}, "by"},
		{Command{Do: Start, Version: "v2", By: "safestate", Reason: "x"}, "automation"},
		{Command{Do: Start, Version: "v2", By: "mia"}, "reason"},
		{Command{Do: Start, By: "mia", Reason: "x"}, "version"},
		{Command{Do: Start, Version: "v2", By: "mia", Reason: "x", Steps: []Step{{Weight: 50}, {Weight: 5}}}, "goes forward"},
		{Command{Do: Start, Version: "v2", By: "mia", Reason: "x", Steps: []Step{{Weight: 101}}}, "0 to 100"},
		{Command{Do: Start, Version: "v2", By: "mia", Reason: "x", Steps: []Step{{MinRequests: 1}}}, "weight of 0"},
		{Command{Do: Start, Version: "v2", By: "mia", Reason: "x", Steps: []Step{{Weight: 1, Duration: -1}}}, "duration"},
		{Command{Do: Start, Version: "v2", By: "mia", Reason: "x", Force: true, Hold: lasting(-1)}, "hold"},
		{Command{Do: Promote, By: "mia", Force: true}, "reason"},
		{Command{Do: Pause, By: "mia", Version: "v2"}, "takes none"},
		{Command{Do: Abort, By: "mia", Steps: []Step{{Weight: 1}}}, "only start"},
		{Command{Do: "halt", By: "mia"}, "none of start"},
	} {
		_, err := Apply(w.s, c.command, w.in, w.now)
		refused(t, err, c.says)
		if errors.Is(err, ErrRefused) {
			t.Errorf("%v could be accepted by another state", err)
		}
	}
	if _, err := Apply(w.s, Command{Do: Pause, By: "mia"}, w.in, time.Time{}); err == nil {
		t.Error("a command at no time")
	}
	if _, err := Apply(State{}, Command{Do: Pause, By: "mia"}, w.in, w.now); err == nil {
		t.Error("a command to no state")
	}
}

func TestAPersonsRollback(t *testing.T) {
	w := four(t)
	w.apply(Command{Do: Rollback, Reason: "support calls"})
	w.advance()
	w.weights(map[string]int{"v3": 100})
	if r := w.last(KindRollback); r.By != "mia" || r.Version != "v4" || r.Target != "v3" || r.Reason != "support calls" {
		t.Errorf("%+v", r)
	}
	refused(t, w.try(Command{Do: Start, Version: "v4"}), "rolled back", "support calls")
	w.apply(Command{Do: Rollback, Version: "v2"}) // and further back
	w.weights(map[string]int{"v2": 100})
	if got := keys(w.s.Condemned); list(got) != "v3, v4" {
		t.Errorf("condemned: %v", got)
	}
	w.apply(Command{Do: Start, Version: "v3", Force: true})
	if _, yes := w.s.Condemned["v3"]; yes || !w.last(KindStarted).Forced {
		t.Error("force did not lift it")
	}

	w = four(t)
	w.apply(Command{Do: Rollback, Version: "v1"}) // past the stable one
	w.weights(map[string]int{"v1": 100})
	if got := keys(w.s.Condemned); list(got) != "v3, v4" {
		t.Errorf("condemned: %v", got)
	}

	w = newWorld(t)
	w.promoteFully("v2")
	w.apply(Command{Do: Rollback, Version: "v1"}) // to the holdback
	w.weights(map[string]int{"v1": 100})
	if got := keys(w.s.Condemned); list(got) != "v2" {
		t.Errorf("condemned: %v", got)
	}
	w.pass(24 * time.Hour) // automation leaves it there
	w.weights(map[string]int{"v1": 100})
}

func TestStartAgainstTheHeaviestOfTheFiles(t *testing.T) {
	w := newWorld(t)
	w.version("v2", func(v *VersionInfo) { v.FileWeight = 3 })
	w.advance()
	w.apply(Command{Do: Start, Version: "v2", Steps: []Step{{Weight: 80}}})
	w.weights(map[string]int{"v1": 20, "v2": 80})
	if w.s.Stable != "v1" {
		t.Errorf("stable is %s", w.s.Stable)
	}
}

func TestAnAbortWithoutTheStableVersionGoesToAnother(t *testing.T) {
	w := four(t)
	w.in.Plan.Holdback = number(0)
	w.apply(Command{Do: Abort})
	w.apply(Command{Do: Start, Version: "v4", Steps: []Step{{Weight: 100, Gate: true}}})
	w.weights(map[string]int{"v4": 100})
	delete(w.in.Versions, "v3")
	w.advance()
	w.weights(map[string]int{"v4": 100})
	w.apply(Command{Do: Abort})
	w.weights(map[string]int{"v2": 100})
}
