package product

import (
	"fmt"
	"sync"
	"time"
)

// load asks for predictions at a rate, until it is stopped.
type load struct {
	ending  chan struct{}
	running sync.WaitGroup
	mu      sync.Mutex
	counts  counts
}

// counts are what callers saw.
type counts struct {
	all, failed, nan, rescued int
	last                      string // failure
}

func (c counts) String() string {
	return fmt.Sprintf("%d requests, %d failed, %d NaN, %d from the ladder", c.all, c.failed, c.nan, c.rescued)
}

func (s *stand) load(perSecond int) *load {
	l := &load{ending: make(chan struct{})}
	l.running.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for {
			select {
			case <-l.ending:
				return
			case <-tick.C:
				l.running.Go(func() { l.count(s.infer()) })
			}
		}
	})
	s.t.Cleanup(func() { l.stop() })
	return l
}

func (l *load) count(a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.all++
	if a.err != nil || a.status != 200 {
		l.counts.failed++
		l.counts.last = a.String()
	}
	if a.nan() {
		l.counts.nan++
	}
	if a.source != "" && a.source != "primary" {
		l.counts.rescued++
	}
}

// stop ends it and returns what it saw; twice is once.
func (l *load) stop() counts {
	select {
	case <-l.ending:
	default:
		close(l.ending)
	}
	l.running.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}
