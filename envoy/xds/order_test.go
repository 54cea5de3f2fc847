package xds

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/envoy"
)

// TestMakeBeforeBreak: routes to a new cluster come once the stream has accepted
// the cluster, and one proxy does not wait for another.
func TestMakeBeforeBreak(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		l.set(config{clusters: []string{"v1"}, routes: map[string]int{"v1": 1}})
		slow, quick := l.dial("slow", delta), l.dial("quick", delta)
		slow.settle()
		quick.settle()

		r := l.set(weights(90, 10))
		held := slow.next(clusters) // and no routes
		quick.take(clusters)
		if a := quick.take(routes); a.version != routesVersion(r) {
			l.Error("these are other routes")
		}
		slow.nothing("it has not accepted the clusters")

		// What needs no new cluster passes.
		l.set(config{clusters: []string{"v1", "v2"}, routes: map[string]int{"v1": 7}})
		slow.take(routes)
		quick.take(routes)
		l.set(weights(80, 20))
		slow.nothing("v2 again")
		quick.take(routes)
		slow.nack(held, "", "no")
		slow.nothing("it refused the cluster")
		l.set(config{clusters: []string{"v1", "v2@81"}, routes: map[string]int{"v1": 1, "v2": 1}})
		slow.take(clusters)
		slow.take(routes)
	})
}

// TestListenersWait: a listener may name any cluster, and a cluster may lead to
// an internal listener, which routes need.
func TestListenersWait(t *testing.T) {
	both(t, Options{Linger: 10 * time.Second}, func(l *lab, delta bool) {
		l.set(weights(1, 1))
		c := l.dial("n", delta)
		c.settle()
		l.set(config{clusters: []string{"v1", "v2"}, internal: []string{"hop"}, routes: map[string]int{"hop": 1}})
		held := c.next(clusters)
		c.nothing("the clusters are not accepted")
		c.ack(held)
		held = c.next(listeners)
		c.nothing("the internal listener is not accepted")
		c.ack(held)
		c.take(routes)

		// And leaves after the routes to it.
		l.set(weights(1, 1))
		held = c.next(routes)
		time.Sleep(time.Minute)
		c.nothing("the new routes are not accepted")
		c.ack(held)
		c.mu.Lock()
		got := c.got
		c.mu.Unlock()
		if len(got) != 2 || got[0].kind != clusters || got[1].kind != listeners {
			l.Fatalf("got %v, want clusters and listeners", got)
		}
		for _, a := range got {
			if delta && !slices.Equal(a.gone, []string{"hop"}) || slices.Contains(a.names, "hop") {
				l.Errorf("%s: %v without %v", a.kind, a.names, a.gone)
			}
		}
	})
}

// TestRetirement: a cluster leaves after Linger, and not before every connected
// proxy has accepted routes without it.
func TestRetirement(t *testing.T) {
	both(t, Options{Linger: 10 * time.Second}, func(l *lab, delta bool) {
		only := func(name string) config {
			return config{clusters: []string{name}, routes: map[string]int{name: 1}}
		}
		l.set(only("v1"))
		c, other := l.dial("n", delta), l.dial("other", delta)
		c.settle()
		other.settle()

		l.set(only("v2"))
		c.take(clusters)
		c.take(routes)
		other.take(clusters)
		held := other.next(routes)
		time.Sleep(time.Minute)
		c.nothing("another proxy has not accepted the routes")
		other.nack(held, "", "no")
		c.nothing("it refused them")
		l.set(config{clusters: []string{"v2"}, routes: map[string]int{"v2": 2}})
		c.take(routes)
		other.take(routes)
		wantGone(c, "v1")
		wantGone(other, "v1")

		// What comes back in time never left, and what nobody routes to any more
		// leaves after its time.
		l.set(weights(1, 1))
		c.take(clusters)
		c.take(routes)
		other.leave()
		l.set(only("v2"))
		c.take(routes)
		time.Sleep(5 * time.Second)
		l.set(weights(1, 1))
		c.take(routes)
		time.Sleep(time.Minute)
		c.nothing("v1 is back")
		l.set(only("v1"))
		c.take(routes)
		time.Sleep(10*time.Second - 1)
		c.nothing("v2 lingers")
		time.Sleep(time.Nanosecond)
		wantGone(c, "v2")
	})
}

// TestComesBackWhileItGoes: a cluster that is named again while its removal is on
// its way is made again first.
func TestComesBackWhileItGoes(t *testing.T) {
	both(t, Options{Linger: time.Second}, func(l *lab, delta bool) {
		l.set(weights(1, 1))
		c := l.dial("n", delta)
		c.settle()
		l.set(config{clusters: []string{"v1"}, routes: map[string]int{"v1": 1}})
		c.take(routes)
		time.Sleep(time.Second)
		held := c.next(clusters)
		l.set(weights(1, 2))
		c.nothing("it is just losing v2")
		c.ack(held)
		held = c.next(clusters)
		c.nothing("it has no v2 yet")
		c.ack(held)
		c.take(routes)
	})
}

// TestUnsure: after two refusals a proxy may have what either of them left it.
func TestUnsure(t *testing.T) {
	both(t, Options{Linger: time.Second, Resend: time.Hour}, func(l *lab, delta bool) {
		l.set(weights(1, 1))
		c := l.dial("n", delta)
		c.settle()
		l.set(config{clusters: []string{"v1"}, routes: map[string]int{"v1": 1}})
		c.take(routes)
		time.Sleep(time.Second)
		c.nack(c.next(clusters), "", "without v2")
		l.set(weights(1, 2))
		c.nack(c.next(clusters), "", "with it")
		c.nothing("it may have no v2")
		l.set(config{clusters: []string{"v1"}, routes: map[string]int{"v1": 2}})
		c.take(routes)
	})
}

// TestEachLingers: what left later leaves later, and what comes back as something
// else is that.
func TestEachLingers(t *testing.T) {
	both(t, Options{Linger: 10 * time.Second}, func(l *lab, delta bool) {
		three := config{clusters: []string{"v1", "v2", "v3"}, routes: map[string]int{"v1": 1}}
		l.set(three)
		c := l.dial("n", delta)
		c.settle()
		l.set(config{clusters: []string{"v1", "v2"}, routes: map[string]int{"v1": 1}})
		time.Sleep(5 * time.Second)
		l.set(config{clusters: []string{"v1"}, routes: map[string]int{"v1": 1}})
		time.Sleep(5 * time.Second)
		wantGone(c, "v3")
		time.Sleep(5*time.Second - 1)
		c.nothing("v2 lingers")
		time.Sleep(time.Nanosecond)
		wantGone(c, "v2")

		l.set(three)
		c.take(clusters)
		l.set(config{clusters: []string{"v1", "v2"}, routes: map[string]int{"v1": 1}})
		three.clusters[2] = "v3@81"
		l.set(three)
		if a := c.take(clusters); delta && !slices.Equal(a.names, []string{"v3"}) {
			l.Errorf("got %v, want v3 as it is now", a.names)
		}
		time.Sleep(time.Minute)
		c.nothing("v3 is back")
	})
}

// TestRetirementAfterComingRound: a proxy that accepts what was current, and is
// again, has what there is.
func TestRetirementAfterComingRound(t *testing.T) {
	both(t, Options{Linger: time.Second}, func(l *lab, delta bool) {
		l.set(weights(1, 1))
		c := l.dial("n", delta)
		c.settle()
		only := func(weight int) config { return config{clusters: []string{"v1"}, routes: map[string]int{"v1": weight}} }
		l.set(only(1))
		held := c.next(routes)
		l.set(only(2))
		l.set(only(1))
		time.Sleep(time.Minute)
		c.nothing("it has not accepted the routes")
		c.ack(held)
		wantGone(c, "v2")
	})
}

// TestSetsStay: while something is on its way out, what has not changed is not made
// anew with every change of routes, and what comes round is what it was.
func TestSetsStay(t *testing.T) {
	run(t, Options{Linger: 10 * time.Second}, func(l *lab) {
		sets := func() (world, latest *set) {
			l.mu.Lock() // what retires does so on a timer's goroutine
			defer l.mu.Unlock()
			return l.world.sets[clusters], l.latest.sets[clusters]
		}
		l.set(weights(1, 1))
		both, _ := sets()
		only := func(weight int) { l.set(config{clusters: []string{"v1"}, routes: map[string]int{"v1": weight}}) }
		only(1)
		if world, latest := sets(); world != both || latest == both {
			t.Error("v2 is on its way out, and the clusters are others")
		}
		l.set(config{clusters: []string{"v1", "v3"}, routes: map[string]int{"v1": 2}})
		three, _ := sets()
		l.set(config{clusters: []string{"v1", "v3"}, routes: map[string]int{"v1": 3}})
		if world, _ := sets(); world != three || len(three.list) != 3 {
			t.Error("only the routes changed, and the clusters are others")
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if world, latest := sets(); world != latest || len(world.list) != 2 {
			t.Errorf("nothing is on its way out, and the clusters are %v", world.versions)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.retired.first.IsZero() || len(l.retired.of[clusters]) != 0 {
			t.Errorf("on its way out is %+v", l.retired)
		}
	})
}

// wantGone takes the clusters, of which name is gone.
func wantGone(c *client, name string) {
	c.Helper()
	a := c.take(clusters)
	if slices.Contains(a.names, name) || c.delta && !slices.Equal(a.gone, []string{name}) {
		c.Fatalf("%s got %v without %v, want that %s goes", c.node, a.names, a.gone, name)
	}
}

// TestRetirementIsBounded: a proxy that never accepts anything does not make the
// Server keep everything there ever was.
func TestRetirementIsBounded(t *testing.T) {
	run(t, Options{}, func(l *lab) {
		l.set(weights(1, 1))
		c := l.dial("n", true)
		c.ask(clusters)
		c.ask(routes, "safestate")
		for i := range 2 * maxRetired {
			name := time.Duration(i).String()
			if err := l.Set(config{clusters: []string{name}, routes: map[string]int{name: 1}}.resources(), AtOnce); err != nil {
				l.Fatal(err)
			}
		}
		if n := len(l.world.sets[clusters].list); n > maxRetired+1 {
			l.Errorf("%d clusters are kept", n)
		}
	})
}

// TestServicesApart: a proxy that asks for clusters and routes on streams of
// their own gets the routes after the clusters too.
func TestServicesApart(t *testing.T) {
	both(t, Options{Linger: 10 * time.Second}, func(l *lab, delta bool) {
		l.set(config{clusters: []string{"v1"}, routes: map[string]int{"v1": 1}})
		alone := l.dialService("alone", delta, routes.url(), true) // clusters of its own
		alone.ask(routes, "safestate")
		alone.take(routes)
		c, r := l.dialService("n", delta, clusters.url(), true), l.dialService("n", delta, routes.url(), true)
		c.ask(clusters)
		c.take(clusters)
		r.ask(routes, "safestate")
		r.take(routes)

		l.set(config{clusters: []string{"v2"}, routes: map[string]int{"v2": 1}})
		alone.take(routes)
		held := c.next(clusters)
		r.nothing("the clusters are not accepted")
		c.ack(held)
		time.Sleep(time.Minute)
		c.nothing("the routes are not accepted")
		r.take(routes)
		wantGone(c, "v1")
	})
}

// TestEndpoints: those of a changed cluster come again after it, changed or not:
// a proxy uses the cluster only then.
func TestEndpoints(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		c := config{clusters: []string{"v1"}, eds: []string{"e1", "e2"}, routes: map[string]int{"v1": 1, "e1": 1}}
		l.set(c)
		p := l.dial("n", delta)
		p.ask(clusters)
		p.take(clusters)
		p.ask(endpoints, "e1", "e2")
		if a := p.take(endpoints); !slices.Equal(a.names, []string{"e1", "e2"}) {
			l.Errorf("got %v", a.names)
		}
		c.clusters[0] = "v1@81"
		l.set(c)
		p.take(clusters)
		p.nothing("no cluster with endpoints of its own changed")

		r := c.resources()
		r.Clusters[1].AltStatName = "changed"
		if err := l.Set(r, AtOnce); err != nil {
			l.Fatal(err)
		}
		p.wantBoth(clusters, endpoints, "e1")
	})
}

// wantBoth takes two answers that come without waiting for each other, the
// second with name.
func (c *client) wantBoth(first, second kind, name string) {
	c.Helper()
	synctest.Wait()
	c.mu.Lock()
	got := c.got
	c.got = nil
	c.mu.Unlock()
	if len(got) != 2 || got[0].kind != first || got[1].kind != second || !slices.Contains(got[1].names, name) {
		c.Fatalf("got %v, want %s and %s with %s", got, first, second, name)
	}
	c.ack(got[0])
	c.ack(got[1])
}

// TestHidden: what is for clients without a proxy goes to who asks for it by
// name, and a proxy that asks for everything does not notice it.
func TestHidden(t *testing.T) {
	both(t, Options{Linger: time.Second}, func(l *lab, delta bool) {
		with := func(names ...string) {
			r := weights(1, 1).resources()
			if len(names) > 0 {
				r.Proxyless = &envoy.Proxyless{Clusters: config{clusters: names}.resources().Clusters}
			}
			if err := l.Set(r, AtOnce); err != nil {
				l.Fatal(err)
			}
		}
		with("p1")
		proxy, client := l.dial("proxy", delta), l.dial("client", delta)
		proxy.ask(clusters)
		if a := proxy.take(clusters); !slices.Equal(a.names, []string{"v1", "v2"}) {
			l.Errorf("the proxy got %v", a.names)
		}
		client.ask(clusters, "p1", "v1")
		if a := client.take(clusters); !slices.Equal(a.names, []string{"p1", "v1"}) {
			l.Errorf("the client got %v", a.names)
		}
		with("p1@81", "p2")
		if a := client.take(clusters); !slices.Contains(a.names, "p1") {
			l.Errorf("the client got %v", a.names)
		}
		with()
		time.Sleep(time.Minute)
		wantGone(client, "p1")
		proxy.nothing("nothing of it is for a proxy")

		twice := weights(1, 1).resources()
		twice.Proxyless = &envoy.Proxyless{Clusters: twice.Clusters}
		if err := l.Set(twice, AtOnce); err == nil || !strings.Contains(err.Error(), "is there twice") {
			l.Errorf("one name for two: got %v", err)
		}
	})
}
