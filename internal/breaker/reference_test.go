package breaker

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/policy"
)

// reference is the breaker as one would write it down: it keeps every result
// and counts them again each time.
type reference struct {
	r          rules
	state      State
	since      time.Time
	generation uint64
	log        []entry // results of this state, ignored ones left out
	open       map[uint64]time.Time
	good, slow int
	ramp       bool
	owed       float64 // sum of shares on the ramp
	paid       int     // admitted on the ramp
}

type entry struct {
	at           time.Time
	failed, slow bool
}

func (x *reference) enter(s State, now time.Time) {
	*x = reference{r: x.r, state: s, since: now, generation: x.generation + 1, open: map[uint64]time.Time{}}
}

// allow says whether the request is admitted; on the ramp both may be right,
// and either is true.
func (x *reference) allow(now time.Time) (ok, either bool) {
	if x.state == Open && now.Sub(x.since) >= x.r.recovery {
		x.enter(HalfOpen, now)
	}
	switch x.state {
	case Open:
		return false, false
	case HalfOpen:
		if x.good+len(x.open) < x.r.halfOpenRequests {
			return true, false
		}
		for id, since := range x.open {
			if now.Sub(since) >= x.r.recovery {
				delete(x.open, id)
			}
		}
		return x.good+len(x.open) < x.r.halfOpenRequests, false
	}
	if !x.ramp {
		return true, false
	}
	s := float64(now.Sub(x.since)) / float64(x.r.ramp)
	if s >= 1 {
		x.ramp = false
		return true, false
	}
	x.owed += max(s, leastShare)
	return true, true
}

func (x *reference) done(g grant, o Outcome, slow bool, now time.Time) {
	if g.generation != x.generation {
		return
	}
	if x.state == HalfOpen {
		if _, held := x.open[g.slot]; !held {
			return
		}
		delete(x.open, g.slot)
		if o == Failure {
			x.enter(Open, now)
		}
		if o == Success {
			x.good++
			if slow {
				x.slow++
			}
			if x.good == x.r.halfOpenRequests {
				if x.r.slowPct > 0 && float64(x.slow)*100 >= x.r.slowPct*float64(x.good) {
					x.enter(Open, now)
					return
				}
				x.enter(Closed, now)
				x.ramp, x.owed = x.r.ramp > 0, 1
			}
		}
		return
	}
	if o == Ignored {
		return
	}
	x.log = append(x.log, entry{now, o == Failure, slow})
	if x.tripped(now) {
		x.enter(Open, now)
	}
}

func (x *reference) tripped(now time.Time) bool {
	run := 0
	for i := len(x.log) - 1; i >= 0 && x.log[i].failed; i-- {
		run++
	}
	if x.r.failures > 0 && run >= x.r.failures {
		return true
	}
	var n, failed, slow int
	for i, e := range x.log {
		if x.r.window.requests > 0 && i < len(x.log)-x.r.window.requests {
			continue
		}
		if w := x.r.window.time / timeBuckets; w > 0 && now.Sub(x.since)/w-e.at.Sub(x.since)/w >= timeBuckets {
			continue
		}
		n++
		if e.failed {
			failed++
		}
		if e.slow {
			slow++
		}
	}
	if n < x.r.minRequests {
		return false
	}
	return x.r.failurePct > 0 && float64(failed)*100 >= x.r.failurePct*float64(n) ||
		x.r.slowPct > 0 && float64(slow)*100 >= x.r.slowPct*float64(n)
}

func randomConfig(r *rand.Rand) policy.Breaker {
	pick := func(n int) int { return r.IntN(n) }
	c := policy.Breaker{
		Failures:         pick(5),
		Recovery:         dur(time.Duration(1+pick(50)) * time.Millisecond),
		HalfOpenRequests: 1 + pick(4),
		Ramp:             dur(time.Duration(pick(2)*pick(100)) * time.Millisecond),
		MinRequests:      1 + pick(8),
	}
	if pick(2) == 0 {
		c.FailurePercent = float64(10 * (1 + pick(10)))
	}
	if pick(2) == 0 {
		c.SlowCall, c.SlowCallPercent = dur(10*time.Millisecond), float64(10*(1+pick(10)))
	}
	switch pick(3) {
	case 0:
		c.WindowRequests = 1 + pick(20)
	case 1:
		c.Window = dur(time.Duration(10+pick(200)) * time.Millisecond)
	}
	return c
}

// TestAgainstReference drives machine and reference with the same random
// requests, finished in random order or never, and holds them to the same
// answers.
func TestAgainstReference(t *testing.T) {
	entered := map[State]int{}
	ramped := 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		cfg := randomConfig(r)
		m := newMachine(rulesOf(cfg), epoch)
		x := &reference{r: rulesOf(cfg), since: epoch, generation: 1, open: map[uint64]time.Time{}}
		now := epoch
		var out []grant
		badness := r.IntN(100)
		for step := range 600 {
			now = now.Add(time.Duration(r.IntN(4)*r.IntN(4)) * time.Millisecond)
			if r.IntN(40) == 0 {
				badness = r.IntN(100)
			}
			if r.IntN(2) == 0 {
				g, ok := m.allow(now)
				want, either := x.allow(now)
				if either {
					ramped++
					if ok {
						x.paid++
					}
					if d := x.owed - float64(x.paid); d < -1e-6 || d > 1+1e-6 {
						t.Fatalf("seed %d step %d: the ramp owes %.3f requests and admitted %d", seed, step, x.owed, x.paid)
					}
				} else if ok != want {
					t.Fatalf("seed %d step %d (%+v): allow is %v in %s, the reference says %v in %s", seed, step, cfg, ok, m.state, want, x.state)
				}
				if ok {
					if m.state == HalfOpen {
						x.open[g.slot] = now
					}
					if r.IntN(10) > 0 { // else it never finishes
						out = append(out, g)
					}
				}
			} else if len(out) > 0 {
				i := r.IntN(len(out))
				g := out[i]
				out = append(out[:i], out[i+1:]...)
				o := Success
				if r.IntN(100) < badness {
					o = Failure
				}
				if r.IntN(12) == 0 {
					o = Ignored
				}
				latency := time.Duration(r.IntN(20)) * time.Millisecond
				m.done(g, o, latency, now)
				x.done(g, o, x.r.slowPct > 0 && latency > x.r.slowCall, now)
			}
			if m.state != x.state || m.generation != x.generation {
				t.Fatalf("seed %d step %d (%+v): %s generation %d, the reference is %s generation %d", seed, step, cfg, m.state, m.generation, x.state, x.generation)
			}
			entered[m.state]++
		}
	}
	for _, s := range States {
		if entered[s] < 1000 {
			t.Errorf("only %d steps in state %s: the test looks at too little", entered[s], s)
		}
	}
	if ramped < 1000 {
		t.Errorf("only %d requests on a ramp", ramped)
	}
}
