package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// series is one target's rounds.
type series struct {
	target  *target
	results []result
}

// interleave runs every target once a round, in another order each time, after
// one round that is not counted.
func interleave(targets []*target, connections, rounds int, during time.Duration) ([]series, error) {
	all := make([]series, len(targets))
	for i, t := range targets {
		all[i].target = t
	}
	for round := range rounds + 1 {
		for i := range targets {
			k := (i + round) % len(targets)
			r, err := load(targets[k], connections, during)
			if err != nil {
				return nil, err
			}
			if r.failed > 0 {
				return nil, fmt.Errorf("%s: %d of %d answers were not the expected ones", targets[k].name, r.failed, r.requests)
			}
			if round > 0 {
				all[k].results = append(all[k].results, r)
			}
		}
	}
	return all, nil
}

func (s *series) print(connections int) {
	last := s.results[len(s.results)-1]
	what := "request"
	fmt.Printf("%-28s c=%-3d  ", s.target.name, connections)
	if last.tokens > 0 {
		what = "token"
		fmt.Printf("first content p50 %6.0f µs", micros(s.median(first)))
	} else {
		fmt.Printf("p50 %7.0f µs  p99 %7.0f µs", micros(s.median(p50)), micros(s.median(p99)))
	}
	fmt.Printf("  cpu %6.1f µs/%s, Envoy's %6.1f  %7d requests\n", micros(s.median(cpu)), what, micros(s.median(envoyCPU)), s.requests())
}

func (s *series) median(of func(result) time.Duration) time.Duration {
	values := make([]time.Duration, len(s.results))
	for i, r := range s.results {
		values[i] = of(r)
	}
	return median(values)
}

func (s *series) requests() (n int) {
	for _, r := range s.results {
		n += r.requests
	}
	return n
}

// ratio is the median of a/b round by round: neighbours in time, so that a
// slow minute of the machine slows both.
func ratio(a, b *series, of func(result) time.Duration) float64 {
	values := make([]float64, len(a.results))
	for i := range a.results {
		values[i] = float64(of(a.results[i])) / float64(max(of(b.results[i]), 1))
	}
	return median(values)
}

// added is the median of a-b, round by round as ratio.
func added(a, b *series, of func(result) time.Duration) time.Duration {
	values := make([]time.Duration, len(a.results))
	for i := range a.results {
		values[i] = of(a.results[i]) - of(b.results[i])
	}
	return median(values)
}

func p50(r result) time.Duration   { return r.p50 }
func p99(r result) time.Duration   { return r.p99 }
func first(r result) time.Duration { return r.first }
func cpu(r result) time.Duration   { return r.cpu }

func envoyCPU(r result) time.Duration { return r.envoy }

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

func median[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
