package xds

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
)

// perSecond is how many requests the load sends.
const perSecond = 200

// sample is one request of the load.
type sample struct {
	sent    time.Time
	done    time.Time
	status  int // 0: the transport failed
	version string
	err     error
}

// load sends requests at a steady rate, whether or not earlier ones are
// answered. What a busy machine holds up is made up for.
type load struct {
	stop func()

	mu      sync.Mutex
	samples []sample
}

// startLoad sends requests to an address until the test ends or stop is called.
func startLoad(t testing.TB, to string) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	l := &load{}
	l.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	client := dataplane.NewClient(to)
	t.Cleanup(func() { l.stop(); client.Close() })
	running.Go(func() {
		began, sent := time.Now(), 0
		tick := time.NewTicker(time.Second / perSecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for ; sent < int(time.Since(began)*perSecond/time.Second); sent++ {
				running.Go(func() { l.one(client) })
			}
		}
	})
	return l
}

func (l *load) one(c *dataplane.Client) {
	s := sample{sent: time.Now()}
	a := c.Do(dataplane.Request{Path: modelPath})
	s.done = time.Now()
	s.status, s.version, s.err = a.Status, a.Header.Get(versionHeader), a.Err
	l.mu.Lock()
	defer l.mu.Unlock()
	l.samples = append(l.samples, s)
}

// count is how many requests are done.
func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.samples)
}

// since is how many requests are done that were sent after a moment.
func (l *load) since(from time.Time) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.samples {
		if s.sent.After(from) {
			n++
		}
	}
	return n
}

// all are the samples until now, by when they were sent.
func (l *load) all() []sample {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.SortedFunc(slices.Values(l.samples), func(a, b sample) int { return a.sent.Compare(b.sent) })
}

// unharmed fails the test if any request was not answered 200 by a model, or
// if there were hardly any.
func (l *load) unharmed(t testing.TB, atLeast int) {
	t.Helper()
	all, bad, first := l.all(), 0, ""
	for _, s := range all {
		if s.status != http.StatusOK || s.version == "" || s.err != nil {
			if bad++; first == "" {
				first = fmt.Sprintf("status %d, version %q, %v, at %s", s.status, s.version, s.err, s.sent.Format("15:04:05.000"))
			}
		}
	}
	if bad > 0 {
		t.Errorf("%d of %d requests failed, the first: %s", bad, len(all), first)
	}
	if len(all) < atLeast {
		t.Errorf("%d requests, want %d: the load did not run", len(all), atLeast)
	}
}

// last reports whether the n requests answered last were all answered by a
// version.
func (l *load) last(n int, version string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.samples) < n {
		return false
	}
	for _, s := range l.samples[len(l.samples)-n:] {
		if s.version != version {
			return false
		}
	}
	return true
}
