package sequential

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

// story drives one monitor: counts by step of 100 ms, callers spread evenly.
type story struct {
	m    Monitor
	p    Params
	now  time.Time
	last Decision
	rand *rand.Rand
}

func newStory() *story { return &story{now: start, rand: rand.New(rand.NewPCG(1, 2))} }

// spread puts answers at callers by chance.
func (s *story) spread(n, bad int) []Count {
	out := make([]Count, 64)
	for i := range n {
		at := s.rand.IntN(64)
		out[at].Requests++
		if i < bad {
			out[at].Bad++
		}
	}
	return out
}

// step is 100 ms in which the version and its control answered.
func (s *story) step(n, bad, cn, cbad int) Decision {
	s.now = s.now.Add(100 * time.Millisecond)
	s.last = s.m.Observe(s.now, s.spread(n, bad), s.spread(cn, cbad), s.p)
	return s.last
}

func (s *story) steps(k, n, bad, cn, cbad int) Decision {
	for range k {
		s.step(n, bad, cn, cbad)
	}
	return s.last
}

// until goes on until a verdict other than the ones that say nothing, and
// returns the steps that it took.
func (s *story) until(limit, n, bad, cn, cbad int) int {
	for i := range limit {
		switch s.step(n, bad, cn, cbad).Verdict {
		case Failure, CommonCause, Error:
			return i + 1
		}
	}
	return limit + 1
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(s *story)
		want Verdict
		why  string
	}{
		{"nothing was seen", func(s *story) { s.steps(100, 0, 0, 0, 0) }, Inconclusive, "no request"},
		{"only the control was seen", func(s *story) { s.steps(100, 0, 0, 50, 0) }, Inconclusive, "no request"},
		{"a few clean answers", func(s *story) { s.steps(10, 1, 0, 50, 0) }, Inconclusive, "not enough"},
		{"many clean answers", func(s *story) { s.steps(100, 10, 0, 50, 0) }, Success, "no worse"},
		{"one bad answer", func(s *story) { s.steps(100, 10, 0, 50, 0); s.step(10, 1, 50, 0) }, Success, "no worse"},
		{"all bad at 1 %", func(s *story) { s.steps(50, 0, 0, 50, 0); s.steps(8, 1, 1, 49, 0) }, Failure, "bad since"},
		{"all bad at 50 %, after an hour", func(s *story) { s.steps(36000, 25, 0, 25, 0); s.steps(4, 25, 25, 25, 0) }, Failure, "bad since"},
		{"all bad at 99 %, after an hour", func(s *story) {
			s.steps(3600, 495, 0, 5, 0)
			for range 10 {
				s.step(50, 50, 0, 0)
				s.step(49, 49, 1, 0)
			}
		}, Failure, "bad since"},
		{"both all bad", func(s *story) { s.steps(600, 25, 0, 25, 0); s.steps(20, 25, 25, 25, 25) }, CommonCause, "fails alike"},
		{"both all bad, with a holdback", func(s *story) {
			s.steps(600, 495, 0, 5, 0)
			for range 10 {
				s.step(50, 50, 0, 0)
				s.step(49, 49, 1, 1)
			}
		}, CommonCause, "fails alike"},
		{"both 5 % bad", func(s *story) { s.steps(600, 20, 0, 20, 0); s.steps(100, 20, 1, 20, 1) }, CommonCause, "fails alike"},
		{"no control", func(s *story) { s.steps(600, 20, 0, 0, 0); s.steps(60, 20, 10, 0, 0) }, Failure, "no control"},
		{"no control, not yet", func(s *story) { s.steps(600, 20, 0, 0, 0); s.steps(10, 20, 10, 0, 0) }, Inconclusive, "too few"},
		{"its breaker opens after five, the control goes on", func(s *story) {
			s.steps(600, 495, 0, 5, 0)
			s.step(5, 5, 0, 0)
			for range 6 {
				s.step(0, 0, 1, 0)
				s.step(0, 0, 0, 0)
			}
		}, Failure, "5 of 5"},
		{"one caller of many", func(s *story) {
			s.steps(600, 20, 0, 20, 0)
			for range 600 {
				counts := s.spread(19, 0)
				counts[7].Requests++
				counts[7].Bad++
				s.now = s.now.Add(100 * time.Millisecond)
				s.last = s.m.Observe(s.now, counts, s.spread(20, 0), s.p)
			}
		}, Inconclusive, "one caller"},
		{"the only caller", func(s *story) {
			for i := range 610 {
				c := []Count{{}, {}, {Requests: 20}}
				if i >= 600 {
					c[2].Bad = 20
				}
				s.now = s.now.Add(100 * time.Millisecond)
				s.last = s.m.Observe(s.now, c, []Count{{}, {}, {Requests: 20}}, s.p)
			}
		}, Failure, "bad since"},
		{"over the limit, like its control", func(s *story) {
			s.p.MaxBad = 0.005
			s.steps(6000, 100, 1, 100, 1)
		}, CommonCause, "fails alike"},
		{"normal is 5 %", func(s *story) {
			s.m.Learn(Count{1e6, 5e4})
			s.steps(6000, 20, 1, 20, 1)
		}, Success, "no worse"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory()
			c.do(s)
			if s.last.Verdict != c.want || !strings.Contains(s.last.Why, c.why) {
				t.Errorf("%s: %s (logE %.1f, p0 %g), want %s: … %s …", s.last.Verdict, s.last.Why, s.last.LogE, s.last.P0, c.want, c.why)
			}
		})
	}
}

func TestAbsurdCountsAreErrors(t *testing.T) {
	good := []Count{{100, 0}}
	for name, call := range map[string]func(m *Monitor) Decision{
		"more bad than there are": func(m *Monitor) Decision { return m.Observe(start.Add(time.Hour), []Count{{1, 2}}, nil, Params{}) },
		"the control's":           func(m *Monitor) Decision { return m.Observe(start.Add(time.Hour), good, []Count{{1, 2}}, Params{}) },
		"too many": func(m *Monitor) Decision {
			return m.Observe(start.Add(time.Hour), []Count{{math.MaxUint64, 0}}, nil, Params{})
		},
		"no time":   func(m *Monitor) Decision { return m.Observe(time.Time{}, good, good, Params{}) },
		"backwards": func(m *Monitor) Decision { return m.Observe(start.Add(-time.Hour), good, good, Params{}) },
	} {
		var m Monitor
		for i := range 100 {
			m.Observe(start.Add(time.Duration(i)*time.Second), good, good, Params{})
		}
		if d := call(&m); d.Verdict != Error || d.Why == "" || d.Requests != 10000 {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestJSON(t *testing.T) {
	s := newStory()
	s.steps(3000, 20, 0, 20, 0)
	s.steps(7, 20, 1, 20, 0)
	text, err := json.Marshal(&s.m)
	if err != nil || len(text) > 16<<10 {
		t.Fatalf("%d bytes, %v", len(text), err)
	}
	s.rand = rand.New(rand.NewPCG(3, 4))
	other := &story{now: s.now, rand: rand.New(rand.NewPCG(3, 4))}
	if err := json.Unmarshal(text, &other.m); err != nil {
		t.Fatal(err)
	}
	for range 300 {
		if a, b := s.step(20, 1, 20, 0), other.step(20, 1, 20, 0); a != b {
			t.Fatalf("%+v\nafter a restart %+v", a, b)
		}
	}
	if s.last.Verdict != Failure {
		t.Errorf("%+v", s.last)
	}
}
