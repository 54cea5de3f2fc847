package xds

import (
	"strconv"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
)

// TestAnswersAreShared: proxies that need the same get the same bytes, made
// once, and resources that stay are not marshaled again.
func TestAnswersAreShared(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		l.set(weights(100, 0))
		a, b := l.dial("a", delta), l.dial("b", delta)
		a.settle()
		b.settle()
		old := l.world
		l.set(config{clusters: []string{"v1", "v2", "v3"}, routes: map[string]int{"v1": 1, "v2": 1}})
		for _, c := range []*client{a, b} {
			c.wantBoth(clusters, routes, "safestate")
		}
		for _, k := range []kind{clusters, routes} {
			var bodies []*body
			for s := range l.ledger.streams {
				bodies = append(bodies, s.subs[k].body)
			}
			if len(bodies) != 2 || bodies[0] != bodies[1] {
				l.Errorf("%s: the answers are not the same", k)
			}
			one, _ := bodies[0].wire()
			two, _ := bodies[1].wire()
			if len(one) == 0 || &one[0] != &two[0] {
				l.Errorf("%s: marshaled twice", k)
			}
		}
		if l.world.sets[clusters].byName["v1"] != old.sets[clusters].byName["v1"] || l.world.sets[listeners] != old.sets[listeners] {
			l.Error("what stayed was made again")
		}
	})
}

// TestCodec: what goes out is what any other codec would have sent.
func TestCodec(t *testing.T) {
	c, err := newContent(weights(100, 0).resources(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	s := newSet(clusters, c.part(clusters))
	for name, b := range map[string]*body{"delta": s.deltaBody(s.list, []string{"gone"}), "whole": s.wholeBody(s.list, s.version)} {
		var m, got proto.Message
		if b.delta != nil {
			d := proto.Clone(b.delta).(*discoveryv3.DeltaDiscoveryResponse)
			d.Nonce = "4711"
			m, got = d, &discoveryv3.DeltaDiscoveryResponse{}
		} else {
			w := proto.Clone(b.whole).(*discoveryv3.DiscoveryResponse)
			w.Nonce = "4711"
			m, got = w, &discoveryv3.DiscoveryResponse{}
		}
		e := &envelope{Message: m, body: b, nonce: "4711"}
		ours, err := Codec(protobuf()).Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := protobuf().Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := proto.Unmarshal(ours.Materialize(), got); err != nil || !proto.Equal(got, m) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
		if err := proto.Unmarshal(theirs.Materialize(), got); err != nil || !proto.Equal(got, m) {
			t.Errorf("%s, by gRPC's codec: got %v, %v", name, got, err)
		}
	}
	if b, err := Codec(protobuf()).Marshal(&discoveryv3.DiscoveryRequest{TypeUrl: "x"}); err != nil || b.Len() != 3 {
		t.Errorf("another message: %v, %v", b, err)
	}
}

// TestBodiesAreBounded: however proxies ask, what is kept for others is little.
func TestBodiesAreBounded(t *testing.T) {
	run(t, Options{}, func(l *lab) {
		var c config
		for i := range 3 * maxBodies {
			c.clusters = append(c.clusters, strconv.Itoa(i))
		}
		l.set(c)
		for _, name := range c.clusters {
			p := l.dial(name, false)
			p.ask(clusters, name)
			p.take(clusters)
		}
		of := l.world.sets[clusters]
		if n := len(of.bodies); n > maxBodies {
			l.Errorf("%d are kept", n)
		}
		// And those who ask like others are given what others are.
		for _, delta := range []bool{true, false} {
			for _, names := range [][]string{{"1", "2"}, nil} {
				a, b := l.dial("a", delta), l.dial("b", delta)
				var bodies []*body
				for _, p := range []*client{a, b} {
					p.ask(clusters, names...)
					p.take(clusters)
					l.mu.Lock()
					for s := range l.ledger.nodes[p.node].streams {
						bodies = append(bodies, s.subs[clusters].body)
					}
					l.mu.Unlock()
					p.leave()
				}
				if len(bodies) != 2 || bodies[0] != bodies[1] {
					l.Errorf("by delta %v, %v: the answers are not the same", delta, names)
				}
			}
		}
		if of.all[0] == nil || of.all[1] == nil {
			l.Error("the answers with everything are not kept for themselves")
		}
	})
}
