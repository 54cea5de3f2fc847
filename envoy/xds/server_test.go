package xds

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/safestate/safestate/envoy"
)

// weights is two versions with these weights.
func weights(one, two int) config {
	return config{clusters: []string{"v1", "v2"}, routes: map[string]int{"v1": one, "v2": two}}
}

// TestFailStatic: before the first Set nothing is answered, and no Set that is
// refused changes anything.
func TestFailStatic(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		c := l.dial("n", delta)
		c.ask(clusters)
		c.ask(listeners)
		c.ask(routes, "safestate")
		c.nothing("nothing was Set")
		if err := l.Set(&envoy.Resources{}, AtOnce); !errors.Is(err, ErrEmpty) {
			l.Errorf("an empty configuration: got %v", err)
		}
		c.nothing("nothing good was Set")

		l.set(weights(100, 0))
		c.take(clusters)
		c.take(listeners)
		c.take(routes)
		was := l.Version()
		for name, r := range map[string]*envoy.Resources{
			"which does not exist": config{clusters: []string{"v1"}, routes: map[string]int{"v2": 1}}.resources(),
			"nothing is published": {},
			"invalid Cluster.Name": {Clusters: []*clusterv3.Cluster{{}}},
			"is there twice":       {Listeners: append(weights(1, 1).resources().Listeners, weights(1, 1).resources().Listeners...)},
		} {
			if err := l.Set(r, AtOnce); err == nil || !strings.Contains(err.Error(), name) {
				l.Errorf("want %q, got %v", name, err)
			}
		}
		if l.Version() != was {
			l.Error("the version changed")
		}
		c.nothing("every Set was refused")
	})
}

// TestSameContentIsNotSentAgain: not by another Set, and not to a proxy that
// comes back with it.
func TestSameContentIsNotSentAgain(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		l.set(weights(90, 10))
		c := l.dial("n", delta)
		c.ask(clusters)
		first := c.take(clusters)
		c.ask(listeners)
		second := c.take(listeners)
		l.set(weights(90, 10))
		c.nothing("the same content")
		l.set(weights(80, 20)) // routes, of which it wants none
		c.nothing("other types changed")

		c.leave()
		c = l.dial("n", delta)
		c.send(message{kind: clusters, version: first.version, has: first.has})
		c.send(message{kind: listeners, version: second.version, has: second.has})
		c.nothing("it came with what there is")
		for _, p := range l.Proxies() {
			for _, typ := range p.Streams[0].Types {
				if typ.Accepted == "" || typ.Accepted != typ.Sent {
					l.Errorf("it has %s, and the ledger says %+v", typ.TypeURL, typ)
				}
			}
		}
		l.set(config{clusters: []string{"v1@81", "v2"}, routes: map[string]int{"v1": 1, "v2": 1}})
		if a := c.next(clusters); delta && !slices.Equal(a.names, []string{"v1"}) {
			l.Errorf("got %v, want the one that changed", a.names)
		}
	})
}

// TestCoalesced: what changes within the window is one push, and what is urgent
// carries what waits.
func TestCoalesced(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		l.set(weights(100, 0))
		c := l.dial("n", delta)
		c.settle()
		set := func(u Urgency, one, two int) *envoy.Resources {
			r := weights(one, two).resources()
			if err := l.Set(r, u); err != nil {
				l.Fatal(err)
			}
			if l.Version() != r.Version() {
				l.Errorf("the version is %s, want the last Set's", l.Version())
			}
			return r
		}
		set(Coalesced, 90, 10)
		time.Sleep(CoalesceWindow / 2)
		set(Coalesced, 80, 20)
		time.Sleep(CoalesceWindow/2 - 1)
		last := set(Coalesced, 70, 30)
		c.nothing("the window is open")
		time.Sleep(time.Nanosecond)
		if a := c.take(routes); a.version != routesVersion(last) {
			l.Error("it is not the last one")
		}
		time.Sleep(time.Second)
		c.nothing("one push")

		set(Coalesced, 60, 40)
		set(AtOnce, 50, 50)
		if a := c.take(routes); a.version != routesVersion(weights(50, 50).resources()) {
			l.Error("it is not the urgent one")
		}
		time.Sleep(time.Second)
		c.nothing("what waited went with it")

		set(Coalesced, 1, 2)
		set(Coalesced, 50, 50)
		time.Sleep(time.Second)
		c.nothing("it came back to what the proxy has")
	})
}

func routesVersion(r *envoy.Resources) string {
	c, err := newContent(r, "", nil)
	if err != nil {
		panic(err)
	}
	return c.sets[routes].version
}

// TestOnlyTheNewest: a proxy that reads nothing, or answers nothing, has nothing
// queued, and delays nobody.
func TestOnlyTheNewest(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		l.set(weights(100, 0))
		slow, quick := l.dial("slow", delta), l.dial("quick", delta)
		slow.settle()
		quick.settle()
		var held answer
		for i := range 50 {
			l.set(weights(99-i, 1+i))
			quick.take(routes)
			if i == 0 {
				held = slow.next(routes)
			}
		}
		slow.nothing("it has not answered the first")
		slow.ack(held)
		if a := slow.take(routes); a.version != routesVersion(weights(50, 50).resources()) {
			l.Error("it is not the newest")
		}
		slow.nothing("that was the newest")
	})
}

// TestUnread: a proxy that reads nothing holds up nobody, neither by what it was
// sent nor by what it asks for, and its stream ends with the Server.
func TestUnread(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		big := config{routes: map[string]int{}}
		for i := range 2000 {
			name := strings.Repeat("x", 200) + string(rune('a'+i%26)) + time.Duration(i).String()
			big.clusters = append(big.clusters, name)
			big.routes[name] = 1
		}
		l.set(big)
		stuck := l.dialService("stuck", delta, aggregated, false)
		stuck.ask(clusters)
		for range 20 {
			stuck.send(message{kind: listeners})
			stuck.send(message{kind: routes, names: []string{"safestate"}})
		}
		c := l.dial("n", delta)
		c.settle()
		l.set(weights(1, 1))
		c.take(clusters)
		c.take(routes)
		for range 100 {
			l.set(weights(1, 2))
			c.take(routes)
			l.set(weights(2, 1))
			c.take(routes)
		}
		l.Close()
		if err := c.closed(); status.Code(err) != codes.Unavailable {
			l.Errorf("the stream ended with %v", err)
		}
	})
}

// TestOvertaken: routes that wait behind an answer which the proxy does not read
// go out as they were where the newest have to wait for clusters.
func TestOvertaken(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		world := config{clusters: []string{"v1"}, eds: []string{"e"}, routes: map[string]int{"v1": 1}}
		l.set(world)
		c := l.dialService("n", delta, aggregated, false)
		for _, k := range []kind{clusters, endpoints, routes} {
			c.ask(k, map[kind][]string{endpoints: {"e"}, routes: {"safestate"}}[k]...)
			c.readOne()
			c.take(k)
		}
		// The clusters fill the connection, the endpoints wait for room, and the
		// routes wait for them.
		for i := range 2000 {
			world.clusters = append(world.clusters, strings.Repeat("x", 200)+strconv.Itoa(i))
		}
		world.routes["v1"] = 2
		second := world.resources()
		second.Endpoints[0].Policy = &endpointv3.ClusterLoadAssignment_Policy{WeightedPriorityHealth: true}
		if err := l.Set(second, AtOnce); err != nil {
			l.Fatal(err)
		}
		synctest.Wait()
		world.clusters = append(world.clusters, "v2")
		world.routes = map[string]int{"v2": 1}
		third := world.resources()
		third.Endpoints = second.Endpoints
		if err := l.Set(third, AtOnce); err != nil {
			l.Fatal(err)
		}
		for range 3 {
			c.readOne()
		}
		c.mu.Lock()
		got := c.got
		c.got = nil
		c.mu.Unlock()
		if got[0].kind != clusters || got[1].kind != endpoints || got[2].kind != routes || got[2].version != routesVersion(second) {
			l.Fatalf("got %s %s %s, of %s", got[0].kind, got[1].kind, got[2].kind, got[2].version)
		}
		go c.read()
		c.ack(got[1])
		c.ack(got[2])
		c.nothing("v2 is not accepted")
		c.ack(got[0])
		c.take(clusters)
		if a := c.take(routes); a.version != routesVersion(third) {
			l.Error("these are not the newest")
		}
	})
}

// TestClose: streams end, none begins, and nothing is pushed.
func TestClose(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		l.set(weights(100, 0))
		c := l.dial("n", delta)
		c.settle()
		if err := l.Set(weights(0, 100).resources(), Coalesced); err != nil {
			l.Fatal(err)
		}
		l.Close()
		time.Sleep(time.Second)
		if err := c.closed(); status.Code(err) != codes.Unavailable {
			l.Errorf("the stream ended with %v", err)
		}
		c.nothing("it is closed")
		late := l.dial("late", delta)
		late.ask(clusters)
		if err := late.closed(); status.Code(err) != codes.Unavailable {
			l.Errorf("a stream began, and ended with %v", err)
		}
		synctest.Wait()
	})
}
