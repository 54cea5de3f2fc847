package releases

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
)

var serial atomic.Int64

// question is an inference request that nobody has asked before: no cache has
// its answer.
func question() dataplane.Request {
	n := serial.Add(1)
	return dataplane.Request{Path: "/v2/models/score/infer", Body: fmt.Appendf(nil,
		`{"id": "%d", "parameters": {"amount": %d, "account_age_days": 40}, "inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [%d, 40, 0, 0]}]}`, n, n, n)}
}

// wrong says why no caller should have got an answer; empty: it is a good one.
func wrong(a dataplane.Answer) string {
	if a.Err != nil {
		return a.Err.Error()
	}
	if a.Status != http.StatusOK {
		return fmt.Sprintf("status %d: %.200q", a.Status, a.Body)
	}
	if a.Source() == "" {
		return "nobody inspected it"
	}
	var answer struct {
		Outputs []struct{ Data []any }
	}
	if err := json.NewDecoder(bytes.NewReader(a.Body)).Decode(&answer); err != nil || len(answer.Outputs) == 0 {
		return fmt.Sprintf("%v: %.200q", err, a.Body)
	}
	for _, o := range answer.Outputs {
		for _, v := range o.Data {
			if v == nil {
				return fmt.Sprintf("a null: %.200q", a.Body)
			}
		}
	}
	return ""
}

// perSecond is the load.
const perSecond = 100

// load asks at a steady rate, as callers would that know nothing of versions. It
// is safe for concurrent use.
type load struct {
	client  *dataplane.Client
	change  func(nth int, q *dataplane.Request) // may be nil
	ended   chan struct{}
	stopped sync.Once
	asking  sync.WaitGroup

	mu       sync.Mutex
	asked    int
	bad      []string
	resets   int
	sources  map[string]int // of what was asked since the last reset
	versions map[string]int // of the answers by the model to that
}

// startLoad asks until the test ends or stop is called. change may make each
// request another one.
func startLoad(t testing.TB, p *proxy, change func(nth int, q *dataplane.Request)) *load {
	t.Helper()
	l := &load{client: p.client, change: change, ended: make(chan struct{})}
	l.reset()
	l.asking.Go(func() {
		tick := time.NewTicker(time.Second / perSecond)
		defer tick.Stop()
		for nth := 0; ; nth++ {
			select {
			case <-l.ended:
				return
			case <-tick.C:
				l.asking.Go(func() { l.ask(nth) })
			}
		}
	})
	t.Cleanup(l.stop)
	return l
}

func (l *load) ask(nth int) {
	q := question()
	if l.change != nil {
		l.change(nth, &q)
	}
	l.mu.Lock()
	begun := l.resets
	l.mu.Unlock()
	a := l.client.Do(q)
	why := wrong(a)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	if begun == l.resets {
		l.sources[a.Source()]++
		if a.Source() == "primary" {
			l.versions[a.Header.Get("X-Safestate-Version")]++
		}
	}
	if why != "" {
		l.bad = append(l.bad, why)
	}
}

func (l *load) stop() {
	l.stopped.Do(func() { close(l.ended) })
	l.asking.Wait()
}

// reset begins to count sources and versions anew, of what is asked from now on.
func (l *load) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resets++
	l.sources, l.versions = map[string]int{}, map[string]int{}
}

// seen are the counts since the last reset.
func (l *load) seen() (sources, versions map[string]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.sources), maps.Clone(l.versions)
}

// until waits for answers since the last reset to be as they should.
func (l *load) until(t testing.TB, what string, holds func(sources, versions map[string]int) bool) {
	t.Helper()
	dataplane.Eventually(t, soon, what, func() bool { return holds(l.seen()) })
}

// more waits for further answers.
func (l *load) more(t testing.TB, n int) {
	t.Helper()
	count := func() int { l.mu.Lock(); defer l.mu.Unlock(); return l.asked }
	want := count() + n
	dataplane.Eventually(t, soon, "the load goes on", func() bool { return count() >= want })
}

// unharmed stops the load and fails the test if any caller got a bad answer.
func (l *load) unharmed(t testing.TB) {
	t.Helper()
	l.stop()
	if len(l.bad) > 0 {
		t.Errorf("%d of %d callers got a bad answer, the first: %s", len(l.bad), l.asked, l.bad[0])
	}
	if l.asked < perSecond {
		t.Errorf("%d requests are no load", l.asked)
	}
}
