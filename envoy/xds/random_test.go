package xds

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// follower is a proxy that takes its time, refuses now and then, and looks at
// what it has after every step.
type follower struct {
	*client
	clusters map[string]string // by name; of whole states without versions
	routes   map[string]string
	named    []string // the clusters that its routes name
	restarts int
}

// TestRandom has proxies of both protocols follow random configurations with
// random delays, refusals and reconnects: none ever routes to a cluster that it
// has not, and in the end all have the last configuration.
func TestRandom(t *testing.T) {
	for seed := range uint64(25) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			run(t, Options{Linger: 10 * time.Second, Resend: 30 * time.Second}, func(l *lab) {
				r := rand.New(rand.NewPCG(seed, seed))
				l.set(randomConfig(r))
				var all []*follower
				for i := range 6 {
					f := &follower{clusters: map[string]string{}, routes: map[string]string{}}
					f.connect(l, "n"+strconv.Itoa(i), i%2 == 0)
					all = append(all, f)
				}
				for range 400 {
					switch p := r.IntN(100); {
					case p < 10:
						l.set(randomConfig(r))
					case p < 15:
						time.Sleep(time.Duration(r.Int64N(int64(15 * time.Second))))
					case p < 17:
						all[r.IntN(3)*2].reconnect() // those by delta
					default:
						all[r.IntN(len(all))].step(r.IntN(100) < 10, r.IntN(2) == 0)
					}
				}
				last := config{clusters: []string{"a", "b"}, routes: map[string]int{"a": 1, "b": 1}}
				version := l.set(last).Version()
				for range 4 { // refusals are over, and what left lingers
					for _, f := range all {
						for f.step(false, false) {
						}
					}
					time.Sleep(time.Minute)
				}
				for _, f := range all {
					if got := slices.Sorted(maps.Keys(f.clusters)); !slices.Equal(got, last.clusters) || !slices.Equal(f.named, last.clusters) {
						t.Errorf("%s has %v and routes to %v", f.node, got, f.named)
					}
				}
				l.wantProof(version, fmt.Sprintf("%d/%d", len(all), len(all)))
			})
		})
	}
}

func randomConfig(r *rand.Rand) config {
	c := config{routes: map[string]int{}}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		if r.IntN(2) == 0 {
			continue
		}
		if r.IntN(2) == 0 {
			c.routes[name] = 1 + r.IntN(2)
		}
		c.clusters = append(c.clusters, name+"@"+strconv.Itoa(80+r.IntN(2)))
	}
	if len(c.routes) == 0 {
		c.routes["f"] = 1
		c.clusters = append(c.clusters, "f")
	}
	return c
}

func (f *follower) connect(l *lab, node string, delta bool) {
	f.client = l.dial(node, delta)
	f.send(message{kind: clusters, has: f.clusters})
	f.send(message{kind: listeners})
	f.asked[routes] = []string{"safestate"}
	f.send(message{kind: routes, names: f.asked[routes], has: f.routes})
}

func (f *follower) reconnect() {
	f.leave()
	f.restarts++
	f.connect(f.lab, f.node, f.delta)
}

// step takes the first answer that waits, if one does. Of what it refuses it
// may use a part.
func (f *follower) step(refuses, inPart bool) bool {
	synctest.Wait()
	f.mu.Lock()
	if len(f.got) == 0 {
		f.mu.Unlock()
		return false
	}
	a := f.got[0]
	f.got = f.got[1:]
	f.mu.Unlock()
	if !refuses || inPart && a.kind == clusters {
		f.apply(a)
	}
	if refuses {
		f.nack(a, "", "no")
	} else {
		f.ack(a)
	}
	return true
}

func (f *follower) apply(a answer) {
	f.Helper()
	of := map[kind]map[string]string{clusters: f.clusters, routes: f.routes}[a.kind]
	if of == nil {
		return
	}
	if !f.delta && a.kind == clusters {
		clear(of)
	}
	for _, name := range a.names {
		of[name] = a.has[name]
	}
	for _, name := range a.gone {
		delete(of, name)
	}
	if a.kind == routes {
		f.named = namedIn(a)
	}
	for _, name := range f.named {
		if _, ok := f.clusters[name]; !ok {
			f.Fatalf("%s, after %d reconnects and %s: it routes to %s and has %v", f.node, f.restarts, a.kind, name, f.clusters)
		}
	}
}

// namedIn are the clusters that the routes in an answer name.
func namedIn(a answer) (out []string) {
	var packed []*anypb.Any
	switch m := a.raw.(type) {
	case *discoveryv3.DiscoveryResponse:
		packed = m.GetResources()
	case *discoveryv3.DeltaDiscoveryResponse:
		for _, r := range m.GetResources() {
			packed = append(packed, r.GetResource())
		}
	}
	for _, p := range packed {
		var rc routev3.RouteConfiguration
		if err := p.UnmarshalTo(&rc); err != nil {
			panic(err)
		}
		for _, c := range rc.GetVirtualHosts()[0].GetRoutes()[0].GetRoute().GetWeightedClusters().GetClusters() {
			out = append(out, c.GetName())
		}
	}
	return out
}
