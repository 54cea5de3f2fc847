package control

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/store/storetest"
	"github.com/safestate/safestate/internal/verdict"
)

// guarded is a world whose model is killed by itself.
func (m *models) guarded(t *testing.T, automatic string) *compile.Snapshot {
	t.Helper()
	return compiled(t, strings.Replace(m.text(one, 1, 100), "rollout: {holdbackPercent: 1}",
		"rollout: {holdbackPercent: 1}\n  kill: {automatic: "+automatic+"}", 1), unedited)
}

// stand runs a control plane on a store in memory.
func standAlone(t *testing.T, s *compile.Snapshot) (*bench, *trail, *storetest.Client) {
	t.Helper()
	l := &trail{}
	b, client := replica(t, storetest.NewMemory(time.Second), t.TempDir(), "one", l)
	b.configure(s)
	b.until("the files' weights are taken over", func(s release.State) bool { return s.Generation > 0 })
	return b, l, client
}

func (b *bench) killed(t kill.Target) kill.State { return b.control.kills.get(t).state }

// undo revives a target as it is now.
func (b *bench) undo(t kill.Target) {
	b.t.Helper()
	if _, err := b.control.Revive(b.t.Context(), t, reviving(b.killed(t).Generation)); err != nil {
		b.t.Fatal(err)
	}
}

func TestAKillDuringARollout(t *testing.T) {
	b, _, _ := standAlone(t, newModels(t).world(t, one, 1, 100, unedited))
	b.do(release.Command{Do: release.Start, Version: "v2", Steps: quick})
	if n := b.weight("v2"); n == 0 {
		t.Fatalf("v2 has %d", n)
	}
	v2 := kill.ForVersion(fraud, "v2")
	if _, _, err := b.control.Kill(t.Context(), v2, stopping("1")); err != nil {
		t.Fatal(err)
	}
	if n := b.weight("v2"); n != 0 {
		t.Errorf("killed, and v2 has %d", n)
	}
	s := b.until("the release heeds it", func(s release.State) bool { return s.Rollout == nil && s.Weights["v1"] == 100 })
	if c := s.Condemned["v2"]; c.By != "on-call" || !strings.Contains(c.Reason, "killed by on-call: wrong answers") {
		t.Errorf("%+v", s.Condemned)
	}
	_, err := b.control.Do(t.Context(), fraud, release.Command{Do: release.Start, Version: "v2", Again: true, Force: true, By: "ann", Reason: "x"})
	if !errors.Is(err, release.ErrRefused) || !strings.Contains(err.Error(), "safestate revive version/default/fraud/v2") {
		t.Errorf("%v", err)
	}
	b.undo(v2)
	if n := b.weight("v2"); n != 0 {
		t.Errorf("a revive gave v2 %d", n)
	}
	b.do(release.Command{Do: release.Start, Version: "v2", Again: true, Steps: quick})
	if n := b.weight("v2"); n == 0 {
		t.Error("started again, and v2 has nothing")
	}
}

// A command that comes before the leader has looked heeds the kill as well.
func TestTheOnlyVersionIsKilledAndRevived(t *testing.T) {
	b, _, _ := standAlone(t, newModels(t).world(t, one, 1, 100, unedited))
	v1 := kill.ForVersion(fraud, "v1")
	if _, _, err := b.control.Kill(t.Context(), v1, stopping("1")); err != nil {
		t.Fatal(err)
	}
	b.until("the model degrades", func(s release.State) bool { return s.Degraded && s.Taken["v1"] == 100 })
	r := reviving(1)
	r.Ramp = time.Hour
	if _, err := b.control.Revive(t.Context(), v1, r); err != nil {
		t.Fatal(err)
	}
	b.until("v1 has its traffic again", func(s release.State) bool { return s.Weights["v1"] == 100 })
	if !eventually(func() bool { n := b.weight("v1"); return n > 0 && n < 100 }) {
		t.Errorf("v1 has %d at the ramp's beginning", b.weight("v1"))
	}
}

func TestEvidenceDoesNotCountWhileTheModelIsKilled(t *testing.T) {
	b, _, _ := standAlone(t, newModels(t).world(t, one, 1, 100, unedited))
	b.promote()
	if _, _, err := b.control.Kill(t.Context(), theModel, stopping("1")); err != nil {
		t.Fatal(err)
	}
	b.until("releases stand still", func(s release.State) bool { return s.Suspended != nil })
	if !eventually(func() bool { return counted(b, "v2") }) {
		t.Fatal("nothing was taken")
	}
	before, asked := b.control.tests.evidence(fraud)["v2"].Requests, reported(b, "v2")
	b.answer("v2", 300, true)
	if !eventually(func() bool { return reported(b, "v2") >= 300+asked && counted(b, "v2") }) {
		t.Fatal("nothing was reported")
	}
	s := b.state()
	if got := b.control.tests.evidence(fraud)["v2"].Requests; got != before || s.Weights["v2"] != 99 {
		t.Errorf("%d requests judged, %d before; weights %v", got, before, s.Weights)
	}
	b.undo(theModel)
	s = b.until("releases go on", func(s release.State) bool { return s.Suspended == nil })
	if s.Weights["v2"] != 99 || s.EvidenceSince("v2").IsZero() {
		t.Errorf("%+v", s)
	}
	if !eventually(func() bool { return b.control.tests.evidence(fraud)["v2"].Requests == 0 }) {
		t.Errorf("its evidence does not begin anew: %+v", b.control.tests.evidence(fraud)["v2"])
	}
}

// reported is how many requests to a version were reported.
func reported(b *bench, version string) uint64 {
	for _, x := range b.hub.Totals() {
		if x.Model == fraud && x.Name == version {
			return x.Asked
		}
	}
	return 0
}

// counted reports whether a round has taken what was reported.
func counted(b *bench, version string) bool {
	b.control.stir()
	for _, x := range b.hub.Totals() {
		if x.Model == fraud && x.Name == version {
			b.control.proofs.mu.Lock()
			defer b.control.proofs.mu.Unlock()
			return b.control.proofs.asked[fraud][version].Equal(x.LastAsked)
		}
	}
	return false
}

const sharp = "{when: [{badPercent: 50, minRequests: 50, within: 1m}], mode: Default, coolDown: 1m}"

func TestTheOnlyVersionIsKilledByItself(t *testing.T) {
	for _, away := range []bool{false, true} {
		b, l, client := standAlone(t, newModels(t).guarded(t, sharp))
		b.answer("v1", 100, false)
		client.Cut(away)
		if !eventually(func() bool { b.answer("v1", 20, true); return b.killed(theModel).Killed }) {
			t.Fatalf("v1 is not killed: %+v", b.state())
		}
		k := b.killed(theModel)
		if k.By != release.By || k.Mode != kill.Default || !strings.Contains(k.Reason, "answers within 1m0s bad") {
			t.Errorf("%+v", k)
		}
		if !eventually(func() bool { return b.weight("v1") == 0 }) {
			t.Errorf("killed, and v1 has %d", b.weight("v1"))
		}
		if !eventually(func() bool { return strings.Contains(l.kinds(), "kill") }) {
			t.Error("the trail does not tell of it")
		}
		if i := slices.IndexFunc(k.Outbox, func(r kill.Record) bool { return r.Automatic && r.Evidence != "" }); i < 0 && !told(l, "answers within") {
			t.Errorf("%+v", k.Outbox)
		}
		client.Cut(false)
		b.until("it is seen in force", func(s release.State) bool { return s.Stop != nil && !s.Stop.Seen.IsZero() && s.Suspended != nil })

		// What a person gives back stays for the cool-down, whatever is seen.
		b.undo(theModel)
		b.until("releases go on", func(s release.State) bool { return s.Suspended == nil })
		b.until("automation is held off", func(s release.State) bool {
			b.answer("v1", 20, true)
			return s.KillBound != nil && s.KillBound.Rail == release.RailRevived
		})
		if b.killed(theModel).Killed {
			t.Error("killed past a person's decision")
		}
		if _, what := b.status(fraud); !slices.ContainsFunc(what, func(s string) bool { return strings.Contains(s, "a person has revived it") }) {
			t.Errorf("%q", what)
		}
	}
}

// What people did since an order was given stays as they want it, and an order that
// was carried out is not carried out again.
func TestAnOrderIsNotCarriedOutPastAPerson(t *testing.T) {
	b, _, _ := standAlone(t, newModels(t).guarded(t, sharp))
	m, begun := b.control.model(fraud), time.Now().UTC()
	order := func(id string, at time.Time) {
		t.Helper()
		if !eventually(func() bool {
			from := b.control.book.get(fraud)
			next := from.state
			next.Stop = &release.Stop{ID: id, At: at, Mode: "degrade", Reason: "x"}
			return b.control.commit(t.Context(), from, next) == nil
		}) {
			t.Fatal("the order cannot be given")
		}
		b.control.carryOut(t.Context(), m)
	}
	kill1 := stopping("1")
	kill1.Mode = kill.Blackhole
	if _, _, err := b.control.Kill(t.Context(), theModel, kill1); err != nil {
		t.Fatal(err)
	}
	order("automatic-1", begun)
	if k := b.killed(theModel); k.Mode != kill.Blackhole || k.By != "on-call" {
		t.Errorf("a person's kill has become %+v", k)
	}
	b.undo(theModel)
	order("automatic-2", begun)
	if b.killed(theModel).Killed {
		t.Error("killed past a person's revive")
	}
	order("automatic-3", time.Now().UTC())
	if !b.killed(theModel).Killed {
		t.Error("an order is not carried out")
	}
}

// told reports whether the trail has an automatic kill with such evidence.
func told(l *trail, evidence string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if strings.HasPrefix(e.ID, "kill/") && strings.Contains(string(e.Evidence), evidence) && strings.Contains(string(e.After), `"automatic":true`) {
			return true
		}
	}
	return false
}

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

// The detectors that a criterion may name are those that evidence names.
func TestCriteriaNameDetectors(t *testing.T) {
	for _, d := range []string{"NonFinite", "Confidence", "Late", "Broken", "Contract", "Constant", "Chat", "CEL", "Dependency"} {
		s := newModels(t).guarded(t, "{when: [{detector: "+d+", badPercent: 5, minRequests: 50, within: 30s}]}")
		if got := s.Models[0].Kill.When[0].Detector; !slices.Contains(verdict.Detectors, verdict.Detector(got)) {
			t.Errorf("%s is %q, which nobody is called", d, got)
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

// TestNothingKilledHasTraffic: whatever is killed, revived, rolled out and back, what
// releases and kills make together gives nothing to what is killed.
func TestNothingKilledHasTraffic(t *testing.T) {
	files := newModels(t).world(t, one, 1, 60, unedited)
	m := &files.Models[0]
	commands := []release.Verb{release.Start, release.Start, release.Promote, release.Abort, release.Rollback, release.Pause, release.Resume}
	served, stopped := 0, 0
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		version := func() string { return m.Versions[r.IntN(len(m.Versions))].Name }
		state, states, now := release.New(fraud), map[kill.Target]kill.State{}, time.Now()
		evidence := map[string]release.Evidence{}
		for i := range 60 {
			now = now.Add(time.Duration(r.IntN(300)) * time.Second)
			target := []kill.Target{kill.Everything, theModel, kill.ForVersion(fraud, version()), kill.ForVersion(fraud, version())}[r.IntN(4)]
			if _, known := states[target]; !known {
				states[target] = kill.New(target)
			}
			in := func() release.Input {
				x := release.Input{Plan: planOf(m), Versions: versionsOf(m), Evidence: evidence, Killed: killedOf(setOf(states), m)}
				x.Plan.Kill = &release.KillPlan{}
				return x
			}
			switch r.IntN(5) {
			case 0:
				states[target] = kill.Kill(states[target], kill.Order{ID: string(rune('a' + i)), At: now, By: "eve", Reason: "x"})
			case 1, 2:
				states[target], _ = kill.Revive(states[target], kill.Request{
					At: now, By: "eve", Reason: "x", Generation: states[target].Generation, Ramp: time.Duration(r.IntN(2)) * time.Hour})
			case 3:
				state, _ = release.Apply(state, release.Command{Do: commands[r.IntN(len(commands))], Version: version(), By: "ann", Reason: "x",
					Force: r.IntN(2) == 0, Again: r.IntN(2) == 0}, in(), now)
			case 4:
				e := evidence[version()]
				e.Requests, e.Bad, e.Verdict, e.FirstBad = e.Requests+100, e.Bad+50, release.Failure, now
				evidence[version()] = e
			}
			if r.IntN(3) > 0 { // the leader may be late
				next, _, _, err := release.Advance(state, in(), now)
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				state = next
				for name := range killedOf(setOf(states), m).Versions {
					if state.Weights[name] > 0 {
						t.Fatalf("seed %d: %s is killed, and the release gives it %d", seed, name, state.Weights[name])
					}
				}
			}
			s := files.WithReleases(map[string]compile.Release{fraud: releaseOf(&state)}).WithKills(setOf(states), now)
			for _, b := range s.Routes[0].Backends {
				name := b.Cluster[strings.LastIndexByte(b.Cluster, '/')+1:]
				killed := setOf(states).Of(s.Routes[0].Name, fraud, name, now).Killed
				switch {
				case killed && b.Weight > 0 && strings.HasPrefix(b.Cluster, fraud+"/"):
					t.Fatalf("seed %d: %s is killed and has %d", seed, name, b.Weight)
				case killed:
					stopped++
				case b.Weight > 0:
					served++
				}
			}
		}
	}
	if served < 1000 || stopped < 1000 {
		t.Errorf("%d served, %d stopped: the sequences are too tame", served, stopped)
	}
}

func setOf(states map[kill.Target]kill.State) *kill.Set {
	var all []kill.State
	for _, s := range states {
		all = append(all, s)
	}
	return kill.NewSet(all...)
}
