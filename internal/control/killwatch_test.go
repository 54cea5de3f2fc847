package control

import (
	"testing"
	"time"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/verdict"
)

// One caller of many does not bring a version down, nor does too little.
func TestWhatKillsNothingByItself(t *testing.T) {
	c := compile.KillCriterion{BadPercent: 20, MinRequests: 100, Within: 10 * time.Second}
	now := time.Now()
	came := func(place int, clean, bad uint64) *signals.Counts {
		x := &signals.Counts{Clean: clean, Bad: bad, Detectors: map[string]uint64{string(verdict.NonFinite): bad}}
		x.Callers[place] = signals.Caller{Clean: clean, Bad: bad}
		return x
	}
	crowd := func(w *killWindow, clean, bad uint64) {
		for place := range signals.Places {
			w.add(now, &c, came(place, clean, bad))
		}
	}
	for name, x := range map[string]struct {
		feed func(w *killWindow)
		over bool
	}{
		"nothing":            {func(*killWindow) {}, false},
		"all are bad":        {func(w *killWindow) { crowd(w, 0, 2) }, true},
		"just enough":        {func(w *killWindow) { crowd(w, 8, 2) }, true},
		"just not enough":    {func(w *killWindow) { crowd(w, 9, 2) }, false},
		"too few":            {func(w *killWindow) { w.add(now, &c, came(3, 0, 99)) }, false},
		"a single caller":    {func(w *killWindow) { w.add(now, &c, came(3, 0, 100)) }, true},
		"one caller of many": {func(w *killWindow) { crowd(w, 10, 0); w.add(now, &c, came(3, 0, 400)) }, false},
		"two of many":        {func(w *killWindow) { crowd(w, 10, 0); w.add(now, &c, came(3, 0, 400)); w.add(now, &c, came(4, 0, 400)) }, true},
		"two places of a group": {func(w *killWindow) {
			crowd(w, 10, 0)
			w.add(now, &c, came(3, 0, 200))
			w.add(now, &c, came(19, 0, 200))
		}, false},
		"too few without one": {func(w *killWindow) { w.add(now, &c, came(3, 0, 60)); w.add(now, &c, came(4, 0, 60)) }, false},
		"too long ago":        {func(w *killWindow) { crowd(w, 0, 2); w.add(now.Add(c.Within), &c, nil) }, false},
		"not yet":             {func(w *killWindow) { crowd(w, 0, 2); w.add(now.Add(c.Within-1), &c, nil) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := &killWindow{}
			x.feed(w)
			a, over := w.over(&c)
			if over != x.over || over && (a.Requests < 100 || a.Bad == 0 || a.Since.IsZero()) {
				t.Errorf("over %v: %+v", over, a)
			}
		})
	}
}

func TestACriterionOfOneDetector(t *testing.T) {
	c := compile.KillCriterion{Detector: string(verdict.CEL), BadPercent: 20, MinRequests: 10, Within: time.Minute, Safety: true}
	w, now := &killWindow{}, time.Now()
	for place := range signals.Places {
		x := &signals.Counts{Clean: 5, Bad: 5, Detectors: map[string]uint64{string(verdict.NonFinite): 4, string(verdict.CEL): 1}}
		x.Callers[place] = signals.Caller{Clean: 5, Bad: 5}
		w.add(now, &c, x)
	}
	if _, over := w.over(&c); over {
		t.Error("what another found counts")
	}
	c.BadPercent = 4 // without any one caller less is left of it than there is
	a, over := w.over(&c)
	if want := "64 of 640 answers within 1m0s bad (cel): 10 %, and from 4 % on it is killed, a criterion of safety"; !over || a.Why != want || !a.Safety {
		t.Errorf("%v %+v", over, a)
	}
}

// A window stays small, however much comes.
func TestAWindowIsBounded(t *testing.T) {
	c := compile.KillCriterion{BadPercent: 20, MinRequests: 10, Within: 10 * time.Second}
	w, now := &killWindow{}, time.Now()
	for i := range 10_000 {
		w.add(now.Add(time.Duration(i)*time.Millisecond*10), &c, &signals.Counts{Clean: 1, Callers: [signals.Places]signals.Caller{{Clean: 1}}})
		if len(w.slots) > killSlots+1 {
			t.Fatalf("%d slots", len(w.slots))
		}
	}
}

// Evidence of before a person's decision, and what is told just after it, is none.
func TestAPersonsDecisionBeginsTheWindowsAnew(t *testing.T) {
	w, now := newKillWatch(), time.Now()
	m := compile.Model{Name: fraud, Kill: &compile.AutomaticKill{When: []compile.KillCriterion{{BadPercent: 50, MinRequests: 10, Within: time.Minute}}}}
	state := release.State{Weights: map[string]int{"v1": 100}}
	bad := signals.Increment{Version: signals.Version{Model: fraud, Name: "v1"}, Counts: signals.Counts{Bad: 100}}
	bad.Callers[1].Bad = 100
	feed := func(after time.Duration) int {
		w.feed([]signals.Increment{bad}, []compile.Model{m}, func(string) release.State { return state }, now.Add(after))
		alarms, _ := w.of(fraud)
		return len(alarms)
	}
	if n := feed(0); n != 1 {
		t.Fatalf("%d alarms", n)
	}
	state.Marks = map[string]release.Mark{"v1": {At: now.Add(time.Second)}}
	if n := feed(time.Second) + feed(1500*time.Millisecond); n != 0 {
		t.Errorf("%d alarms after a person's decision", n)
	}
	if n := feed(2 * time.Second); n != 1 {
		t.Errorf("%d alarms by what came later", n)
	}
	state.Suspended = &release.Suspended{}
	if n := feed(3 * time.Second); n != 0 {
		t.Errorf("%d alarms while it is killed", n)
	}
	state.Suspended, state.Weights = nil, map[string]int{"v2": 100}
	if n := feed(4 * time.Second); n != 0 {
		t.Errorf("%d alarms of a version without traffic", n)
	}
}

func TestWhatComesAfterAnAutomaticKill(t *testing.T) {
	w, now := newKillWatch(), time.Now()
	m := compile.Model{Name: fraud}
	state := release.State{Stop: &release.Stop{ID: "1", At: now, Versions: []string{"v2"}, Seen: now}}
	feed := func(after time.Duration) release.Aftermath {
		came := []signals.Increment{
			{Version: signals.Version{Model: fraud, Name: "v1"}, Counts: signals.Counts{Asked: 9, Clean: 6, Bad: 3, Fallbacks: 3}},
			{Version: signals.Version{Model: fraud, Name: "v2"}, Counts: signals.Counts{Asked: 2, Bad: 2}},
			{Version: signals.Version{Model: fraud, Name: ""}, Counts: signals.Counts{Asked: 5, Fallbacks: 5}},
		}
		w.feed(came, []compile.Model{m}, func(string) release.State { return state }, now.Add(after))
		_, after2 := w.of(fraud)
		return after2
	}
	first := now.Add(afterSettles - 1)
	if got := feed(afterSettles - 1); got != (release.Aftermath{ID: "1", Since: first}) {
		t.Errorf("what was under way counts: %+v", got)
	}
	if got, want := feed(afterSettles), (release.Aftermath{ID: "1", Since: first, Asked: 2, Requests: 9, Bad: 3, Fallbacks: 8}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	state.Stop = &release.Stop{ID: "2", At: now, Seen: now}
	if got, want := feed(afterSettles), (release.Aftermath{ID: "2", Since: now.Add(afterSettles), Asked: 11, Fallbacks: 8}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
