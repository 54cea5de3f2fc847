package xds

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRefusedIsParked: a refused version is not sent again but once in Resend,
// a newer one at once, and neither the ledger nor the observer takes a refusal
// for an acceptance.
func TestRefusedIsParked(t *testing.T) {
	both(t, Options{Resend: 30 * time.Second}, func(l *lab, delta bool) {
		first := routesVersion(l.set(weights(100, 0)))
		c := l.dial("n", delta)
		c.settle()
		bad := routesVersion(l.set(weights(90, 10)))
		for i := range 3 {
			c.nack(c.next(routes), first, "no such\nthing")
			c.nothing("it refused that")
			time.Sleep(30*time.Second - 1)
			c.nothing("it refused that a while ago")
			if got := l.journal.refusals(); len(got) != i+1 || got[i] != "n "+routes.url()+" "+bad+" no such thing" {
				l.Fatalf("the observer was told %q", got)
			}
			time.Sleep(time.Nanosecond)
		}
		typ := l.typ("n", routes)
		if typ.Accepted != first || typ.Refused != bad || typ.Message != "no such thing" || typ.Nacks != 3 || typ.Acks != 1 {
			l.Errorf("the ledger has %+v", typ)
		}
		c.nack(c.next(routes), first, "again")
		good := routesVersion(l.set(weights(80, 20)))
		c.take(routes)
		if typ := l.typ("n", routes); typ.Accepted != good || typ.Refused != "" || typ.Message != "" {
			l.Errorf("the ledger has %+v", typ)
		}

		// The refused one once more, before its time: it is parked still, and
		// the refusal stands.
		l.set(weights(90, 10))
		c.nothing("it refused that")
		if typ := l.typ("n", routes); typ.Refused != bad || typ.Message != "again" {
			l.Errorf("the ledger has %+v", typ)
		}
		l.set(weights(80, 20))
		time.Sleep(time.Hour)
		c.nothing("it has that")
		l.set(weights(90, 10))
		c.take(routes)
		if typ := l.typ("n", routes); typ.Accepted != bad || typ.Refused != "" {
			l.Errorf("the ledger has %+v", typ)
		}
	})
}

// typ is what the ledger has of a node's first stream.
func (l *lab) typ(node string, k kind) Type {
	l.Helper()
	for _, p := range l.Proxies() {
		if p.Node == node {
			for _, typ := range p.Streams[0].Types {
				if typ.TypeURL == k.url() {
					return typ
				}
			}
		}
	}
	l.Fatalf("no %s of %s in the ledger", k, node)
	return Type{}
}

// TestRefusedDelta: nobody knows which part of a refused answer a proxy has
// taken, so that all of it is sent again with the next version.
func TestRefusedDelta(t *testing.T) {
	run(t, Options{}, func(l *lab) {
		l.set(config{clusters: []string{"a", "b", "c"}})
		c := l.dial("n", true)
		c.ask(clusters)
		c.take(clusters)
		l.set(config{clusters: []string{"a@1", "b@1", "c"}})
		c.nack(c.next(clusters), "", "b")
		l.set(config{clusters: []string{"a@1", "b", "c"}})
		if a := c.take(clusters); strings.Join(a.names, " ") != "a b" {
			l.Errorf("got %v, want both that were refused", a.names)
		}
	})
}

// TestRefusedRemoval: and what was to be taken away is taken away again.
func TestRefusedRemoval(t *testing.T) {
	run(t, Options{Linger: time.Second}, func(l *lab) {
		l.set(config{clusters: []string{"a", "b"}})
		c := l.dial("n", true)
		c.ask(clusters)
		c.take(clusters)
		time.Sleep(time.Minute)
		l.set(config{clusters: []string{"a"}})
		time.Sleep(time.Minute)
		held := c.next(clusters)
		if strings.Join(held.gone, " ") != "b" {
			l.Fatalf("%v is gone", held.gone)
		}
		c.nack(held, "", "no")
		l.set(config{clusters: []string{"a@1"}})
		if a := c.take(clusters); strings.Join(a.gone, " ") != "b" || strings.Join(a.names, " ") != "a" {
			l.Errorf("got %v without %v", a.names, a.gone)
		}
	})
}

// TestRefusedNothing: an answer with nothing in it can be refused as well.
func TestRefusedNothing(t *testing.T) {
	both(t, Options{Linger: time.Second}, func(l *lab, delta bool) {
		l.set(config{clusters: []string{"v1"}})
		c := l.dial("n", delta)
		c.ask(clusters)
		c.take(clusters)
		time.Sleep(time.Minute)
		l.set(config{})
		time.Sleep(time.Minute)
		c.nack(c.next(clusters), "", "no")
		c.nothing("it refused that")
		time.Sleep(DefaultResend)
		c.take(clusters)
		time.Sleep(time.Hour)
		c.nothing("it has nothing")
	})
}

// TestRefusedClustersStay: while a proxy stands by its refusal of clusters, none
// is retired: it would be brought the refused ones again.
func TestRefusedClustersStay(t *testing.T) {
	both(t, Options{Linger: 10 * time.Second, Resend: time.Hour}, func(l *lab, delta bool) {
		l.set(config{clusters: []string{"v1", "v2"}, routes: map[string]int{"v2": 1}})
		c := l.dial("n", delta)
		c.settle()
		l.set(config{clusters: []string{"v2@1"}, routes: map[string]int{"v2": 1}})
		c.nack(c.next(clusters), "", "no")
		time.Sleep(time.Minute)
		c.nothing("its refusal stands")
		l.set(config{clusters: []string{"v2"}, routes: map[string]int{"v2": 1}})
		c.take(clusters)
		wantGone(c, "v1")
	})
}

// TestOnlyItsOwnAnswer: an acceptance counts for the answer that it is about
// and for no other.
func TestOnlyItsOwnAnswer(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		first := routesVersion(l.set(weights(100, 0)))
		c := l.dial("n", delta)
		c.ask(clusters)
		c.take(clusters)
		c.ask(listeners)
		c.take(listeners)
		c.ask(routes, "safestate")
		old := c.take(routes)
		second := routesVersion(l.set(weights(90, 10)))
		held := c.next(routes)
		for name, nonce := range map[string]string{"an older nonce": old.nonce, "no nonce": "", "a nonce that was never sent": "4711"} {
			m := message{kind: routes, nonce: nonce, names: []string{"safestate"}}
			if !delta {
				m.version = second
			}
			c.send(m)
			if typ := l.typ("n", routes); typ.Accepted != first || !typ.Waiting {
				l.Fatalf("%s: the ledger has %+v", name, typ)
			}
			m.refusal = "no"
			c.send(m)
			if typ := l.typ("n", routes); typ.Refused != "" || typ.Nacks != 0 {
				l.Fatalf("%s: the ledger has %+v", name, typ)
			}
		}
		if delta {
			c.ack(held)
		} else {
			// The nonce is right and the version another: the old way to refuse.
			c.send(message{kind: routes, nonce: held.nonce, version: first, names: []string{"safestate"}})
			if typ := l.typ("n", routes); typ.Accepted != first || typ.Refused != second {
				l.Fatalf("the ledger has %+v", typ)
			}
			time.Sleep(DefaultResend)
			c.take(routes)
		}
		if typ := l.typ("n", routes); typ.Accepted != second {
			l.Errorf("the ledger has %+v", typ)
		}
		synctest.Wait()
	})
}

// TestManyRefusals: what is remembered of them is bounded.
func TestManyRefusals(t *testing.T) {
	run(t, Options{}, func(l *lab) {
		l.set(weights(100, 0))
		c := l.dial("n", true)
		c.settle()
		for i := range 3 * maxRefusals {
			l.set(weights(90, i+1))
			c.nack(c.next(routes), "", strings.Repeat("é", maxMessage))
		}
		for s := range l.ledger.streams {
			if n := len(s.subs[routes].refusals); n != maxRefusals {
				l.Errorf("%d are parked", n)
			}
		}
		if n := len(l.typ("n", routes).Message); n > maxMessage+len("…") {
			l.Errorf("the message has %d bytes", n)
		}
	})
}
