package signals

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// killed is a set of kills that a test changes.
type killed struct {
	mu      sync.Mutex
	name    string
	models  []string
	changed chan struct{}
}

func (k *killed) put(name string, models ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.changed != nil {
		close(k.changed)
	}
	k.name, k.models, k.changed = name, models, make(chan struct{})
}

func (k *killed) inForce() InForce {
	k.mu.Lock()
	defer k.mu.Unlock()
	models := k.models
	return InForce{Set: k.name, Changed: k.changed, Stops: func(_, model, _ string) bool { return slices.Contains(models, model) }}
}

func (k *killed) host(t *testing.T, links ...Link) *Reporter {
	t.Helper()
	r := NewReporter(ReporterOptions{Name: "host", Links: links, Kills: k.inForce})
	t.Cleanup(r.Close)
	return r
}

// said is what a hub has heard of kills.
func said(h *Hub) string {
	hosts, _ := h.Reporting()
	out := ""
	for _, x := range hosts {
		out += fmt.Sprintf("[%s %d]", x.Kills, x.InFlight)
	}
	return out
}

// TestInFlight: a hub learns which kills a host has in force and how many requests to
// what they stop are open there, soon after either changes, also by way of another
// replica.
func TestInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader, follower := newHub(t), newHub(t)
		relay := NewRelay(follower, nil)
		relay.To(leader.Link())
		t.Cleanup(relay.Close)
		k := &killed{}
		k.put("none")
		r := k.host(t, follower.Link())
		a, again, b := r.Rows("route", "m", "v1"), r.Rows("route", "m", "v1"), r.Rows("route", "other", "v1")
		for _, rows := range []*Rows{a, again, b} {
			rows.Open()
		}
		want := func(what string) {
			t.Helper()
			synctest.Wait()
			time.Sleep(3 * reportEvery)
			for _, h := range []*Hub{follower, leader} {
				if got := said(h); got != what {
					t.Errorf("a hub heard %s, want %s", got, what)
				}
			}
		}
		want("[none 0]")
		k.put("m killed", "m")
		want("[m killed 2]")
		a.Done()
		want("[m killed 1]")
		b.Done()
		want("[m killed 1]")
		again.Done()
		want("[m killed 0]")
		r.Close()
		want("")
	})
}

// TestKillsAtOnce: another set is told before the next report is due.
func TestKillsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, k := newHub(t), &killed{}
		k.put("one")
		k.host(t, h.Link())
		time.Sleep(reportEvery + reportEvery/2)
		k.put("two")
		time.Sleep(2 * burst)
		if got := said(h); got != "[two 0]" {
			t.Errorf("the hub heard %s", got)
		}
	})
}

// TestNoRequestIsMissed: where a request is counted before it is looked whether it is
// stopped, none that was let go is missing once a set is in force.
func TestNoRequestIsMissed(t *testing.T) {
	k := &killed{}
	r := k.host(t)
	rows := r.Rows("route", "m", "v1")
	for round := range 200 {
		k.put("none")
		var running sync.WaitGroup
		let := make(chan struct{}, 64)
		for range 4 {
			running.Go(func() {
				for range 16 {
					rows.Open()
					if k.inForce().Stops("route", "m", "v1") {
						rows.Done()
						continue
					}
					let <- struct{}{} // and it is never over
				}
			})
		}
		k.put("m", "m")
		open := r.stopped()
		running.Wait()
		close(let)
		n := 0
		for range let {
			n++
			rows.Done()
		}
		if open.set != "m" || int(open.open) < n {
			t.Fatalf("round %d: %d requests were let go, and %+v was told", round, n, open)
		}
	}
}

// TestFlightsBounded: what has no place of its own counts as stopped by whatever is.
func TestFlightsBounded(t *testing.T) {
	k := &killed{}
	k.put("m", "m")
	r := k.host(t)
	for i := range mostFlights {
		r.flights.of(rowName{route: "r", model: "x", version: fmt.Sprint(i)}).open.Add(1)
	}
	r.Rows("r", "late", "v").Open()
	r.Rows("r", "later", "v").Open()
	if got := r.stopped(); got.open != 2 || len(r.flights.byName) != mostFlights+1 {
		t.Errorf("%+v of %d", got, len(r.flights.byName))
	}
}
