package xds

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestUnknownTypes are not answered, and harm nobody.
func TestUnknownTypes(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		l.set(weights(1, 1))
		c := l.dial("n", delta)
		for i := range 1000 {
			c.send(message{typeURL: "type.googleapis.com/unknown" + strconv.Itoa(i)})
		}
		c.nothing("there are no such types")
		c.settle()

		r := l.dialService("n", delta, routes.url(), true)
		r.ask(clusters)
		r.nothing("this stream is for routes")
		r.ask(routes, "safestate")
		r.take(routes)

		c.send(message{typeURL: " "}) // is one more that is not known
		c.nothing("there is no such type")
	})
}

// TestNoType: a stream of all types has to name one.
func TestNoType(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		l.set(weights(1, 1))
		c := l.dial("n", delta)
		c.sendRaw("")
		if err := c.closed(); status.Code(err) != codes.InvalidArgument {
			l.Errorf("the stream ended with %v", err)
		}
		r := l.dialService("n", delta, clusters.url(), true)
		r.sendRaw("")
		r.take(clusters)
	})
}

// TestManyNames: thousands are looked for, and more end the stream, at once or
// little by little.
func TestManyNames(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		l.set(weights(1, 1))
		names := func(n int, prefix string) (out []string) {
			for i := range n {
				out = append(out, prefix+strconv.Itoa(i))
			}
			return out
		}
		c := l.dial("n", delta)
		c.ask(routes, append(names(maxNames-1, "x"), "safestate")...)
		if a := c.take(routes); !slices.Equal(a.names, []string{"safestate"}) {
			l.Errorf("got %v", a.names)
		}
		l.set(weights(1, 2))
		c.take(routes)

		c.ask(secrets, names(maxNames+1, "x")...)
		if err := c.closed(); status.Code(err) != codes.ResourceExhausted {
			l.Errorf("too many at once: the stream ended with %v", err)
		}
		c = l.dial("n", delta)
		c.ask(secrets, strings.Repeat("x", maxName+1))
		if err := c.closed(); status.Code(err) != codes.InvalidArgument {
			l.Errorf("a long name: the stream ended with %v", err)
		}
		if delta {
			c = l.dial("n", delta)
			c.ask(secrets, names(maxNames, "x")...)
			c.ask(secrets, names(1, "y")...)
			if err := c.closed(); status.Code(err) != codes.ResourceExhausted {
				l.Errorf("too many in all: the stream ended with %v", err)
			}
			c = l.dial("n", delta)
			has := map[string]string{}
			for _, name := range names(maxNames+1, "x") {
				has[name] = "1"
			}
			c.send(message{kind: clusters, has: has})
			if err := c.closed(); status.Code(err) != codes.ResourceExhausted {
				l.Errorf("it came with too many: the stream ended with %v", err)
			}
		}
		long := strings.Repeat("x", maxName+1)
		for what, m := range map[string]message{
			"a resource whose name has":    {kind: clusters, has: map[string]string{long: "1"}},
			"a resource whose version has": {kind: clusters, has: map[string]string{"v1": long}},
			"version_info has":             {kind: clusters, version: long},
		} {
			if delta == (m.has == nil) {
				continue // is not in this protocol
			}
			c = l.dial("n", delta)
			c.send(m)
			if err := c.closed(); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), what+" 1025 bytes, at most 1024") {
				l.Errorf("%s: the stream ended with %v", what, err)
			}
		}
		well := l.dial("well", delta)
		well.settle()
	})
}

// TestUnsubscribe: what is asked for no longer is not sent, and is sent anew
// when it is asked for again.
func TestUnsubscribe(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		l.set(weights(1, 1))
		c := l.dial("n", delta)
		c.ask(clusters, "v1", "v2")
		first := c.take(clusters)
		if !slices.Equal(first.names, []string{"v1", "v2"}) {
			l.Fatalf("got %v", first.names)
		}
		drop := func(names ...string) {
			if delta {
				c.send(message{kind: clusters, dropped: names})
				return
			}
			c.asked[clusters] = []string{"v2"}
			c.send(message{kind: clusters, names: c.asked[clusters], version: first.version, nonce: first.nonce})
		}
		drop("v1")
		again := func(why string) {
			l.Helper()
			names := []string{"v1", "v2"}
			c.asked[clusters] = names
			if delta {
				c.ask(clusters, "v1")
				names = names[:1]
			} else {
				c.send(message{kind: clusters, names: names, version: first.version, nonce: first.nonce})
			}
			if first = c.take(clusters); !slices.Equal(first.names, names) {
				l.Errorf("%s: got %v", why, first.names)
			}
		}
		again("as it was")
		drop("v1")
		l.set(config{clusters: []string{"v1@1", "v2"}, routes: map[string]int{"v1": 1}})
		c.nothing("v1 is not asked for")
		if delta {
			drop("v1", "never asked for", "*")
		}
		again("as it is now")
	})
}

// TestSubscribedAgain: incrementally, a name that is asked for once more is sent once
// more, as the protocol has it: the proxy may have dropped what it had. What it came
// with is not.
func TestSubscribedAgain(t *testing.T) {
	run(t, Options{}, func(l *lab) {
		version := l.set(config{clusters: []string{"v1"}, eds: []string{"e1", "e2"}, routes: map[string]int{"v1": 1}}).Version()
		c := l.dial("n", true)
		has := map[string]string{"e1": l.world.sets[endpoints].byName["e1"].version}
		c.send(message{kind: endpoints, names: []string{"e1", "e2"}, has: has})
		if a := c.take(endpoints); !slices.Equal(a.names, []string{"e2"}) {
			l.Errorf("it came with e1, and got %v", a.names)
		}
		c.ask(endpoints, "e1")
		if a := c.take(endpoints); !slices.Equal(a.names, []string{"e1"}) {
			l.Errorf("got %v", a.names)
		}
		c.ask(routes, "safestate")
		first := c.next(routes)
		c.ask(routes, "safestate") // while they are on their way
		c.nothing("one answer at a time")
		c.ack(first)
		if a := c.take(routes); !slices.Equal(a.names, first.names) {
			l.Errorf("got %v", a.names)
		}
		c.nothing("it has all")
		l.wantProof(version, "1/1")
	})
}

// TestUnsubscribeFromAll: a resource that is asked for by everything and by name,
// and by name no longer, is sent once more, as the protocol has it.
func TestUnsubscribeFromAll(t *testing.T) {
	run(t, Options{}, func(l *lab) {
		l.set(weights(1, 1))
		c := l.dial("n", true)
		c.ask(clusters, "*", "v1")
		c.take(clusters)
		c.send(message{kind: clusters, dropped: []string{"v1"}})
		if a := c.take(clusters); !slices.Equal(a.names, []string{"v1"}) {
			l.Errorf("got %v", a.names)
		}
		c.send(message{kind: clusters, dropped: []string{"*"}})
		l.set(config{clusters: []string{"v1@1", "v2@1"}})
		c.nothing("nothing is asked for")
	})
}

// TestRoutesAreGone: state-of-the-world cannot say so, and says nothing.
func TestRoutesAreGone(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		l.set(weights(1, 1))
		c := l.dial("n", delta)
		c.settle()
		l.set(config{clusters: []string{"v1", "v2"}})
		if delta {
			if a := c.take(routes); !slices.Equal(a.gone, []string{"safestate"}) {
				l.Errorf("got %v without %v", a.names, a.gone)
			}
			return
		}
		c.nothing("it keeps what it has")
		l.set(weights(1, 1))
		c.nothing("it has kept them")
		l.set(weights(1, 2))
		c.take(routes)
	})
}

// TestByName is how gRPC's client asks: from the listener's name on, and each
// thing when it has learned of it. Nothing waits for what is not asked for.
func TestByName(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		l.set(weights(1, 0))
		c := l.dial("grpc", delta)
		c.ask(listeners, "traffic")
		c.take(listeners)
		c.ask(routes, "safestate")
		c.take(routes)
		c.ask(clusters, "v1")
		if a := c.take(clusters); !slices.Equal(a.names, []string{"v1"}) {
			l.Errorf("got %v", a.names)
		}
		c.ask(endpoints, "v1")
		if delta {
			c.take(endpoints) // that there are none
		}
		c.nothing("there are none")
		version := l.set(config{clusters: []string{"v1", "v3"}, routes: map[string]int{"v3": 1}}).Version()
		c.take(routes)
		c.nothing("v3 is not asked for yet")
		l.wantProof(version, "1/1")
	})
}

// TestMissing: a name that is asked for and does not exist is said to be gone, once,
// incrementally. State-of-the-world tells so by its answer of clusters and
// listeners; of the rest, and where an empty request asks for nothing, nothing is
// said.
func TestMissing(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		version := l.set(weights(1, 1)).Version()
		c := l.dial("n", delta)
		c.ask(listeners, "nobody's")
		if delta {
			c.nothing("it has just come, and may be about to be told of routes to it")
			time.Sleep(DefaultLinger)
		}
		if a := c.take(listeners); len(a.names) != 0 || delta && !slices.Equal(a.gone, []string{"nobody's"}) {
			l.Errorf("got %v without %v", a.names, a.gone)
		}
		c.ask(secrets)
		c.nothing("it asked for none")
		c.ask(routes, "nobody's")
		if delta {
			if a := c.take(routes); !slices.Equal(a.gone, []string{"nobody's"}) {
				l.Errorf("got %v without %v", a.names, a.gone)
			}
		}
		l.set(weights(1, 2))
		c.nothing("there are none of that name, as it knows")
		l.wantProof(version, "0/1; n: connected, not subscribed to routes")
	})
}
