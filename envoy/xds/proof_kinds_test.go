package xds

import (
	"testing"
	"testing/synctest"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/safestate/safestate/envoy"
)

// TestProofOfEveryKind: a proxy that has the routes and refuses something else of the
// Set is missing with its words, and so it is until it has answered. Older Sets, and
// those that take back what it refused, are proven.
func TestProofOfEveryKind(t *testing.T) {
	for k, change := range map[kind]func(*envoy.Resources){
		clusters: func(r *envoy.Resources) { r.Clusters[0].AltStatName = "other" },
		endpoints: func(r *envoy.Resources) {
			r.Endpoints[0].Policy = &endpointv3.ClusterLoadAssignment_Policy{WeightedPriorityHealth: true}
		},
		listeners: func(r *envoy.Resources) { r.Listeners[0].StatPrefix = "other" },
	} {
		t.Run(k.String(), func(t *testing.T) {
			both(t, Options{Linger: time.Second}, func(l *lab, delta bool) {
				world := config{clusters: []string{"v1"}, eds: []string{"e"}, routes: map[string]int{"v1": 1}}
				old := l.set(world).Version()
				c, other := l.dial("n", delta), l.dial("other", delta)
				for _, p := range []*client{c, other} {
					p.ask(clusters)
					p.take(clusters)
					p.ask(endpoints, "e")
					p.take(endpoints)
					p.ask(listeners)
					p.take(listeners)
					p.ask(routes, "safestate")
					p.take(routes)
				}
				l.wantProof(old, "2/2")
				r := world.resources()
				change(r)
				if err := l.Set(r, AtOnce); err != nil {
					l.Fatal(err)
				}
				held := c.next(k)
				other.take(k)
				l.wantProof(r.Version(), "1/2; n: sent 0s ago, no ACK yet")
				c.nack(held, "", "no such thing")
				why := "n: refused: " + k.String() + ": no such thing"
				l.wantProof(r.Version(), "1/2; "+why)
				l.wantProof(old, "2/2")

				// Other routes do not heal it.
				world.routes["v1"] = 2
				r = world.resources()
				change(r)
				if err := l.Set(r, AtOnce); err != nil {
					l.Fatal(err)
				}
				c.take(routes)
				other.take(routes)
				l.wantProof(r.Version(), "1/2; "+why)
				waits := make(chan Proof, 1)
				go func() { waits <- l.Await(l.ctx, r.Version()) }()
				synctest.Wait()

				c.leave() // and what it refused it has not
				l.wantProof(r.Version(), "1/2; n: silent for 0s, and had refused "+k.String()+": no such thing")
				select {
				case p := <-waits:
					l.Fatalf("it waited for %s", says(p))
				default:
				}
				if err := l.Deregister("n"); err != nil {
					l.Fatal(err)
				}
				if p := <-waits; !p.Complete() || p.Acked != 1 {
					l.Errorf("it waited for %s", says(p))
				}
			})
		})
	}
}

// TestProofTakesBack: what a proxy refused is out of the Set again.
func TestProofTakesBack(t *testing.T) {
	both(t, Options{Linger: time.Second}, func(l *lab, delta bool) {
		l.set(weights(1, 1))
		c := l.dial("n", delta)
		c.settle()
		bad := l.set(config{clusters: []string{"v1@81", "v2"}, routes: map[string]int{"v1": 1, "v2": 1}}).Version()
		c.nack(c.next(clusters), "", "bad")
		l.wantProof(bad, "0/1; n: refused: clusters: bad")
		good := l.set(weights(1, 1)).Version()
		l.wantProof(good, "0/1; n: sent 0s ago, no ACK yet") // nobody knows which part it took
		c.take(clusters)
		l.wantProof(good, "1/1")
		l.wantProof(bad, "1/1") // by a newer one
	})
}

// TestProofApart: whatever stream of the proxy it is on.
func TestProofApart(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		l.set(weights(1, 1))
		r, c := l.dialService("n", delta, routes.url(), true), l.dialService("n", delta, clusters.url(), true)
		r.ask(routes, "safestate")
		r.take(routes)
		c.ask(clusters)
		c.take(clusters)
		version := l.set(config{clusters: []string{"v1@81", "v2"}, routes: map[string]int{"v1": 1, "v2": 2}}).Version()
		r.take(routes)
		c.nack(c.next(clusters), "", "bad")
		l.wantProof(version, "0/1; n: refused: clusters: bad")
	})
}

// TestRefusedClusterLeaves: a cluster that a proxy refuses does not stay because it
// refuses it, and the proxy is proven at the latest when it is gone.
func TestRefusedClusterLeaves(t *testing.T) {
	both(t, Options{Linger: 10 * time.Second, Resend: 30 * time.Second}, func(l *lab, delta bool) {
		l.set(weights(1, 1))
		c := l.dial("n", delta)
		c.settle()
		bad := config{clusters: []string{"bad", "v1", "v2"}, routes: map[string]int{"v1": 1, "v2": 1}}
		l.set(bad)
		c.nack(c.next(clusters), "", "bad")
		version := l.set(weights(1, 2)).Version()
		c.take(routes)
		if delta { // nothing else was in what it refused
			l.wantProof(version, "1/1")
		}
		time.Sleep(30*time.Second - 1)
		c.nothing("it refused that a while ago")
		time.Sleep(time.Nanosecond)
		c.nack(c.next(clusters), "", "bad")
		time.Sleep(10 * time.Second)
		wantGone(c, "bad")
		l.wantProof(version, "1/1")
	})
}

// TestHiddenProof: a client that asks by name and is gone has what it had, and not
// what is as good as that for a proxy. What it accepts is told.
func TestHiddenProof(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		with := func(host string) string {
			l.Helper()
			r := weights(1, 1).resources()
			r.Proxyless = &envoy.Proxyless{
				Listeners: []*listenerv3.Listener{{Name: "fraud", Address: address(1)}},
				Routes:    []*routev3.RouteConfiguration{{Name: "proxyless/fraud", VirtualHosts: []*routev3.VirtualHost{{Name: host, Domains: []string{"*"}}}}},
			}
			if err := l.Set(r, AtOnce); err != nil {
				l.Fatal(err)
			}
			synctest.Wait()
			return r.Version()
		}
		first := with("one")
		gone, here := l.dial("gone", delta), l.dial("here", delta)
		for _, c := range []*client{gone, here} {
			c.ask(routes, "proxyless/fraud")
			c.take(routes)
		}
		gone.leave()
		l.wantProof(first, "2/2")
		second := with("two")
		here.take(routes)
		l.wantProof(second, "1/2; gone: silent for 0s")
		if n := len(l.journal.accepted); n != 3 {
			l.Errorf("%d acceptances were told: %q", n, l.journal.accepted)
		}
		again := with("one")
		here.take(routes)
		l.wantProof(again, "2/2")
	})
}

// TestAwaitOfThatMoment: who comes after the last acceptance does not undo it.
func TestAwaitOfThatMoment(t *testing.T) {
	run(t, Options{}, func(l *lab) {
		l.set(weights(1, 1))
		m := newMember(t, l.Server, "n")
		version := l.set(weights(1, 2)).Version()
		done := make(chan Proof, 1)
		go func() { done <- l.Await(l.ctx, version) }()
		synctest.Wait()
		l.mu.Lock()
		m.told[routes] = 0
		l.mu.Unlock()
		m.answer(routes, "last")
		l.mu.Lock() // the last word, and a newcomer right after it
		if _, _, err := m.book(request{typeURL: routes.url(), nonce: "last"}, time.Now()); err != nil {
			l.Error(err)
		}
		if err := l.join(&stream{server: l.Server, account: "host"}, "newcomer"); err != nil {
			l.Error(err)
		}
		l.mu.Unlock()
		if p := <-done; !p.Complete() || p.Expected != 1 {
			l.Errorf("it waited for %s", says(p))
		}
		l.wantProof(version, "1/2; newcomer: connected, not subscribed to routes")
	})
}
