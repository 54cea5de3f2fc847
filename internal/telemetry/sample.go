package telemetry

import (
	"sync"
	"time"
)

// maxSampled bounds the routes with a rate of their own; past it they share
// one.
const maxSampled = 500

// sampler is a token bucket a route.
type sampler struct {
	rate float64 // lines a second and burst; less than 0: no limit

	mu      sync.Mutex
	buckets map[string]*bucket
}

type bucket struct {
	tokens  float64
	at      time.Time
	dropped uint64
}

func newSampler(rate float64) *sampler {
	return &sampler{rate: rate, buckets: map[string]*bucket{}}
}

// allow takes a line's token and returns how many lines were left out since
// the last one that was allowed.
func (s *sampler) allow(route string, now time.Time) (dropped uint64, ok bool) {
	if s.rate < 0 {
		return 0, true
	}
	burst := max(s.rate, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[route]
	if b == nil {
		if len(s.buckets) >= maxSampled {
			route = other
			b = s.buckets[route]
		}
		if b == nil {
			b = &bucket{tokens: burst, at: now}
			s.buckets[route] = b
		}
	}
	if since := now.Sub(b.at); since > 0 {
		b.tokens = min(burst, b.tokens+since.Seconds()*s.rate)
		b.at = now
	}
	if b.tokens < 1 {
		b.dropped++
		return 0, false
	}
	b.tokens--
	dropped, b.dropped = b.dropped, 0
	return dropped, true
}

// drain returns what was left out and not yet reported, by route.
func (s *sampler) drain() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := map[string]uint64{}
	for route, b := range s.buckets {
		if b.dropped > 0 {
			left[route], b.dropped = b.dropped, 0
		}
	}
	return left
}
