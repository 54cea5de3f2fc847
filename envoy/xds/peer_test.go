package xds

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// refused fails unless the stream was ended for want of room, with a text.
func (c *client) refused(text string) {
	c.Helper()
	if err := c.closed(); status.Code(err) != codes.ResourceExhausted || !strings.Contains(status.Convert(err).Message(), text) {
		c.Errorf("%s: the stream ended with %v, want %q", c.node, err, text)
	}
}

// TestNodesOfAHost: who makes up ids fills his own share and nobody's else, and what
// is known of others stays.
func TestNodesOfAHost(t *testing.T) {
	both(t, Options{PeerNodes: 3, Expect: 10 * time.Minute}, func(l *lab, delta bool) {
		first := l.set(weights(1, 1)).Version()
		silent := l.dialFrom("192.0.2.1", "silent", delta)
		silent.settle()
		silent.leave()
		version := l.set(weights(1, 2)).Version()
		join := func(host, node string) *client {
			l.Helper()
			c := l.dialFrom(host, node, delta)
			c.ask(clusters)
			return c
		}
		for i := range 3 {
			join("192.0.2.66", "made up "+strconv.Itoa(i)).leave()
		}
		join("192.0.2.66", "made up 3").refused(`the host "192.0.2.66" has 3 node ids, and no more are taken: a proxy that restarts has to keep its node.id`)
		if want := "made up 3 room: the host"; len(l.journal.denied) != 1 || !strings.HasPrefix(l.journal.denied[0], want) {
			l.Errorf("the observer was told %q", l.journal.denied)
		}
		if p := l.Proof(version); p.Expected != 4 || p.Missing[3].Node != "silent" {
			l.Errorf("the silent proxy is expected still, and the proof is %s", says(p))
		}
		join("192.0.2.66", "made up 1").take(clusters) // known
		join("192.0.2.2", "another's").take(clusters)
		join("192.0.2.1", "silent").take(clusters)

		time.Sleep(10 * time.Minute) // two of those that were made up are forgotten
		synctest.Wait()
		join("192.0.2.66", "made up 3").take(clusters)
		if p := l.Proof(first); p.Expected != 4 {
			l.Errorf("expected are %d: %s", p.Expected, says(p))
		}
		for _, p := range l.Proxies() {
			if !p.Connected {
				l.Errorf("%s is expected", p.Node)
			}
		}
		if n := l.ledger.accounts["host\x00192.0.2.66"]; n != (account{nodes: 2, streams: 2}) {
			l.Errorf("the host is charged with %+v", n)
		}
	})
}

// TestNodesOfACertificate: they are counted together wherever they come from.
func TestNodesOfACertificate(t *testing.T) {
	names := []string{"edge", "edge.example"}
	o := Options{PeerNodes: 2, Identity: func(context.Context) ([]string, bool) { return names, true }}
	both(t, o, func(l *lab, delta bool) {
		l.set(weights(1, 1))
		names = []string{"edge", "edge.example"}
		for host, node := range map[string]string{"192.0.2.1": "edge/1", "192.0.2.2": "edge.example"} {
			c := l.dialFrom(host, node, delta)
			c.ask(clusters)
			c.take(clusters)
		}
		c := l.dialFrom("192.0.2.3", "edge/2", delta)
		c.ask(clusters)
		c.refused(`the certificate of ["edge" "edge.example"] has 2 node ids`)
		names = []string{"other"}
		c = l.dialFrom("192.0.2.1", "other/1", delta)
		c.ask(clusters)
		c.take(clusters)
	})
}

// TestStreamsOfAPeer are bounded too, those that say nothing among them, and make
// room when they end.
func TestStreamsOfAPeer(t *testing.T) {
	both(t, Options{PeerNodes: 2}, func(l *lab, delta bool) {
		l.set(weights(1, 1))
		var all []*client
		for range 2 * streamsPerNode {
			all = append(all, l.dialFrom("192.0.2.1", "n", delta))
		}
		synctest.Wait()
		late := l.dialFrom("192.0.2.1", "late", delta)
		late.ask(clusters)
		late.refused(`the host "192.0.2.1" has 4 streams open`)
		if len(l.journal.denied) != 1 || !strings.HasPrefix(l.journal.denied[0], " room: ") {
			l.Errorf("the observer was told %q", l.journal.denied)
		}
		other := l.dialFrom("192.0.2.2", "other", delta)
		other.ask(clusters)
		other.take(clusters)
		all[0].leave()
		late = l.dialFrom("192.0.2.1", "late", delta)
		late.ask(clusters)
		late.take(clusters)
	})
}

// TestNodesAreBounded: where there are as many as are taken one more is refused, and
// none that is silent is forgotten for it. Those that another replica knows are
// expected all the same.
func TestNodesAreBounded(t *testing.T) {
	run(t, Options{}, func(l *lab) {
		version := l.set(weights(1, 1)).Version()
		for i := range maxNodes {
			l.Expect("n"+strconv.Itoa(i), time.Now())
		}
		c := l.dial("one more", true)
		c.ask(clusters)
		c.refused("25000 proxies are known, and no more are taken: one that is gone is forgotten after 10m0s, or when it is deregistered")
		l.Expect("elsewhere", time.Now())
		if p := l.Proof(version); p.Expected != maxNodes+1 {
			l.Errorf("%d are expected", p.Expected)
		}
		known := l.dial("n7", true)
		known.ask(clusters)
		known.take(clusters)
		for _, gone := range []string{"n8", "elsewhere"} {
			if err := l.Deregister(gone); err != nil {
				l.Error(err)
			}
		}
		c = l.dial("one more", true)
		c.ask(clusters)
		c.take(clusters)
	})
}
