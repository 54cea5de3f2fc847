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
	"github.com/safestate/safestate/internal/store/storetest"
	"github.com/safestate/safestate/internal/verdict"
)

// guarded is a world whose model is killed by itself.
func (m *models) guarded(t *testing.T, automatic string) *compile.Snapshot {
	t.Helper()
	return compiled(t, strings.Replace(m.text(one, 1, 100), "rollout: {holdbackPercent: 1}",
		"rollout: {holdbackPercent: 1}\n  kill: {automatic: "+automatic+"}", 1), unedited)
}

// standAlone runs a control plane on a store in memory.
func standAlone(t *testing.T, s *compile.Snapshot) (*bench, *trail, *storetest.Client) {
	t.Helper()
	l := &trail{}
	b, client := replica(t, storetest.NewMemory(5*time.Second), t.TempDir(), "one", l)
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

// The detectors that a criterion may name are those that evidence names.
func TestCriteriaNameDetectors(t *testing.T) {
	for _, d := range []string{"NonFinite", "Confidence", "Late", "Broken", "Contract", "Constant", "Chat", "CEL", "Dependency"} {
		s := newModels(t).guarded(t, "{when: [{detector: "+d+", badPercent: 5, minRequests: 50, within: 30s}]}")
		if got := s.Models[0].Kill.When[0].Detector; !slices.Contains(verdict.Detectors, verdict.Detector(got)) {
			t.Errorf("%s is %q, which nobody is called", d, got)
		}
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
