package fallback

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/safestate/safestate/internal/policy"
)

// A failing endpoint is left out for leastSkip, twice as long after each
// further failure, up to mostSkip.
const (
	leastSkip = 500 * time.Millisecond
	mostSkip  = 10 * time.Second
)

// endpoints picks endpoints in turn and leaves out those that failed lately.
// Safe for concurrent use.
type endpoints struct {
	list []*endpoint
	next atomic.Uint64
	now  func() time.Time
}

type endpoint struct {
	authority string // host:port
	failures  atomic.Int64
	skipUntil atomic.Int64 // Unix nanoseconds; 0: not left out
}

func newEndpoints(list []policy.Endpoint, now func() time.Time) (*endpoints, error) {
	if len(list) == 0 {
		return nil, errors.New("fallback: no endpoint")
	}
	out := &endpoints{now: now}
	for _, e := range list {
		if e.Address == "" || e.Port < 1 || e.Port > 65535 {
			return nil, fmt.Errorf("fallback: endpoint %q port %d is no address", e.Address, e.Port)
		}
		out.list = append(out.list, &endpoint{authority: net.JoinHostPort(e.Address, strconv.Itoa(e.Port))})
	}
	return out, nil
}

// pick returns the next of the endpoints that are not left out; where all are,
// the one whose time is over first: a fallback that may fail is better than
// none.
func (s *endpoints) pick() *endpoint {
	now := s.now().UnixNano()
	var soonest *endpoint
	well := uint64(0)
	for _, e := range s.list {
		until := e.skipUntil.Load()
		if until == 0 {
			well++
			continue
		}
		// Whoever finds the time over tries it, and keeps the others away
		// until that request has said how it went.
		if until <= now && e.skipUntil.CompareAndSwap(until, now+int64(skipFor(e.failures.Load()))) {
			return e
		}
		if soonest == nil || until < soonest.skipUntil.Load() {
			soonest = e
		}
	}
	turn := s.next.Add(1) - 1
	if well > 0 {
		turn %= well
		for _, e := range s.list {
			if e.skipUntil.Load() != 0 {
				continue
			}
			if turn == 0 {
				return e
			}
			turn--
		}
	}
	if soonest == nil { // all were well, and have failed since
		return s.list[turn%uint64(len(s.list))]
	}
	return soonest
}

func (e *endpoint) succeeded() {
	if e.failures.Load() != 0 || e.skipUntil.Load() != 0 {
		e.failures.Store(0)
		e.skipUntil.Store(0)
	}
}

func (e *endpoint) failed(now time.Time) {
	n := e.failures.Add(1)
	e.skipUntil.Store(now.Add(skipFor(n)).UnixNano())
}

func skipFor(failures int64) time.Duration {
	return min(leastSkip<<min(max(failures-1, 0), 10), mostSkip)
}
