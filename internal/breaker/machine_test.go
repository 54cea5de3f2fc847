package breaker

import (
	"testing"
	"time"

	"github.com/safestate/safestate/internal/policy"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }

func dur(d time.Duration) policy.Duration { return policy.Duration(d) }

// results feeds a machine one result a millisecond, from start on. Each rune
// is one request: s success, S slow success, f failure, F slow failure,
// i ignored.
func results(t *testing.T, m *machine, start int, runes string) int {
	t.Helper()
	for _, r := range runes {
		g, ok := m.allow(at(start))
		if !ok {
			t.Fatalf("request %q at %d ms was refused in state %s", r, start, m.state)
		}
		latency := time.Millisecond
		if r == 'S' || r == 'F' {
			latency = time.Second
		}
		outcome := map[rune]Outcome{'s': Success, 'S': Success, 'f': Failure, 'F': Failure, 'i': Ignored}[r]
		m.done(g, outcome, latency, at(start))
		start++
	}
	return start
}

func TestClosedTrips(t *testing.T) {
	slow := dur(100 * time.Millisecond)
	cases := []struct {
		name string
		cfg  policy.Breaker
		in   string
		want Cause // "" stays closed
	}{
		{"five in a row by default", policy.Breaker{}, "fffff", CauseConsecutive},
		{"four are not enough", policy.Breaker{}, "ffff", ""},
		{"a success starts again", policy.Breaker{}, "ffffsffff", ""},
		{"an ignored one does not", policy.Breaker{}, "ffiiff" + "f", CauseConsecutive},
		{"a rate alone has no consecutive rule", policy.Breaker{FailurePercent: 100, MinRequests: 20}, "ffffffffff", ""},
		{"rate under the minimum", policy.Breaker{FailurePercent: 50, MinRequests: 6}, "fffff", ""},
		{"rate at the minimum", policy.Breaker{FailurePercent: 50, MinRequests: 6}, "fssfsf", CauseFailureRate},
		{"a success can complete the minimum", policy.Breaker{FailurePercent: 50, MinRequests: 6}, "fsfsfs", CauseFailureRate},
		{"rate just under", policy.Breaker{FailurePercent: 50, MinRequests: 5}, "fsfss", ""},
		{"ignored ones are no requests", policy.Breaker{FailurePercent: 50, MinRequests: 4}, "fiiif", ""},
		{"old results leave a count window", policy.Breaker{FailurePercent: 60, MinRequests: 4, WindowRequests: 4}, "ffssssff", ""},
		{"new ones fill it", policy.Breaker{FailurePercent: 50, MinRequests: 4, WindowRequests: 4}, "ssssssff", CauseFailureRate},
		{"the minimum is at most the window", policy.Breaker{FailurePercent: 100, MinRequests: 50, WindowRequests: 3}, "sfff", CauseFailureRate},
		{"slow successes", policy.Breaker{SlowCall: slow, SlowCallPercent: 50, MinRequests: 4}, "sSsS", CauseSlowRate},
		{"slow failures are slow too", policy.Breaker{SlowCall: slow, SlowCallPercent: 75, MinRequests: 4}, "FSsF", CauseSlowRate},
		{"slow just under", policy.Breaker{SlowCall: slow, SlowCallPercent: 51, MinRequests: 4}, "sSsS", ""},
		{"a slow percentage without a time is no rule", policy.Breaker{Failures: 50, SlowCallPercent: 1, MinRequests: 1}, "SSSS", ""},
		{"both rules: in a row first", policy.Breaker{Failures: 2, FailurePercent: 90, MinRequests: 2}, "sff", CauseConsecutive},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(rulesOf(c.cfg), epoch)
			results(t, &m, 0, c.in)
			if (m.state == Open) != (c.want != "") {
				t.Fatalf("after %q the state is %s (%s), want cause %q", c.in, m.state, m.cause, c.want)
			}
			if c.want != "" && m.cause != c.want {
				t.Errorf("opened by %s, want %s", m.cause, c.want)
			}
		})
	}
}

func TestTimeWindow(t *testing.T) {
	cfg := policy.Breaker{FailurePercent: 50, MinRequests: 4, Window: dur(time.Second)}
	cases := []struct {
		name string
		at   []int // ms of four failures
		open bool
	}{
		{"together", []int{0, 1, 2, 3}, true},
		{"over nine tenths of the window", []int{0, 300, 600, 899}, true},
		{"the first has left", []int{0, 300, 600, 1000}, false},
		{"a long silence forgets all", []int{0, 1, 2, 600_000}, false},
		{"a clock that goes back", []int{500, 400, 300, 200}, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(rulesOf(cfg), epoch)
			for _, ms := range c.at {
				g, _ := m.allow(at(ms))
				m.done(g, Failure, 0, at(ms))
			}
			if open := m.state == Open; open != c.open {
				t.Errorf("open is %v with %+v", open, m.window.total)
			}
		})
	}
}

// opened returns a machine that opened at 0 ms.
func opened(t *testing.T, cfg policy.Breaker) *machine {
	t.Helper()
	cfg.Failures = 1
	cfg.Recovery = dur(100 * time.Millisecond)
	m := newMachine(rulesOf(cfg), epoch)
	results(t, &m, 0, "f")
	if m.state != Open {
		t.Fatal("one failure did not open it")
	}
	return &m
}

func TestRecovery(t *testing.T) {
	m := opened(t, policy.Breaker{})
	if _, ok := m.allow(at(99)); ok {
		t.Error("asked before the recovery time")
	}
	results(t, m, 100, "ss")
	if m.state != HalfOpen {
		t.Fatalf("state %s after two of three, want half_open", m.state)
	}
	results(t, m, 110, "s")
	if m.state != Closed || m.cause != CauseHalfOpenSucceed {
		t.Fatalf("state %s (%s) after three, want closed", m.state, m.cause)
	}
}

func TestHalfOpenOutcomes(t *testing.T) {
	slow := policy.Breaker{SlowCall: dur(100 * time.Millisecond), SlowCallPercent: 60, MinRequests: 100}
	cases := []struct {
		name  string
		cfg   policy.Breaker
		in    string
		state State
		cause Cause
	}{
		{"one failure opens again", policy.Breaker{}, "ssf", Open, CauseHalfOpenFailed},
		{"ignored ones give the slot back", policy.Breaker{}, "isisis", Closed, CauseHalfOpenSucceed},
		{"slow ones open again", slow, "SsS", Open, CauseHalfOpenSlow},
		{"few slow ones do not", slow, "Sss", Closed, CauseHalfOpenSucceed},
		{"its own number", policy.Breaker{HalfOpenRequests: 1}, "s", Closed, CauseHalfOpenSucceed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := opened(t, c.cfg)
			results(t, m, 100, c.in)
			if m.state != c.state || m.cause != c.cause {
				t.Errorf("got %s (%s), want %s (%s)", m.state, m.cause, c.state, c.cause)
			}
		})
	}
}

func TestHalfOpenSlots(t *testing.T) {
	m := opened(t, policy.Breaker{})
	var held []grant
	for range 3 {
		g, ok := m.allow(at(100))
		if !ok {
			t.Fatal("fewer than three half-open requests")
		}
		held = append(held, g)
	}
	if _, ok := m.allow(at(100)); ok {
		t.Fatal("a fourth half-open request")
	}
	if _, ok := m.allow(at(199)); ok {
		t.Fatal("slots given up before the recovery time")
	}
	// Nobody finished: the slots come back, and the lost permits are worth nothing.
	fresh, ok := m.allow(at(200))
	if !ok {
		t.Fatal("slots leaked")
	}
	for _, g := range held {
		m.done(g, Failure, 0, at(201))
	}
	if m.state != HalfOpen {
		t.Fatal("a permit that had lost its slot counted")
	}
	m.done(fresh, Success, 0, at(202))
	m.done(fresh, Success, 0, at(202))
	if m.succeeded != 1 {
		t.Fatalf("%d successes of a permit finished twice", m.succeeded)
	}
}

func TestLateResults(t *testing.T) {
	m := newMachine(rulesOf(policy.Breaker{Failures: 2, Recovery: dur(100 * time.Millisecond), HalfOpenRequests: 1}), epoch)
	early, _ := m.allow(at(0))
	lateFailure, _ := m.allow(at(0))
	results(t, &m, 1, "ff")
	probe, _ := m.allow(at(102))
	m.done(early, Success, 0, at(102)) // would close it
	m.done(lateFailure, Failure, 0, at(102))
	if m.state != HalfOpen {
		t.Fatalf("results of the first closed state moved half-open to %s", m.state)
	}
	m.done(probe, Success, 0, at(103))
	m.done(lateFailure, Failure, 0, at(104))
	if m.state != Closed || m.consecutive != 0 {
		t.Fatalf("state %s with %d failures, want closed with none", m.state, m.consecutive)
	}
}

func TestRamp(t *testing.T) {
	m := opened(t, policy.Breaker{Ramp: dur(time.Second), HalfOpenRequests: 1})
	results(t, m, 100, "s")
	if g, ok := m.allow(at(100)); !ok {
		t.Error("the first request after half-open was refused")
	} else {
		m.done(g, Success, 0, at(100))
	}
	// A thousand requests in each tenth of the ramp.
	for tenth := range 10 {
		var admitted int
		mid := 100 + tenth*100 + 50
		for range 1000 {
			if _, ok := m.allow(at(mid)); ok {
				admitted++
			}
		}
		want := max(100, tenth*100+50)
		if admitted < want-1 || admitted > want+1 {
			t.Errorf("at %d ms %d of 1000 admitted, want %d", mid, admitted, want)
		}
	}
	for range 100 {
		if _, ok := m.allow(at(1100)); !ok {
			t.Fatal("refused after the ramp")
		}
	}
	if m.ramping {
		t.Error("still ramping")
	}
}

func TestRampOpensAgain(t *testing.T) {
	m := opened(t, policy.Breaker{Ramp: dur(time.Second), HalfOpenRequests: 1})
	results(t, m, 100, "sf")
	if m.state != Open {
		t.Errorf("state %s after a failure on the ramp, want open", m.state)
	}
}

func TestReconfigure(t *testing.T) {
	rate := policy.Breaker{FailurePercent: 50, MinRequests: 4, WindowRequests: 10}
	t.Run("a threshold keeps counts", func(t *testing.T) {
		m := newMachine(rulesOf(rate), epoch)
		results(t, &m, 0, "fss")
		next := rate
		next.FailurePercent = 25
		m.reconfigure(rulesOf(next), at(5))
		results(t, &m, 6, "s")
		if m.state != Open {
			t.Errorf("state %s, want open at 1 of 4 with 25 %%", m.state)
		}
	})
	t.Run("another window starts anew", func(t *testing.T) {
		m := newMachine(rulesOf(rate), epoch)
		results(t, &m, 0, "fff")
		next := rate
		next.WindowRequests = 20
		m.reconfigure(rulesOf(next), at(5))
		if c := m.window.counts(at(5)); c != (Counts{}) {
			t.Errorf("kept %+v", c)
		}
	})
	t.Run("open stays open", func(t *testing.T) {
		m := opened(t, policy.Breaker{})
		m.reconfigure(rulesOf(policy.Breaker{Failures: 100, Recovery: dur(time.Hour)}), at(5))
		if _, ok := m.allow(at(200)); ok {
			t.Error("a new recovery time did not hold")
		}
	})
	t.Run("fewer half-open requests", func(t *testing.T) {
		m := opened(t, policy.Breaker{})
		results(t, m, 100, "ss")
		m.reconfigure(rulesOf(policy.Breaker{Failures: 1, HalfOpenRequests: 2}), at(110))
		if m.state != Closed {
			t.Errorf("state %s with two of two, want closed", m.state)
		}
	})
}
