package release

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

// world is one model with its input and a clock. Every change of its state is
// held against what is true of all states.
type world struct {
	t       *testing.T
	s       State
	in      Input
	now     time.Time
	history []Record
	wake    time.Time
}

// steps are those of the plan of most tests.
var steps = []Step{
	{Weight: 1, Duration: Duration(time.Minute), MinRequests: 100},
	{Weight: 10, Duration: Duration(2 * time.Minute), MinRequests: 300},
	{Weight: 50, Duration: Duration(5 * time.Minute), MinRequests: 1000},
	{Weight: 100},
}

// newWorld is a model whose files give v1 all the traffic, and know v2. Some
// answers of v1 were judged.
func newWorld(t *testing.T) *world {
	w := &world{t: t, s: New("shop/fraud"), now: start, in: Input{
		Plan: Plan{Steps: steps},
		Versions: map[string]VersionInfo{
			"v1": {URI: "s3://m/1", Digest: "sha256:1", FileWeight: 1},
			"v2": {URI: "s3://m/2", Digest: "sha256:2"},
		},
		Evidence: map[string]Evidence{"v1": {Verdict: Inconclusive, Requests: 10}},
		Checks:   map[string]CheckResult{},
	}}
	w.advance()
	return w
}

func yes() *bool { v := true; return &v }
func no() *bool  { v := false; return &v }

func number(n int) *int { return &n }

func lasting(d time.Duration) *Duration { v := Duration(d); return &v }

// version puts a version into the files.
func (w *world) version(name string, change func(*VersionInfo)) {
	info := w.in.Versions[name]
	if change != nil {
		change(&info)
	}
	w.in.Versions[name] = info
}

// pass lets time pass, and advances.
func (w *world) pass(d time.Duration) { w.t.Helper(); w.now = w.now.Add(d); w.advance() }

func (w *world) advance() {
	w.t.Helper()
	next, changed, wake, err := Advance(w.s, w.in, w.now)
	if err != nil {
		w.t.Fatalf("%v\n%s", err, text(w.s))
	}
	if changed == reflect.DeepEqual(next, w.s) {
		w.t.Fatalf("changed is %v", changed)
	}
	if changed {
		w.take(next)
	}
	again, changed, later, err := Advance(w.s, w.in, w.now)
	if err != nil || changed || !reflect.DeepEqual(again, w.s) || !later.Equal(wake) {
		w.t.Fatalf("a second Advance with equal input did something:\n%s\n%s", text(w.s), text(again))
	}
	if !wake.IsZero() && !wake.After(w.now) {
		w.t.Fatalf("wake is %s, now is %s", wake, w.now)
	}
	w.wake = wake
}

// apply is a command of mia's that has to work.
func (w *world) apply(c Command) {
	w.t.Helper()
	if err := w.try(c); err != nil {
		w.t.Fatalf("%s: %v", c.Do, err)
	}
}

func (w *world) try(c Command) error {
	w.t.Helper()
	if c.By == "" {
		c.By = "mia"
	}
	if c.Reason == "" {
		c.Reason = "because"
	}
	next, err := Apply(w.s, c, w.in, w.now)
	if err != nil {
		if !reflect.DeepEqual(next, w.s) {
			w.t.Fatalf("%s was refused and changed the state", c.Do)
		}
		return err
	}
	w.take(next)
	return nil
}

// take makes a state the present one, once all that is true of states and of
// their changes is true of it.
func (w *world) take(next State) {
	w.t.Helper()
	if err := checkChange(w.s, next); err != "" {
		w.t.Fatalf("%s\nbefore %s\nafter %s", err, text(w.s), text(next))
	}
	if n := len(next.Outbox); n > 0 {
		w.history = append(w.history, next.Outbox...)
		next, _ = Ack(next, next.Outbox[n-1].Sequence)
	}
	w.s = next
}

// checkChange says what is wrong with a change of state.
func checkChange(old, next State) string {
	if err := next.Validate(); err != nil {
		return err.Error()
	}
	var back State
	if err := json.Unmarshal([]byte(text(next)), &back); err != nil || !reflect.DeepEqual(back, next) {
		return "JSON changed the state: " + text(back)
	}
	weights, generation, sequence := old.Weights, old.Generation, old.Sequence
	for _, r := range next.Outbox {
		if r.Sequence <= old.Sequence {
			continue
		}
		if sequence++; r.Sequence != sequence {
			return "records are not numbered one by one"
		}
		if r.Before == nil && r.After == nil {
			if r.Generation != generation {
				return "a generation without a change of weights: " + string(r.Kind)
			}
			continue
		}
		if generation++; r.Generation != generation || !sameWeights(r.Before, weights) || sameWeights(r.Before, r.After) {
			return "weights and generation do not follow the records: " + string(r.Kind)
		}
		weights = r.After
	}
	if next.Generation != generation || !sameWeights(next.Weights, weights) || next.Sequence != sequence {
		return "weights changed without a record"
	}
	return ""
}

func text(s State) string {
	b, err := json.Marshal(s)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// weights asserts what gets traffic.
func (w *world) weights(want map[string]int) {
	w.t.Helper()
	if !sameWeights(w.s.Weights, want) {
		w.t.Fatalf("weights are %v, not %v; history: %s", w.s.Weights, want, w.kinds())
	}
}

// last asserts the kind of the last record, and returns it.
func (w *world) last(kind Kind) Record {
	w.t.Helper()
	if n := len(w.history); n == 0 || w.history[n-1].Kind != kind {
		w.t.Fatalf("the last record is not %s: %s", kind, w.kinds())
	}
	return w.history[len(w.history)-1]
}

// find returns the records of a kind.
func (w *world) find(kind Kind) []Record {
	return slices.DeleteFunc(slices.Clone(w.history), func(r Record) bool { return r.Kind != kind })
}

func (w *world) one(kind Kind) Record {
	w.t.Helper()
	found := w.find(kind)
	if len(found) != 1 {
		w.t.Fatalf("%d records of %s: %s", len(found), kind, w.kinds())
	}
	return found[0]
}

func (w *world) kinds() string {
	var out []string
	for _, r := range w.history {
		out = append(out, string(r.Kind))
	}
	return strings.Join(out, " ")
}

// see adds clean answers to what was judged of a version.
func (w *world) see(version string, requests uint64) {
	e := w.in.Evidence[version]
	e.Requests += requests
	if e.Verdict == "" {
		e.Verdict = Inconclusive
	}
	w.in.Evidence[version] = e
}

// fail makes a version fail from now on.
func (w *world) fail(version string) {
	e := w.in.Evidence[version]
	e.Requests, e.Bad = e.Requests+10, e.Bad+10
	e.Verdict, e.Why, e.FirstBad, e.LogE = Failure, "10 of 10 answers were NaN", w.now, 20
	w.in.Evidence[version] = e
}

// fresh starts the evidence of all versions anew.
func (w *world) fresh() { clear(w.in.Evidence) }

// ack lets all proxies have the present weights.
func (w *world) ack() {
	w.t.Helper()
	w.in.Proof = Proof{Generation: w.s.Generation, Pushed: w.now, Applied: true, AppliedAt: w.now, Expected: 2, Acked: 2}
	w.advance()
}

// promoteFully rolls a version out through the default plan.
func (w *world) promoteFully(version string) {
	w.t.Helper()
	w.apply(Command{Do: Start, Version: version})
	for range 3 {
		w.see(version, 1000)
		w.pass(5 * time.Minute)
	}
	if !w.s.promoted() || w.s.Candidate != version {
		w.t.Fatalf("%s is not promoted: %s", version, text(w.s))
	}
}

func refused(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("was not refused")
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%q does not say %q", err, p)
		}
	}
}

func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
