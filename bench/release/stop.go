package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// stop is the promise that a person will hold the product to: at 500 requests a
// second, with a holdback of 1 %, a version all of whose answers are bad from one
// moment on, and whose breaker opens after five of them.
type stop struct {
	Breaker bool    `json:"breaker"` // it opens after five bad answers
	Runs    int     `json:"runs"`
	Median  float64 `json:"seconds_median"`
	P90     float64 `json:"seconds_p90"`
	P99     float64 `json:"seconds_p99"`
	Second  float64 `json:"within_a_second"`
}

func stops(w *workers, runs int, breakers bool) stop {
	warmed := make([]*scene, 8)
	w.each(len(warmed), func(i int, r *rand.Rand) { warmed[i] = warm(r, 500, 0.99, 0.0001, 6*time.Hour) })
	times := make([]float64, runs)
	w.each(runs, func(i int, r *rand.Rand) {
		s := warmed[i%len(warmed)].copied(r)
		s.own = 1
		if breakers {
			s.breaker = &breaker{well: r.IntN(50)}
		}
		from := s.now
		at, _ := s.pass(time.Hour, 100*time.Millisecond)
		times[i] = at.Sub(from).Seconds()
	})
	out := stop{Breaker: breakers, Runs: runs}
	for _, t := range times {
		if t <= 1 {
			out.Second += 1 / float64(runs)
		}
	}
	out.Median, out.P90, out.P99 = rank(times, 50), rank(times, 90), rank(times, 99)
	return out
}

func (s *stop) print() {
	name := "no breaker"
	if s.Breaker {
		name = "its breaker opens after five"
	}
	fmt.Printf("%s: decided after %.1f s, 90 %% %.1f s, 99 %% %.1f s; %s within a second\n", name, s.Median, s.P90, s.P99, percent(s.Second))
}
