package main

import (
	"math/rand/v2"
	"time"

	"github.com/safestate/safestate/internal/sequential"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// scene is a service with a version and its control, as one monitor sees it.
type scene struct {
	r       *rand.Rand
	monitor sequential.Monitor
	params  sequential.Params
	crowd   *crowd
	now     time.Time
	step    time.Duration

	rps   float64 // of both
	share float64 // of the version, 0 to 1
	// own and control are the shares of bad answers.
	own, control float64
	// hostile is a caller all of whose answers are bad, by its part of the
	// requests; at the version alone, or at both.
	hostile     float64
	hostileBoth bool
	breaker     *breaker
	// lump holds reports back until it is over.
	held        bool
	heldOwn     [places]sequential.Count
	heldControl [places]sequential.Count

	asked, bad uint64 // of the version, since the last mark
	controls   uint64
	common     bool // was called a common cause since
	last       sequential.Decision
}

func newScene(r *rand.Rand) *scene {
	return &scene{r: r, crowd: zipf(r, 1000), now: epoch, step: 100 * time.Millisecond, rps: 500}
}

// hostilePlace is where the hostile caller is.
const hostilePlace = 5

// tick is one step.
func (s *scene) tick() sequential.Decision {
	s.now = s.now.Add(s.step)
	requests := s.rps * s.step.Seconds()
	n := s.fill(&s.heldOwn, requests*s.share, s.own, true)
	s.controls += uint64(s.fill(&s.heldControl, requests*(1-s.share), s.control, false))
	s.asked += uint64(n)
	if s.held {
		return s.last
	}
	s.observe()
	s.common = s.common || s.last.Verdict == sequential.CommonCause
	s.heldOwn, s.heldControl = [places]sequential.Count{}, [places]sequential.Count{}
	return s.last
}

// observe hands the reports to the monitor as the control plane does: the bad
// answers that came last of all in a call of their own.
func (s *scene) observe() {
	if s.breaker == nil || s.breaker.last == 0 {
		s.last = s.monitor.Observe(s.now, s.heldOwn[:], s.heldControl[:], s.params)
		return
	}
	var streak [places]sequential.Count
	left := uint64(s.breaker.last)
	for i := range s.heldOwn {
		n := min(left, s.heldOwn[i].Bad)
		left -= n
		streak[i] = sequential.Count{Requests: n, Bad: n}
		s.heldOwn[i].Requests -= n
		s.heldOwn[i].Bad -= n
	}
	s.monitor.Observe(s.now, s.heldOwn[:], s.heldControl[:], s.params)
	s.last = s.monitor.Observe(s.now, streak[:], nil, s.params)
}

// fill adds the answers of a step, and returns how many there were.
func (s *scene) fill(counts *[places]sequential.Count, mean, rate float64, version bool) int {
	n := poisson(s.r, mean*(1-s.hostile))
	if version && s.breaker != nil {
		return s.breaker.fill(s, counts, n, rate)
	}
	bad := binomial(s.r, n, rate)
	if n > 0 {
		s.crowd.spread(s.r, counts[:], n, bad)
	}
	if s.hostile > 0 {
		if k := poisson(s.r, mean*s.hostile); k > 0 {
			counts[hostilePlace].Requests += uint64(k)
			n += k
			if version || s.hostileBoth {
				counts[hostilePlace].Bad += uint64(k)
				bad += k
			}
		}
	}
	if version {
		s.bad += uint64(bad)
	}
	return n
}

// mark begins the counts of what the version was asked.
func (s *scene) mark() { s.asked, s.bad, s.controls, s.common = 0, 0, 0, false }

// pass lets time go by in steps, and returns when the version was called
// failing first.
func (s *scene) pass(d, step time.Duration) (at time.Time, failed bool) {
	before := s.step
	s.step = step
	defer func() { s.step = before }()
	for end := s.now.Add(d); s.now.Before(end); {
		if s.tick().Verdict == sequential.Failure {
			return s.now, true
		}
	}
	return time.Time{}, false
}

// copied is the same scene with a random source of its own.
func (s *scene) copied(r *rand.Rand) *scene {
	c := *s
	c.r = r
	return &c
}

// breaker stops a version's answers after five bad ones in a row, and lets three
// through every ten seconds: the default of a route.
type breaker struct {
	well   int // answers that are well yet: a fault begins in the midst of a step
	row    int
	last   int // bad ones that came last in a step
	opened time.Time
	probes int
}

func (b *breaker) fill(s *scene, counts *[places]sequential.Count, n int, rate float64) int {
	answered := 0
	b.last = 0
	for range n {
		if b.row >= 5 {
			if s.now.Sub(b.opened) < 10*time.Second {
				continue
			}
			if b.probes++; b.probes == 3 {
				b.opened, b.probes = s.now, 0
			}
		}
		at := s.crowd.one(s.r)
		counts[at].Requests++
		answered++
		if b.well > 0 {
			b.well--
			b.row, b.last = 0, 0
		} else if s.r.Float64() < rate {
			counts[at].Bad++
			s.bad++
			b.last++
			if b.row++; b.row == 5 {
				b.opened, b.probes = s.now, 0
			}
		} else {
			b.row, b.last = 0, 0
		}
	}
	return answered
}
