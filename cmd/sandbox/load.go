package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// load asks the fraud model at a steady rate, as a caller that knows nothing of
// versions would, and judges what it gets. It is safe for concurrent use.
type load struct {
	url    string
	client *http.Client

	mu      sync.Mutex
	asked   int
	bad     int            // answers that no caller should have got, and errors
	sources map[string]int // of the answers
}

// perSecond is the load after a warmUp, callers how many wait for answers at the same time at
// most.
const (
	perSecond = 500
	callers   = 64
	warmUp    = 2 * time.Second
)

func newLoad(address string) *load {
	return &load{
		url:     "http://" + address + "/v2/models/fraud/infer",
		client:  &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: callers}},
		sources: map[string]int{},
	}
}

// run asks until ctx ends.
func (l *load) run(ctx context.Context) {
	due := make(chan struct{}, callers)
	var asking sync.WaitGroup
	for range callers {
		asking.Go(func() {
			for range due {
				l.ask()
			}
		})
	}
	// Several at a time, as a ticker has no finer grain than a busy machine.
	const each = 10 * time.Millisecond
	tick := time.NewTicker(each)
	defer tick.Stop()
	started := time.Now()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case now := <-tick.C:
			rate := perSecond
			if now.Sub(started) < warmUp { // every part connects first
				rate /= 5
			}
			for range rate * int(each) / int(time.Second) {
				select {
				case due <- struct{}{}:
				default: // all callers wait: the machine has no more to give
				}
			}
		}
	}
	close(due)
	asking.Wait()
}

const question = `{"id": "1", "parameters": {"amount": 120, "account_age_days": 400}, ` +
	`"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [120, 400, 0, 0]}]}`

func (l *load) ask() {
	source, good := l.answer()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	l.sources[source]++
	if !good {
		l.bad++
	}
}

// answer asks once, and says what answered and whether a caller can use it.
func (l *load) answer() (source string, good bool) {
	resp, err := l.client.Post(l.url, "application/json", strings.NewReader(question))
	if err != nil {
		return "none", false
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	source = resp.Header.Get("x-safestate-source")
	var answer struct {
		Outputs []struct{ Data []any }
	}
	if err != nil || resp.StatusCode != http.StatusOK || json.NewDecoder(bytes.NewReader(body)).Decode(&answer) != nil || len(answer.Outputs) == 0 {
		return source, false
	}
	for _, o := range answer.Outputs {
		for _, v := range o.Data {
			if v == nil {
				return source, false
			}
		}
	}
	return source, true
}

// reset begins to count anew.
func (l *load) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked, l.bad, l.sources = 0, 0, map[string]int{}
}

// tally is what was seen since the last reset.
type tally struct {
	asked, bad int
	sources    map[string]int
}

func (l *load) tally() tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := tally{asked: l.asked, bad: l.bad, sources: map[string]int{}}
	for source, n := range l.sources {
		t.sources[source] = n
	}
	return t
}
