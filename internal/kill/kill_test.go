package kill

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var fraud = ForModel("default/fraud")

func order(id string, mode Mode) Order {
	return Order{ID: id, At: noon, By: "on-call", Replica: "a", Reason: "wrong answers", Mode: mode}
}

func TestKillAndRevive(t *testing.T) {
	s := Kill(New(fraud), order("1", ""))
	if !s.Killed || s.Mode != Degrade || s.Generation != 1 || len(s.Outbox) != 1 {
		t.Fatalf("killed: %+v", s)
	}
	if again := Kill(s, order("1", Blackhole)); !reflect.DeepEqual(again, s) {
		t.Errorf("one order that came twice: %+v", again)
	}
	if by := (Order{ID: "3", At: noon, By: "safestate", Reason: "over", Automatic: true}); !reflect.DeepEqual(Kill(s, by), s) {
		t.Error("automation took over a person's kill")
	}
	stale := Request{At: noon, By: "lead", Reason: "mended", Generation: 1}
	s = Kill(s, order("2", Blackhole))
	if s.Mode != Blackhole || s.Generation != 2 {
		t.Errorf("killed anew: %+v", s)
	}
	if _, err := Revive(s, stale); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "generation 2 and not 1") {
		t.Errorf("a revive of what was killed anew since: %v", err)
	}
	r := stale
	r.Generation, r.Ramp = 2, time.Hour
	back, err := Revive(s, r)
	if err != nil || back.Killed || back.Generation != 3 || back.Ramp == nil {
		t.Errorf("revived: %+v, %v", back, err)
	}
	if _, err := Revive(back, Request{By: "x", Reason: "y", Generation: 3}); !errors.Is(err, ErrRefused) {
		t.Errorf("revived twice: %v", err)
	}
	if late := Kill(back, order("2", Blackhole)); late.Killed {
		t.Error("an order that was answered by a revive killed when it came again")
	}
}

func TestASecondPersonApproves(t *testing.T) {
	s := Kill(New(fraud), order("1", Degrade))
	ask := Request{At: noon, By: "anna", Reason: "mended", Generation: 1, Second: true, Ramp: time.Minute}
	if _, err := Approve(s, ask); !errors.Is(err, ErrRefused) {
		t.Errorf("nothing was asked for: %v", err)
	}
	asked, err := Revive(s, ask)
	if err != nil || !asked.Killed || asked.Generation != 1 || asked.Asked == nil {
		t.Fatalf("asked: %+v, %v", asked, err)
	}
	if _, err := Approve(asked, ask); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "second person") {
		t.Errorf("approved by who asked: %v", err)
	}
	again := Kill(asked, order("2", Degrade))
	if _, err := Approve(again, Request{By: "bert", Generation: 1}); !errors.Is(err, ErrRefused) {
		t.Errorf("approved after a new kill: %v", err)
	}
	bert := Request{At: noon, By: "bert", Generation: 1, Ask: asked.Asked.Number}
	other, err := Revive(asked, Request{At: noon, By: "anna", Reason: "mended", Generation: 1, Second: true}) // at once
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Approve(other, bert); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "number 3 and not 2") {
		t.Errorf("what was asked for anew was approved unseen: %v", err)
	}
	late := bert
	if late.At = noon.Add(AskedFor); asked.Asked.Open(late.At) {
		t.Error("it is open for over an hour")
	}
	if _, err := Approve(asked, late); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "ask again") {
		t.Errorf("approved after an hour: %v", err)
	}
	back, err := Approve(asked, bert)
	if err != nil || back.Killed || back.By != "anna" || back.Ramp == nil || back.Ramp.Over != time.Minute {
		t.Fatalf("approved: %+v, %v", back, err)
	}
	var kinds []Kind
	for _, r := range back.Outbox {
		kinds = append(kinds, r.Kind)
	}
	if want := []Kind{KindKill, KindAsked, KindApproved, KindRevive}; !reflect.DeepEqual(kinds, want) {
		t.Errorf("records %v, want %v", kinds, want)
	}
}

var later = Moment{noon.Add(time.Hour), "b"}

// TestEachRecordHasItsOwnProof has two persons who proved in different ways, and
// from different places, who they are.
func TestEachRecordHasItsOwnProof(t *testing.T) {
	s := Kill(New(fraud), order("1", Degrade))
	asked, err := Revive(s, Request{At: noon, By: "ann", How: "token", Address: "10.0.0.1", Reason: "fixed", Generation: 1, Second: true})
	if err != nil {
		t.Fatal(err)
	}
	back, err := Approve(asked, Request{At: noon, By: "bert", How: "certificate", Address: "10.0.0.2", Reason: "seen", Generation: 1, Ask: asked.Asked.Number})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range back.Outbox[1:] {
		how, address := "token", "10.0.0.1"
		if r.By == "bert" {
			how, address = "certificate", "10.0.0.2"
		}
		if r.How != how || r.Address != address {
			t.Errorf("%s by %s: proven by %s from %s, want %s from %s", r.Kind, r.By, r.How, r.Address, how, address)
		}
	}
}

// A kill that was taken where the others were not seen holds, though the others
// revived meanwhile.
func TestAKillWinsAReconciliation(t *testing.T) {
	common := Kill(New(fraud), order("1", Degrade))
	alone := Kill(common, order("2", Degrade))
	there, err := Revive(common, Request{At: noon, By: "lead", Reason: "mended", Generation: 1})
	if err != nil {
		t.Fatal(err)
	}
	there = Kill(there, order("3", Blackhole))
	there, _ = Revive(there, Request{At: noon, By: "lead", Reason: "mended", Generation: 3})
	for _, merged := range []State{Reconcile(alone, there, later), Reconcile(there, alone, later)} {
		if !merged.Killed || merged.Generation <= there.Generation || merged.Mode != Degrade || !slices.Contains(merged.Seen, "2") {
			t.Errorf("merged: %+v", merged)
		}
		if r := merged.Outbox[len(merged.Outbox)-1]; r.Kind != KindMerged || r.ID != "2" {
			t.Errorf("record %+v", r)
		}
		for _, again := range []State{alone, there, common} {
			if !reflect.DeepEqual(Reconcile(again, merged, later), merged) || !reflect.DeepEqual(Reconcile(merged, again, later), merged) {
				t.Errorf("what it was made of changes it: %+v", again)
			}
		}
		back, err := Revive(merged, Request{At: noon, By: "x", Reason: "y", Generation: merged.Generation})
		if err != nil || Reconcile(alone, back, later).Killed {
			t.Errorf("a revive that saw it: %+v, %v", back, err)
		}
	}
	// Two numbers that were given out twice.
	ours := Kill(common, order("7", Degrade))
	theirs, err := Revive(common, Request{At: noon, By: "x", Reason: "y", Generation: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []State{Reconcile(ours, theirs, later), Reconcile(theirs, ours, later)} {
		if !s.Killed || s.Generation != 3 {
			t.Errorf("two that have generation 2 make %+v", s)
		}
	}
	strict := Reconcile(Kill(New(fraud), order("4", Blackhole)), Kill(common, order("5", "")), later)
	if strict.Mode != Blackhole || strict.Generation != 3 {
		t.Errorf("of two kills: %+v", strict)
	}
}

// A kill that was taken alone holds also where it was reconciled with one of the
// store's already, and that one was revived by somebody who knew of it alone.
func TestAKillTakenAloneStandsBesideTheStores(t *testing.T) {
	common := Kill(New(fraud), order("1", Degrade))
	there := Kill(common, order("3", Degrade))
	here := Reconcile(Kill(common, order("2", Degrade)), there, later) // not in the store yet
	there, err := Revive(there, Request{At: noon, By: "lead", Reason: "mended", Generation: 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []State{Reconcile(here, there, later), Reconcile(there, here, later)} {
		if !s.Killed || s.Generation <= here.Generation || s.Generation <= there.Generation || len(s.Seen) != 3 {
			t.Errorf("merged: %+v", s)
		}
	}
}

// A store that was set back does not bring back what it says: neither the kill
// that was answered, nor the traffic of what is killed.
func TestAStoreThatIsSetBack(t *testing.T) {
	killed := Kill(New(fraud), order("1", Degrade))
	if s := Reconcile(killed, New(fraud), later); !reflect.DeepEqual(s, killed) {
		t.Errorf("an empty store: %+v", s)
	}
	revived, _ := Revive(killed, Request{At: noon, By: "x", Reason: "y", Generation: 1})
	if s := Reconcile(revived, killed, later); !reflect.DeepEqual(s, revived) {
		t.Errorf("an old kill: %+v", s)
	}
	again := Kill(revived, order("2", Degrade))
	if s := Reconcile(again, revived, later); !reflect.DeepEqual(s, again) {
		t.Errorf("an old revive: %+v", s)
	}
}

// Whatever is done in whatever order: generations grow, a state is valid, an
// order that was given is in force until a revive that saw it.
func TestAnyOrder(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		store := New(fraud)
		replicas := []State{store, store, store}
		open := map[string]bool{} // orders that no revive has seen
		for i := range 80 {
			who := random.IntN(3)
			before := store.Generation
			o := order(fmt.Sprint(seed, "/", i), Modes()[random.IntN(3)])
			switch random.IntN(5) {
			case 0:
				store = Kill(store, o)
				open[o.ID] = true
			case 1: // a replica alone
				replicas[who] = Kill(replicas[who], o)
				open[o.ID] = true
			case 2:
				store, _ = Revive(store, Request{At: noon, By: "x", Reason: "y", Generation: store.Generation, Second: random.IntN(2) == 0})
			case 3:
				r := Request{At: noon, By: "z", Generation: store.Generation}
				if store.Asked != nil {
					r.Ask = store.Asked.Number
				}
				store, _ = Approve(store, r)
			case 4:
				store = Reconcile(replicas[who], store, later)
				replicas[who] = store
			}
			if !store.Killed {
				for _, id := range store.Seen {
					delete(open, id)
				}
			}
			if store.Generation < before {
				t.Fatalf("seed %d: generation %d after %d", seed, store.Generation, before)
			}
			text, err := json.Marshal(store)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Decode(text); err != nil {
				t.Fatalf("seed %d: %v in %s", seed, err, text)
			}
		}
		for _, r := range replicas {
			store = Reconcile(r, store, later)
		}
		if len(open) > 0 && !store.Killed {
			t.Fatalf("seed %d: the kills %v are lost: %+v", seed, open, store)
		}
	}
}

func TestLive(t *testing.T) {
	l := NewLive(nil)
	set, changed := l.Load()
	if e := set.Of("r", "m", "v", noon); e.Killed || e.Percent != 100 {
		t.Errorf("of nothing: %+v", e)
	}
	l.Store(NewSet(Kill(New(Everything), order("1", Degrade))))
	<-changed
	if set, _ := l.Load(); !set.Of("", "", "", noon).Killed {
		t.Error("not in force")
	}
}

func TestTargets(t *testing.T) {
	for _, tt := range []struct {
		t                     Target
		route, model, version string
		covers                bool
	}{
		{Everything, "", "", "", true},
		{ForRoute("ns/r/rule-0"), "ns/r/rule-0", "", "", true},
		{ForRoute("ns/r/rule-0"), "ns/r/rule-01", "ns/m", "v1", false},
		{ForModel("ns/m"), "any", "ns/m", "v1", true},
		{ForModel("ns/m"), "any", "ns/m", "", true},
		{ForModel("ns/m"), "any", "ns/m1", "v1", false},
		{ForVersion("ns/m", "v1"), "any", "ns/m", "v1", true},
		{ForVersion("ns/m", "v1"), "any", "ns/m", "v11", false},
		{ForVersion("ns/m", "v1"), "any", "ns/m", "", false},
		{ForVersion("ns/m", "v1"), "any", "", "", false},
	} {
		if got := tt.t.Covers(tt.route, tt.model, tt.version); got != tt.covers {
			t.Errorf("%v covers %q %q %q: %v", tt.t, tt.route, tt.model, tt.version, got)
		}
		back, err := ParseKey(tt.t.Key())
		if err != nil || back != tt.t {
			t.Errorf("%q: %v, %v", tt.t.Key(), back, err)
		}
	}
	for _, bad := range []string{"", "model", "model/", "model/a", "model/a/b/c", "version/a/b", "all/x", "pod/a/b", "model/a/b\n", "model/../x", "route/a/b/ "} {
		if got, err := ParseKey(bad); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}

func TestEffects(t *testing.T) {
	killed := func(target Target, mode Mode) State { return Kill(New(target), order(target.Key(), mode)) }
	ramping, err := Revive(killed(ForModel("ns/slow"), Degrade), Request{At: noon, By: "x", Reason: "y", Generation: 1, Ramp: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	set := NewSet(killed(ForModel("ns/m"), Degrade), killed(ForVersion("ns/m", "v2"), Blackhole), killed(ForRoute("ns/r/0"), Default), ramping)
	for _, tt := range []struct {
		route, model, version string
		mode                  Mode
		percent               int
	}{
		{"ns/q/0", "ns/m", "v1", Degrade, 0},
		{"ns/q/0", "ns/m", "v2", Blackhole, 0},
		{"ns/r/0", "ns/m", "v1", Default, 0},
		{"ns/r/0", "ns/other", "v1", Default, 0},
		{"ns/q/0", "ns/other", "v1", "", 100},
		{"ns/q/0", "ns/slow", "v1", "", 10},
		{"ns/r/0", "ns/slow", "v1", Default, 0},
	} {
		e := set.Of(tt.route, tt.model, tt.version, noon.Add(25*time.Second))
		if e.Killed != (tt.mode != "") || e.Mode != tt.mode || e.Percent != tt.percent {
			t.Errorf("%s %s %s: %+v", tt.route, tt.model, tt.version, e)
		}
	}
	if e := set.Of("", "ns/slow", "", noon.Add(time.Minute)); e.Percent != 100 || !e.Next.IsZero() {
		t.Errorf("after the ramp: %+v", e)
	}
	if e := set.Of("", "ns/m", "v2", noon); !e.NotBefore.Equal(noon) {
		t.Errorf("kept answers: %+v", e)
	}
	text, err := json.Marshal(set.Enforced())
	if err != nil {
		t.Fatal(err)
	}
	var back Set
	if err := json.Unmarshal(text, &back); err != nil || back.Generation() != set.Generation() {
		t.Errorf("%v from %s", err, text)
	}
	if err := back.UnmarshalJSON([]byte(`[{"target":{"scope":"model","name":"a/b"},"killed":true,"generation":1,"mode":"gentle"}]`)); err == nil {
		t.Error("a mode that is none was read")
	}
}

func TestRampIsInSteps(t *testing.T) {
	r := &Ramp{noon, time.Hour}
	last, at := 0, noon.Add(-time.Minute)
	for {
		percent, next := r.Percent(at)
		if percent <= last {
			t.Fatalf("%d %% after %d %%", percent, last)
		}
		if next.IsZero() {
			if percent != 100 || !at.Equal(noon.Add(time.Hour)) {
				t.Fatalf("ends at %v with %d %%", at, percent)
			}
			return
		}
		last, at = percent, next
	}
}

func TestBadRequests(t *testing.T) {
	long := strings.Repeat("x", MaxReason+1)
	for name, err := range map[string]error{
		"no id":        Order{By: "x", Reason: "y"}.Validate(),
		"no person":    Order{ID: "1", Reason: "y"}.Validate(),
		"no reason":    Order{ID: "1", By: "x"}.Validate(),
		"long reason":  Order{ID: "1", By: "x", Reason: long}.Validate(),
		"bad text":     Order{ID: "1", By: "x", Reason: "\xff"}.Validate(),
		"mode":         Order{ID: "1", By: "x", Reason: "y", Mode: "soft"}.Validate(),
		"long ramp":    Request{By: "x", Reason: "y", Ramp: 25 * time.Hour}.Validate(),
		"ramp back":    Request{By: "x", Reason: "y", Ramp: -1}.Validate(),
		"revive alone": Request{By: "x"}.Validate(),
	} {
		if err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// A state that was used for years is still small, and remembers the newest kills.
func TestStatesAreBounded(t *testing.T) {
	s := New(fraud)
	for i := range 1000 {
		s = Kill(s, Order{ID: fmt.Sprint(i), At: noon, By: strings.Repeat("b", MaxName), Reason: strings.Repeat("r", MaxReason)})
	}
	text, err := json.Marshal(s)
	if err != nil || len(text) > 100<<10 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if again := Kill(s, order("999", Degrade)); again.Generation != s.Generation {
		t.Error("the newest order is forgotten")
	}
}
