package kill

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func at(generation uint64, killed bool, mode Mode) State {
	s := State{Target: ForModel("default/fraud"), Generation: generation, Killed: killed, Since: time.Unix(int64(generation), 0).UTC()}
	if killed {
		s.Mode = mode
	}
	return s
}

func TestHeed(t *testing.T) {
	killed, revived := at(3, true, Degrade), at(4, false, "")
	for _, x := range []struct {
		name         string
		ours, theirs []State
		want         State
		refused      string // begins what of theirs is not taken
	}{
		{"nothing is known yet", nil, []State{killed}, killed, ""},
		{"the same again", []State{killed}, []State{killed}, killed, ""},
		{"a revive", []State{killed}, []State{revived}, revived, ""},
		{"a kill", []State{revived}, []State{at(5, true, Blackhole)}, at(5, true, Blackhole), ""},
		{"an older revive", []State{at(5, true, Degrade)}, []State{revived}, at(5, true, Degrade), "model default/fraud is at generation 5 (killed, degrade), and this says 4 (not killed)"},
		{"an older kill", []State{revived}, []State{killed}, revived, "model default/fraud is at generation 4 (not killed), and this says 3 (killed, degrade)"},
		{"nothing at all", []State{killed}, nil, killed, "model default/fraud is at generation 3 (killed, degrade), and this says 0 (never killed)"},
		{"two stories of one generation, theirs killed", []State{revived}, []State{at(4, true, Default)}, at(4, true, Default), ""},
		{"two stories of one generation, ours killed", []State{at(4, true, Default)}, []State{revived}, at(4, true, Default), "model default/fraud is at generation 4 (killed, default), and this says 4 (not killed)"},
		{"two kills of one generation, theirs stricter", []State{at(4, true, Degrade)}, []State{at(4, true, Blackhole)}, at(4, true, Blackhole), ""},
		{"two kills of one generation, ours stricter", []State{at(4, true, Blackhole)}, []State{at(4, true, Degrade)}, at(4, true, Blackhole), "model default/fraud is at generation 4 (killed, blackhole), and this says 4 (killed, degrade)"},
	} {
		t.Run(x.name, func(t *testing.T) {
			got, err := Heed(NewSet(x.ours...), NewSet(x.theirs...))
			if now := got.Get(killed.Target); now.Generation != x.want.Generation || now.Killed != x.want.Killed || now.Mode != x.want.Mode {
				t.Errorf("in force is %+v, want %+v", now, x.want)
			}
			switch {
			case x.refused == "" && err != nil, x.refused != "" && (!errors.Is(err, ErrOlder) || !strings.Contains(err.Error(), x.refused)):
				t.Errorf("it says %v, want %q", err, x.refused)
			}
		})
	}
}

// TestHeedEachTarget: a set that is behind with one target still stops another.
func TestHeedEachTarget(t *testing.T) {
	other := State{Target: Everything, Generation: 1, Killed: true, Mode: Degrade}
	got, err := Heed(NewSet(at(5, true, Degrade)), NewSet(at(4, false, ""), other))
	if !errors.Is(err, ErrOlder) || !got.Get(Everything).Killed || !got.Get(ForModel("default/fraud")).Killed {
		t.Errorf("in force is %+v, with %v", got.All(), err)
	}
}

// TestHeedNeverGivesBack: whatever sets come in whatever order, no generation falls,
// and what is killed stays so until a higher generation gives it back.
func TestHeedNeverGivesBack(t *testing.T) {
	for seed := range uint64(200) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			targets := []Target{Everything, ForModel("a/b"), ForModel("a/c"), ForVersion("a/b", "v")}
			var now *Set
			for range 50 {
				var states []State
				for _, target := range targets {
					if r.IntN(4) == 0 {
						continue
					}
					s := State{Target: target, Generation: 1 + r.Uint64N(10), Killed: r.IntN(2) == 0}
					if s.Killed {
						s.Mode = Modes()[r.IntN(3)]
					}
					states = append(states, s)
				}
				next, _ := Heed(now, NewSet(states...))
				for _, target := range targets {
					before, after := now.Get(target), next.Get(target)
					if after.Generation < before.Generation || before.Killed && !after.Killed && after.Generation == before.Generation {
						t.Fatalf("%s went from %+v to %+v", target, before, after)
					}
				}
				for i := range states {
					if s := states[i]; s.Killed && s.Generation > now.Get(s.Target).Generation && !next.Get(s.Target).Killed {
						t.Fatalf("the kill %+v is not in force", s)
					}
				}
				now = next
			}
		})
	}
}
