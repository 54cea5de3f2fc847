package xds

import (
	"slices"
	"testing"
	"time"
)

// TestReturn: a proxy that comes back with what it had is led to the new
// routes before it loses a cluster that only its old ones name.
func TestReturn(t *testing.T) {
	run(t, Options{Linger: 10 * time.Second}, func(l *lab) {
		l.set(config{clusters: []string{"v2"}, routes: map[string]int{"v2": 1}})
		c := l.dial("n", true)
		c.send(message{kind: clusters, has: map[string]string{"v1": "older"}})
		if a := c.take(clusters); len(a.gone) > 0 || !slices.Equal(a.names, []string{"v2"}) {
			l.Fatalf("it got %v and lost %v", a.names, a.gone)
		}
		c.send(message{kind: listeners, has: map[string]string{"traffic": "older"}})
		c.take(listeners)
		c.send(message{kind: routes, names: []string{"safestate"}, has: map[string]string{"safestate": "older"}})
		held := c.next(routes)
		time.Sleep(time.Minute)
		c.nothing("it may still route by what it had")
		c.ack(held)
		wantGone(c, "v1")
		c.nothing("it is settled")
	})
}

// TestReturnApart: on streams of their own just as well.
func TestReturnApart(t *testing.T) {
	run(t, Options{Linger: 10 * time.Second}, func(l *lab) {
		l.set(config{clusters: []string{"v2"}, routes: map[string]int{"v2": 1}})
		c, r := l.dialService("n", true, clusters.url(), true), l.dialService("n", true, routes.url(), true)
		c.send(message{kind: clusters, has: map[string]string{"v1": "older"}})
		c.take(clusters)
		r.send(message{kind: routes, names: []string{"safestate"}, has: map[string]string{"safestate": "older"}})
		held := r.next(routes)
		time.Sleep(time.Minute)
		c.nothing("it may still route by what it had")
		r.ack(held)
		wantGone(c, "v1")
	})
}

// TestReturnWithoutRoutes: one that takes no routes loses it after Linger.
func TestReturnWithoutRoutes(t *testing.T) {
	run(t, Options{Linger: 10 * time.Second}, func(l *lab) {
		l.set(config{clusters: []string{"v2"}, routes: map[string]int{"v2": 1}})
		c := l.dialService("n", true, clusters.url(), true)
		c.send(message{kind: clusters, has: map[string]string{"v1": "older"}})
		c.take(clusters)
		time.Sleep(10*time.Second - 1)
		c.nothing("it may ask for routes yet")
		time.Sleep(time.Nanosecond)
		wantGone(c, "v1")
	})
}

// TestReturnWithMore: one that came with everything there is, and more.
func TestReturnWithMore(t *testing.T) {
	run(t, Options{Linger: 10 * time.Second}, func(l *lab) {
		l.set(config{clusters: []string{"v2"}, routes: map[string]int{"v2": 1}})
		has := l.world.sets[clusters].versions["v2"]
		c := l.dialService("n", true, clusters.url(), true)
		c.send(message{kind: clusters, has: map[string]string{"v1": "older", "v2": has}})
		c.nothing("it has what there is")
		time.Sleep(10 * time.Second)
		wantGone(c, "v1")
	})
}
