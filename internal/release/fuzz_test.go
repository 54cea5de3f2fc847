package release

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

// FuzzState gives Advance and Apply states that nobody wrote: they never panic,
// refuse what is not valid, and of what is valid make what is valid. seed picks
// what the JSON is changed in, what was seen and what a person asks for.
func FuzzState(f *testing.F) {
	in := newWorld(&testing.T{}).in
	for i, s := range reached() {
		f.Add([]byte(text(s)), uint64(i))
	}
	f.Add([]byte(`{"format":1,"generation":1,"weights":{"v1":50,"v2":50},"released":true,"versions":{"v1":{"at":"2026-01-01T00:00:00Z"}}}`), uint64(0))
	f.Add([]byte(`{"format":1,"rollout":{"version":"","steps":[],"step":9}}`), uint64(0))
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) { tryState(t, data, in, seed) })
}

// TestChangedStates is the fuzz test's corpus: states that were reached, with
// some of their JSON changed.
func TestChangedStates(t *testing.T) {
	in := newWorld(t).in
	valid := 0
	for i, s := range reached() {
		for seed := range uint64(500) {
			if tryState(t, []byte(text(s)), in, seed*100+uint64(i)) {
				valid++
			}
		}
	}
	if valid < 1000 {
		t.Errorf("only %d of the states were valid", valid)
	}
}

// reached are states from every corner.
func reached() []State {
	w := newWorld(&testing.T{})
	out := []State{w.s}
	do := func(f func()) { f(); out = append(out, w.s) }
	do(func() { w.apply(Command{Do: Start, Version: "v2"}) })
	do(func() { w.apply(Command{Do: Pause}) })
	do(func() { w.apply(Command{Do: Resume}); w.apply(Command{Do: Promote, Full: true, Force: true}); w.ack() })
	do(func() { w.see("v2", 2000); w.pass(time.Hour) })
	do(func() { w.fail("v2"); w.advance() })
	do(func() { w.ack(); w.fail("v1"); w.pass(time.Second) })
	do(func() { w.pass(time.Hour) })
	do(func() {
		w.apply(Command{Do: Start, Version: "v2", Force: true})
		w.in.Evidence["v2"] = Evidence{Verdict: CommonCause}
	})
	do(func() { w.pass(time.Second) })
	do(func() { w.kill("") })
	do(func() { w.revive(""); w.kill("v1"); w.kill("v2") })
	w = guarded(&testing.T{})
	do(func() { w.alarm("v1", true); w.advance() })
	do(func() { w.obey(); w.in.Aftermath = Aftermath{ID: w.s.Stop.ID, Asked: 1}; w.pass(time.Hour) })
	do(func() { w.revive(""); w.alarm("v1", true); w.pass(time.Minute) })
	return out
}

// tryState says whether the state was valid.
func tryState(t *testing.T, data []byte, in Input, seed uint64) bool {
	t.Helper()
	var tree any
	if json.Unmarshal(data, &tree) != nil {
		return false
	}
	r := rand.New(rand.NewPCG(seed, 1))
	for range r.IntN(4) {
		tree = scramble(r, tree, tree)
	}
	data, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	var s State
	if json.Unmarshal(data, &s) != nil {
		return false
	}
	in, now := someInput(r, in), start.Add(time.Duration(r.IntN(7200))*time.Second)
	c := Command{Do: []Verb{Start, Pause, Resume, Promote, Abort, Rollback}[r.IntN(6)], By: "mia", Reason: "because", Force: r.IntN(2) == 0, Full: r.IntN(2) == 0}
	if c.Do == Start || c.Do == Rollback && r.IntN(2) == 0 {
		c.Version = "v2"
	}
	if s.Validate() != nil {
		if next, changed, _, err := Advance(s, in, now); err == nil || changed || !reflect.DeepEqual(next, s) {
			t.Error("advanced what is not valid")
		}
		if _, err := Apply(s, c, in, now); err == nil {
			t.Error("applied to what is not valid")
		}
		return false
	}
	s.Outbox = nil
	Explain(s, in, now)
	Drifts(s, in.Versions)
	in.Proof.Generation, in.Refused = s.Generation, nil
	if r.IntN(4) == 0 {
		in.Refused = &Refused{Generation: s.Generation}
	}
	next, _, _, err := Advance(s, in, now)
	checkSound(t, s, next, err, "advance")
	if next, err := Apply(s, c, in, now); err == nil {
		checkSound(t, s, next, nil, string(c.Do))
		last, _, _, err := Advance(next, in, now)
		checkSound(t, next, last, err, "advance")
	}
	return true
}

// checkSound holds a state against the one that it was made of: it is valid,
// JSON can hold it, and it came from there by its records. A time that is not
// UTC is a state that nobody wrote, and needs not to compare equal.
func checkSound(t *testing.T, old, next State, err error, by string) {
	t.Helper()
	wrong := ""
	if err != nil {
		wrong = err.Error()
	} else if err := next.Validate(); err != nil {
		wrong = err.Error()
	} else if back, err := Decode([]byte(text(next))); err != nil {
		wrong = err.Error()
	} else if text(back) != text(next) {
		wrong = "JSON changed the state"
	} else if next.Generation < old.Generation || next.Sequence < old.Sequence {
		wrong = "the generation shrank"
	}
	if wrong != "" {
		t.Fatalf("%s: %s\nbefore %s\nafter %s", by, wrong, text(old), text(next))
	}
}

func someInput(r *rand.Rand, in Input) Input {
	in.Plan.Checks = []string{"latency"}
	in.Checks = map[string]CheckResult{"latency": {Verdict: []Verdict{Success, Failure, Error}[r.IntN(3)], At: start.Add(time.Hour)}}
	in.Evidence = map[string]Evidence{}
	for v := range in.Versions {
		in.Evidence[v] = Evidence{Verdict: []Verdict{Success, Failure, Failure, Error, CommonCause, Inconclusive}[r.IntN(6)],
			Requests: uint64(r.IntN(5000)), Bad: 50, FirstBad: start.Add(time.Hour)}
	}
	if r.IntN(4) == 0 {
		in.Killed.Whole = &Kill{By: "eve", Reason: "because"}
	}
	if r.IntN(4) == 0 {
		in.Killed.Versions = map[string]Kill{[]string{"v1", "v2"}[r.IntN(2)]: {By: "eve", Reason: "because"}}
	}
	in.Plan.Kill = &KillPlan{}
	in.Alarms = map[string]Alarm{"v1": {Safety: true, Requests: 10, Bad: 5, Since: start.Add(time.Hour)}}
	in.Proof = Proof{Applied: r.IntN(2) == 0, BadSeen: start.Add(time.Duration(r.IntN(7200)) * time.Second)}
	return in
}

// scramble changes one value somewhere in a JSON tree: to another of its kind,
// to one from elsewhere in the tree, or to nothing.
func scramble(r *rand.Rand, node, root any) any {
	switch n := node.(type) {
	case map[string]any:
		if len(n) == 0 || r.IntN(12) == 0 {
			break
		}
		names := keys(n)
		name := names[r.IntN(len(names))]
		if r.IntN(15) == 0 {
			delete(n, name)
		} else {
			n[name] = scramble(r, n[name], root)
		}
		return n
	case []any:
		if len(n) == 0 || r.IntN(12) == 0 {
			break
		}
		i := r.IntN(len(n))
		n[i] = scramble(r, n[i], root)
		return n
	}
	if r.IntN(3) == 0 {
		return elsewhere(r, root)
	}
	for {
		v := []any{0.0, 1.0, 2.0, 50.0, 100.0, -1.0, 1e18, 0.5, true, false, "", "v1", "v2", "v9", "safestate", "rollback",
			"2026-03-01T03:00:00Z", "2026-03-01T04:30:00+01:00", "0001-01-01T00:00:00Z", "2261-12-31T00:00:00Z", "5m", "-1s"}[r.IntN(22)]
		if node == nil || slices.Contains([]reflect.Kind{reflect.Map, reflect.Slice}, reflect.TypeOf(node).Kind()) || reflect.TypeOf(v) == reflect.TypeOf(node) {
			return v
		}
	}
}

// elsewhere is a copy of a value in the tree.
func elsewhere(r *rand.Rand, node any) any {
	switch n := node.(type) {
	case map[string]any:
		if names := keys(n); len(n) > 0 && r.IntN(4) > 0 {
			return elsewhere(r, n[names[r.IntN(len(names))]])
		}
	case []any:
		if len(n) > 0 && r.IntN(4) > 0 {
			return elsewhere(r, n[r.IntN(len(n))])
		}
	}
	var out any
	if b, err := json.Marshal(node); err != nil || json.Unmarshal(b, &out) != nil {
		return nil
	}
	return out
}
