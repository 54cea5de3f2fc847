package xds

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/envoy"
)

// says is a Proof in a line.
func says(p Proof) string {
	out := fmt.Sprintf("%d/%d", p.Acked, p.Expected)
	for _, m := range p.Missing {
		out += "; " + m.At(time.Now())
	}
	return out
}

func (l *lab) wantProof(version, want string) {
	l.Helper()
	synctest.Wait()
	if got := says(l.Proof(version)); got != want {
		l.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestProof names who is missing, and why.
func TestProof(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		first := l.set(weights(100, 0)).Version()
		if p := l.Proof("other"); p.Known || p.Complete() {
			l.Errorf("of an unknown version: %+v", p)
		}
		l.wantProof(first, "0/0")
		a, b, c, d, e := l.dial("a", delta), l.dial("b", delta), l.dial("c", delta), l.dial("d", delta), l.dial("e", delta)
		for _, p := range []*client{a, b, c, d} {
			p.settle()
		}
		e.ask(clusters)
		e.take(clusters)
		l.wantProof(first, "4/5; e: connected, not subscribed to routes")
		e.leave()
		time.Sleep(12 * time.Second)
		l.wantProof(first, "4/5; e: silent for 12s")

		second := l.set(weights(90, 10)).Version()
		a.take(routes)
		b.nack(b.next(routes), "", "no")
		held := c.next(routes)
		d.leave()
		time.Sleep(120 * time.Millisecond)
		l.wantProof(second, "1/5; b: refused: no; c: sent 120ms ago, no ACK yet; d: silent for 120ms; e: silent for 12s")
		l.wantProof(first, "4/5; e: silent for 12s") // d had accepted that before it went

		third := l.set(config{clusters: []string{"v1", "v2", "v3"}, routes: map[string]int{"v3": 1}}).Version()
		a.take(clusters)
		a.take(routes)
		c.ack(held)
		c.nack(c.next(clusters), "", "bad")
		l.wantProof(third, "1/5; b: refused: no; c: refused: clusters: bad; d: silent for 120ms; e: silent for 12s")
		l.wantProof(second, "2/5; b: refused: no; d: silent for 120ms; e: silent for 12s") // newer counts too

		// The same content as the first, Set once more. What d has is not known:
		// the second was on its way when it went.
		again := l.set(weights(100, 0)).Version()
		if again != first {
			l.Fatal("equal configurations, other versions")
		}
		// Of the refused clusters v3 is on its way out. Incrementally nothing else was
		// refused; of a whole state nobody knows.
		a.take(routes)
		what := "sent 0s ago, no ACK yet"
		if !delta {
			what = "refused: clusters: bad"
		}
		l.wantProof(first, "1/5; b: sent 0s ago, no ACK yet; c: "+what+"; d: silent for 120ms; e: silent for 12s")
	})
}

// TestProofOrder: a version that was Set before counts from its latest Set.
func TestProofOrder(t *testing.T) {
	run(t, Options{}, func(l *lab) {
		a := l.set(weights(100, 0)).Version()
		c := l.dial("n", true)
		c.settle()
		gone := l.dial("gone", true)
		gone.settle()
		gone.leave()
		b := l.set(weights(90, 10)).Version()
		held := c.next(routes)
		l.wantProof(b, "0/2; gone: silent for 0s; n: sent 0s ago, no ACK yet")
		l.set(weights(100, 0))
		l.wantProof(a, "1/2; n: not sent yet: it has to accept first what was sent before") // gone has just that
		c.ack(held)
		c.take(routes)
		l.wantProof(a, "2/2")
	})
}

// TestExpected: a proxy that went is expected for a while, or until it is
// deregistered, and one that another process saw is expected too.
func TestExpected(t *testing.T) {
	both(t, Options{Expect: 10 * time.Minute}, func(l *lab, delta bool) {
		version := l.set(weights(100, 0)).Version()
		for _, node := range []string{"a", "b"} {
			c := l.dial(node, delta)
			c.ask(clusters)
			c.leave()
		}
		l.Expect("elsewhere", time.Now().Add(-time.Minute))
		l.Expect("long gone", time.Now().Add(-time.Hour))
		l.wantProof(version, "0/3; a: silent for 0s; b: silent for 0s; elsewhere: silent for 1m0s")
		if err := l.Deregister("b"); err != nil {
			l.Error(err)
		}
		time.Sleep(9 * time.Minute)
		if n := l.Connected(); n != 0 {
			l.Errorf("%d are connected", n)
		}
		l.wantProof(version, "0/1; a: silent for 9m0s")
		time.Sleep(time.Minute)
		l.wantProof(version, "0/0")

		c := l.dial("c", delta)
		c.settle()
		if err := l.Deregister("c"); err == nil || !strings.Contains(err.Error(), "is connected") {
			l.Errorf("got %v", err)
		}
		time.Sleep(time.Hour)
		if n := l.Connected(); n != 1 {
			l.Errorf("%d are connected", n)
		}
		l.wantProof(version, "1/1")
		if err := l.Deregister("nobody"); err != nil {
			l.Error(err)
		}
	})
}

// TestReconnect: a proxy that comes back is the one that went, its old stream
// found dead before or after.
func TestReconnect(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		version := l.set(weights(100, 0)).Version()
		old := l.dial("n", delta)
		old.settle()
		old.leave()
		l.wantProof(version, "1/1")
		c := l.dial("n", delta)
		c.settle()
		l.wantProof(version, "1/1")
		if p := l.Proxies(); len(p) != 1 || len(p[0].Streams) != 1 || !p[0].Connected {
			l.Errorf("the ledger has %+v", p)
		}

		time.Sleep(time.Second)
		late := l.dial("n", delta) // and c is not yet known to be dead
		late.settle()
		c.leave()
		version = l.set(weights(90, 10)).Version()
		late.take(routes)
		l.wantProof(version, "1/1")
	})
}

// TestTwoWithOneName: both have to accept, and one that goes is missed.
func TestTwoWithOneName(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		l.set(weights(100, 0))
		a, b := l.dial("n", delta), l.dial("n", delta)
		a.settle()
		b.settle()
		version := l.set(weights(90, 10)).Version()
		held := a.next(routes)
		b.take(routes)
		l.wantProof(version, "0/1; n: sent 0s ago, no ACK yet")
		if p := l.Proxies(); len(p) != 1 || len(p[0].Streams) != 2 {
			l.Errorf("the ledger has %+v", p)
		}
		a.ack(held)
		l.wantProof(version, "1/1")
		time.Sleep(time.Second)
		version = l.set(weights(80, 20)).Version()
		a.next(routes)
		b.take(routes)
		a.leave() // it said something after b had come: b is not its return
		l.wantProof(version, "0/1; n: silent for 0s")
		again := l.dial("n", delta)
		again.settle()
		l.wantProof(version, "1/1")
	})
}

// TestOneOfTwoStaysAway: of two proxies with one id one goes for good. It is
// expected as long as one with an id of its own would be, and no longer.
func TestOneOfTwoStaysAway(t *testing.T) {
	both(t, Options{Expect: 10 * time.Minute}, func(l *lab, delta bool) {
		l.set(weights(100, 0))
		a, b := l.dial("n", delta), l.dial("n", delta)
		a.settle()
		b.settle()
		time.Sleep(time.Second)
		a.leave()
		version := l.set(weights(90, 10)).Version()
		b.take(routes)
		time.Sleep(9 * time.Minute)
		l.wantProof(version, "0/1; n: silent for 9m0s")
		time.Sleep(time.Minute)
		l.wantProof(version, "1/1")
	})
}

// TestAwait learns of the last acceptance, and of everything else by which a
// proof becomes complete.
func TestAwait(t *testing.T) {
	for name, last := range map[string]func(l *lab, c *client, held answer){
		"accepted":     func(_ *lab, c *client, held answer) { c.ack(held) },
		"a newer one":  func(l *lab, c *client, held answer) { l.set(weights(1, 2)); c.ack(held); c.take(routes) },
		"deregistered": func(l *lab, c *client, _ answer) { c.leave(); _ = l.Deregister("n") },
		"forgotten":    func(_ *lab, c *client, _ answer) { c.leave(); time.Sleep(DefaultExpect) },
	} {
		t.Run(name, func(t *testing.T) {
			both(t, Options{}, func(l *lab, delta bool) {
				l.set(weights(100, 0))
				c, other := l.dial("n", delta), l.dial("other", delta)
				c.settle()
				other.settle()
				r := weights(90, 10).resources()
				if err := l.Set(r, Coalesced); err != nil {
					l.Fatal(err)
				}
				got := make(chan Proof, 1)
				go func() { got <- l.Await(l.ctx, r.Version()) }()
				time.Sleep(time.Second)
				held := c.next(routes)
				other.take(routes)
				late := l.dial("late", delta)
				late.settle()
				select {
				case p := <-got:
					l.Fatalf("it returned %s", says(p))
				default:
				}
				last(l, c, held)
				synctest.Wait()
				if name == "a newer one" {
					other.take(routes)
					late.take(routes)
				}
				select {
				case p := <-got:
					if !p.Complete() {
						l.Errorf("it returned %s", says(p))
					}
				default:
					l.Errorf("it waits for %s", says(l.Proof(r.Version())))
				}
			})
		})
	}
}

// TestAwaitWithoutNews: what changes nothing for a proxy is there with the push.
func TestAwaitWithoutNews(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		l.set(weights(1, 1))
		c := l.dial("n", delta)
		c.settle()
		r := weights(1, 1).resources()
		r.Proxyless = &envoy.Proxyless{Clusters: config{clusters: []string{"another's"}}.resources().Clusters}
		if err := l.Set(r, Coalesced); err != nil {
			l.Fatal(err)
		}
		done := make(chan Proof, 1)
		go func() { done <- l.Await(l.ctx, r.Version()) }()
		time.Sleep(CoalesceWindow)
		synctest.Wait()
		select {
		case p := <-done:
			if !p.Complete() || p.Acked != 1 {
				l.Errorf("got %s", says(p))
			}
		default:
			l.Errorf("it waits for %s", says(l.Proof(r.Version())))
		}
	})
}

// TestAwaitAfterComingRound: nor does what a proxy has had on its way.
func TestAwaitAfterComingRound(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		l.set(weights(1, 1))
		c := l.dial("n", delta)
		c.settle()
		version := l.set(weights(1, 2)).Version()
		held := c.next(routes)
		l.set(weights(1, 3))
		l.set(weights(1, 2))
		done := make(chan Proof, 1)
		go func() { done <- l.Await(l.ctx, version) }()
		synctest.Wait()
		c.ack(held)
		select {
		case p := <-done:
			if !p.Complete() {
				l.Errorf("got %s", says(p))
			}
		default:
			l.Errorf("it waits for %s", says(l.Proof(version)))
		}
	})
}

// TestAwaitEnds where there is nothing more to wait for.
func TestAwaitEnds(t *testing.T) {
	run(t, Options{}, func(l *lab) {
		version := l.set(weights(100, 0)).Version()
		if p := l.Await(l.ctx, version); !p.Complete() || p.Expected != 0 {
			l.Errorf("of no proxy: %s", says(p))
		}
		if p := l.Await(l.ctx, "unknown"); p.Known || p.Complete() {
			l.Errorf("of an unknown version: %+v", p)
		}
		c := l.dial("n", true)
		c.ask(clusters)
		ctx, cancel := context.WithTimeout(l.ctx, time.Second)
		defer cancel()
		if p := l.Await(ctx, version); p.Complete() || len(p.Missing) != 1 {
			l.Errorf("at the end of ctx: %s", says(p))
		}
		if n := len(l.waiters); n != 0 {
			l.Errorf("%d waiters are left", n)
		}
		got := make(chan Proof, 1)
		go func() { got <- l.Await(l.ctx, version) }()
		synctest.Wait()
		l.Close()
		if p := <-got; p.Complete() {
			l.Errorf("at the Server's end: %s", says(p))
		}
	})
}

// TestVersionsAreBounded: the last ones are known.
func TestVersionsAreBounded(t *testing.T) {
	run(t, Options{}, func(l *lab) {
		first := l.set(weights(1, 1)).Version()
		kept := l.set(weights(1, 2)).Version()
		for i := range maxVersions {
			l.set(weights(2, i+1))
		}
		if l.Proof(first).Known {
			l.Error("the first is known still")
		}
		l.set(weights(1, 2))
		for i := range maxVersions - 1 {
			l.set(weights(3, i+1))
		}
		if n := len(l.versions); !l.Proof(kept).Known || n > maxVersions {
			l.Errorf("%d versions are known, and one that was Set again: %v", n, l.Proof(kept).Known)
		}
	})
}
