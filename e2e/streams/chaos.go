package streams

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
)

// Event is one thing that is done to a part while streams are open.
type Event struct {
	Name string
	// Serve are flags of safestate that it needs.
	Serve []string
	// Do does it and proves that it is done; Undo brings the part back, While
	// after Do.
	Do, Undo func(testing.TB, *Stand)
	While    time.Duration
	// Committed, Held and New are how streams may end: those whose first content
	// had gone out, those that were still held, and those that were opened while
	// it lasted. Each is an Outcome's String.
	Committed, Held, New []string
	// Proof is an ending that committed streams have, every one of them unless
	// others are allowed.
	Proof string
	// Within bounds the end of every stream, from Do on.
	Within time.Duration
}

// slack is for a machine that has other things to do.
const slack = 6 * time.Second

// natural is when a stream of the model's ends by itself, after it was opened.
const natural = modelTokens * modelPace

// found is how soon Envoy must have found a processor that is stopped: it asks
// every second and waits for three.
const found = 4 * time.Second

// Endings that events allow.
const (
	complete  = string(Complete)
	fallback  = string(Fallback)
	broken    = string(Broken)
	lost      = string(Refused) + " safestate_processor_away"
	resetByIt = string(Refused) + " safestate_broken_reset"
	draining  = string(ErrorEvent) + " safestate_draining"
	stalled   = string(ErrorEvent) + " safestate_stream_stalled"
)

func kill(part func(*Stand) *dataplane.Process) func(testing.TB, *Stand) {
	return func(t testing.TB, s *Stand) {
		t.Helper()
		p := part(s)
		p.Kill()
		if !p.Exited() {
			t.Errorf("%s is not gone", p.Name)
		}
	}
}

func stop(part func(*Stand) *dataplane.Process) func(testing.TB, *Stand) {
	return func(t testing.TB, s *Stand) {
		t.Helper()
		p := part(s)
		signal(t, p, syscall.SIGSTOP)
		dataplane.Eventually(t, 5*time.Second, p.Name+" is in state T", func() bool {
			state, err := p.State()
			return err == nil && state == "T"
		})
	}
}

func resume(part func(*Stand) *dataplane.Process) func(testing.TB, *Stand) {
	return func(t testing.TB, s *Stand) {
		t.Helper()
		p := part(s)
		if state, err := p.State(); err != nil || state != "T" {
			t.Errorf("%s was not stopped all the while: state %q, %v", p.Name, state, err)
		}
		signal(t, p, syscall.SIGCONT)
	}
}

// terminate asks the part to end; that it has is proven by whoever starts it
// again.
func terminate(part func(*Stand) *dataplane.Process) func(testing.TB, *Stand) {
	return func(t testing.TB, s *Stand) {
		t.Helper()
		signal(t, part(s), syscall.SIGTERM)
	}
}

func signal(t testing.TB, p *dataplane.Process, sig syscall.Signal) {
	t.Helper()
	if err := p.Signal(sig); err != nil {
		t.Errorf("%s: %v", p.Name, err)
	}
}

func theSafestate(s *Stand) *dataplane.Process { return s.Plane.Safestate }
func theModel(s *Stand) *dataplane.Process     { return s.Model }

func safestateAgain(t testing.TB, s *Stand) {
	t.Helper()
	gone(t, s.Plane.Safestate, maxDuration+slack)
	s.Plane.StartSafestate()
}

// drainedAgain is safestateAgain for one that was to end by itself, and well.
func drainedAgain(t testing.TB, s *Stand) {
	t.Helper()
	if err := s.Plane.Safestate.WaitExit(maxDuration + slack); err != nil {
		t.Errorf("safestate, told to end: %v", err)
	}
	s.Plane.StartSafestate()
}

func modelAgain(t testing.TB, s *Stand) {
	t.Helper()
	gone(t, s.Model, slack)
	s.StartModel()
}

// gone waits for a process that was told to end, or killed.
func gone(t testing.TB, p *dataplane.Process, within time.Duration) {
	t.Helper()
	_ = p.WaitExit(within) // how it ended is not the question
	if !p.Exited() {
		t.Errorf("%s still runs %s after it was told to end", p.Name, within)
	}
}

// Events are what Chaos can do.
func Events() []Event {
	return []Event{
		{
			Name: "safestate SIGKILL", Do: kill(theSafestate), Undo: safestateAgain, While: time.Second,
			Committed: []string{broken}, Held: []string{lost}, New: []string{lost}, Proof: broken, Within: slack,
		},
		{
			Name: "safestate SIGSTOP", Do: stop(theSafestate), Undo: resume(theSafestate), While: found + slack,
			Committed: []string{broken}, Held: []string{lost}, New: []string{lost}, Proof: broken, Within: found + slack,
		},
		{
			Name: "safestate SIGSTOP for a second", Do: stop(theSafestate), Undo: resume(theSafestate), While: time.Second,
			Committed: []string{complete}, Held: []string{fallback}, New: []string{lost}, Proof: complete, Within: natural + slack,
		},
		{
			Name: "safestate SIGTERM", Do: terminate(theSafestate), Undo: drainedAgain, While: time.Second,
			Committed: []string{complete}, Held: []string{fallback}, New: []string{lost, complete}, Proof: complete, Within: natural + slack,
		},
		{
			Name: "safestate SIGTERM, --drain 2s", Serve: []string{"--drain", "2s"},
			Do: terminate(theSafestate), Undo: drainedAgain, While: time.Second,
			Committed: []string{draining}, Held: []string{fallback}, New: []string{lost, draining}, Proof: draining, Within: 2*time.Second + slack,
		},
		{
			Name: "model SIGKILL", Do: kill(theModel), Undo: modelAgain, While: time.Second,
			Committed: []string{broken}, Held: []string{resetByIt}, New: []string{fallback}, Proof: broken, Within: slack,
		},
		{
			Name: "model SIGSTOP", Do: stop(theModel), Undo: resume(theModel), While: betweenTokens + slack,
			Committed: []string{stalled}, Held: []string{fallback}, New: []string{fallback}, Proof: stalled, Within: betweenTokens + slack,
		},
		{
			Name: "model SIGSTOP for a second", Do: stop(theModel), Undo: resume(theModel), While: time.Second,
			Committed: []string{complete}, Held: []string{fallback}, New: []string{complete}, Proof: complete, Within: natural + slack,
		},
		{
			Name: "model SIGTERM", Do: terminate(theModel), Undo: modelAgain, While: time.Second,
			Committed: []string{broken}, Held: []string{resetByIt}, New: []string{fallback}, Proof: broken, Within: slack,
		},
	}
}

// Witness is a further caller: it asks for a stream at an address and path
// before the event, committed or held as the others, and says how that ended,
// as an Outcome's String does.
type Witness func(fault string) string

// Chaos does an event to a stand under streams open at once: seven in ten of
// them committed, the others held before their first content, half of either by
// HTTP/1.1; and opens some more while it lasts. Every one must end as the event
// allows, and in time.
func Chaos(t *testing.T, s *Stand, event Event, streams int, witness Witness) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	callers := []*Caller{NewCaller(s.Plane.Traffic, modelTokens, true), NewCaller(s.Plane.Traffic, modelTokens, false)}
	for _, c := range callers {
		defer c.Close()
	}
	dataplane.Eventually(t, 30*time.Second, "the primary answers", func() bool {
		return callers[1].Ask(ctx, Question{Route: standRoute}).Manner == Complete
	})
	dataplane.Eventually(t, natural+slack, "no stream is left of before", func() bool { return s.Open() == 0 })
	run := &run{t: t, stand: s, event: &event, ctx: ctx, callers: callers}
	run.open(streams, witness)

	begun := time.Now()
	event.Do(t, s)
	run.later = run.ask(max(streams/5, 4), Question{Route: standRoute, Stream: true})
	<-time.After(event.While - time.Since(begun))
	undone := make(chan struct{})
	go func() { // a drain takes as long as the streams
		defer close(undone)
		event.Undo(t, s)
	}()
	run.judge(begun)
	<-undone
	if t.Failed() {
		t.Logf("---- safestate said\n%s", lastLines(s.Plane.Safestate.Log(), 40))
	}
}

func lastLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// run is one event's run.
type run struct {
	t         *testing.T
	stand     *Stand
	event     *Event
	ctx       context.Context //nolint:containedctx // of the test
	callers   []*Caller
	committed []*Call
	held      []*Call
	later     []*Call
	witnesses map[string]chan string
}

// ask opens calls, taking turns among the callers.
func (r *run) ask(n int, q Question) []*Call {
	out := make([]*Call, n)
	for i := range out {
		out[i] = r.callers[i%len(r.callers)].Open(r.ctx, q)
	}
	return out
}

// open opens streams, and waits until their model sends all of them and those
// that are to be committed are.
func (r *run) open(n int, witness Witness) {
	t := r.t
	t.Helper()
	r.witnesses = map[string]chan string{}
	extra := 0
	if witness != nil {
		for who, fault := range map[string]string{"committed": "", "held": heldFault} {
			extra++
			told := make(chan string, 1)
			r.witnesses[who] = told
			go func() { told <- witness(fault) }()
		}
	}
	r.committed = r.ask(n*7/10, Question{Route: standRoute, Stream: true})
	dataplane.Eventually(t, natural/2, "the streams have begun", func() bool {
		return !slices.ContainsFunc(r.committed, func(c *Call) bool { return c.Said() == 0 })
	})
	r.held = r.ask(n-len(r.committed), Question{Route: standRoute, Stream: true, Fault: heldFault})
	dataplane.Eventually(t, firstToken/2, fmt.Sprintf("the model sends %d streams", n+extra), func() bool { return r.stand.Open() == n+extra })
	dataplane.Eventually(t, firstToken/2, "safestate has them all", func() bool {
		return r.stand.Plane.Metric("safestate_extproc_streams") >= float64(n+extra)
	})
	// The witness has not said how far it is: two more tokens of everybody's.
	far := r.committed[0].Said() + 2
	dataplane.Eventually(t, firstToken/2, "the streams go on", func() bool {
		return !slices.ContainsFunc(r.committed, func(c *Call) bool { return c.Said() < far })
	})
	for _, c := range append(slices.Clone(r.committed), r.held...) {
		if c.Ended() {
			t.Fatalf("a stream ended before anything happened: %s", c.out.Detail())
		}
	}
}

// heldFault is a model that sends its headers and then nothing for a long time.
const heldFault = "S07-first-token-late"

// judge waits for every stream's end and holds it to what the event allows.
func (r *run) judge(begun time.Time) {
	t, e := r.t, r.event
	t.Helper()
	var slowest time.Duration
	figures := ""
	for _, group := range []struct {
		name    string
		calls   []*Call
		allowed []string
	}{{"committed", r.committed, e.Committed}, {"held", r.held, e.Held}, {"new", r.later, e.New}} {
		within := e.Within
		if group.name == "new" { // they begin later, and may have their whole time
			within = natural + e.While + slack
		}
		ended := map[string]int{}
		for i, c := range group.calls {
			o, ok := c.Outcome(begun.Add(within))
			if !ok {
				ended["hung"]++
				t.Errorf("%s stream %d hangs: no end %s after the event, %d pieces came", group.name, i, within, c.Said())
				c.Cancel()
				continue
			}
			ended[o.String()]++
			if o.Wrong != "" || !slices.Contains(group.allowed, o.String()) {
				t.Errorf("%s stream %d: want one of %q, %s", group.name, i, group.allowed, o.Detail())
			}
			if group.name != "new" {
				slowest = max(slowest, o.ended.Sub(begun))
			}
		}
		if group.name == "committed" && ended[e.Proof] == 0 {
			t.Errorf("no committed stream ended by %q: the event had no effect", e.Proof)
		}
		figures += fmt.Sprintf(" %s=%s", group.name, told(ended))
		if w := r.witnesses[group.name]; w != nil {
			how := <-w
			figures += fmt.Sprintf(" openai_%s=%q", group.name, how)
			if !slices.Contains(group.allowed, how) {
				t.Errorf("the openai library, %s: %q, want one of %q", group.name, how, group.allowed)
			}
		}
	}
	fmt.Printf("figure streams chaos=%q streams=%d%s last_end_after_event=%s bound=%s\n", e.Name,
		len(r.committed)+len(r.held), figures, slowest.Round(10*time.Millisecond), e.Within)
}

// told writes counts in a fixed order.
func told(counts map[string]int) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, fmt.Sprintf("%q:%d", k, counts[k]))
	}
	return "{" + strings.Join(out, " ") + "}"
}
