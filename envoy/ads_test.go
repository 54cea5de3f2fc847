package envoy

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/safestate/safestate/internal/compile"
)

// journal is an Observer that remembers.
type journal struct {
	mu      sync.Mutex
	refused []string
	took    map[string]bool // type and version
}

func (j *journal) Accepted(_, typeURL, version string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.took == nil {
		j.took = map[string]bool{}
	}
	j.took[typeURL+" "+version] = true
}

func (j *journal) Refused(node, typeURL, _, message string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.refused = append(j.refused, node+" "+typeURL+" "+message)
}

func (j *journal) accepted(typeURL, version string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.took[typeURL+" "+version]
}

func (j *journal) refusals() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.refused, "\n")
}

// serveADS runs an ADS with a processor on one gRPC server, as safestate does.
func serveADS(t *testing.T, addr string, o ADSOptions) *ADS {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	a := NewADS(o)
	s := grpc.NewServer()
	a.Register(s)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { a.Close(); s.Stop() })
	return a
}

func startADS(t *testing.T, o Options) *proxy {
	t.Helper()
	b, err := Bootstrap(o)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, b, o)
}

func rendered(t *testing.T, s *compile.Snapshot, o Options) *Resources {
	t.Helper()
	r, err := Render(s, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestADS: a real Envoy takes its configuration, changes of weight and of
// versions without dropping a request, keeps the last good one when a change
// is refused, and goes on when ADS is gone.
func TestADS(t *testing.T) {
	o := testOptions(t)
	o.MessageTimeout = 5 * time.Second
	o.XDS = freeAddress(t)
	startProcessor(t, o.Processor, nil)
	j := &journal{}
	a := serveADS(t, o.XDS, ADSOptions{Linger: 200 * time.Millisecond, Observer: j})
	blue, green := newModel(t, nil), newModel(t, nil)
	v1, v2 := version("v1", blue.addr), version("v2", green.addr)

	if err := a.Set(rendered(t, snapshot(t, enforced(nil), v1), o)); err != nil {
		t.Fatal(err)
	}
	p := startADS(t, o)
	eventually(t, "the first answer", func() bool {
		r, err := p.try("POST", inferPath, strings.NewReader("{}"))
		return err == nil && r.status == 200 && r.body == clean && r.source() == ""
	})

	// Load while everything changes.
	var sent, bad atomic.Int64
	var firstBad atomic.Pointer[string]
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for ctx.Err() == nil {
				r, err := p.try("POST", inferPath, strings.NewReader("{}"))
				sent.Add(1)
				if err != nil || r.status != 200 || r.body != clean {
					bad.Add(1)
					text := fmt.Sprintf("%v %d %q %s", err, r.status, r.body, r.reason())
					firstBad.CompareAndSwap(nil, &text)
				}
			}
		})
	}
	change := func(what string, versions ...compile.Cluster) *Resources {
		t.Helper()
		r := rendered(t, snapshot(t, enforced(unhurried), versions...), o)
		if err := a.Set(r); err != nil {
			t.Fatal(err)
		}
		eventually(t, what+" is accepted", func() bool { return j.accepted(resourcev3.RouteType, routesVersion(r)) })
		return r
	}
	for i := range 10 {
		if i%2 == 0 {
			change("v2 in front", v2, v1)
		} else {
			change("v1 alone", v1) // v2 leaves altogether
		}
	}
	change("v2 alone", v2)
	before := blue.calls.Load()
	eventually(t, "v1 gets nothing more, and leaves", func() bool {
		now := blue.calls.Load()
		quiet := now == before
		before = now
		return quiet && !strings.Contains(p.adminGet("/clusters"), "default/fraud/v1")
	})
	stop()
	load.Wait()
	if bad.Load() != 0 || sent.Load() < 20 {
		t.Errorf("%d of %d requests failed, the first: %s", bad.Load(), sent.Load(), deref(firstBad.Load()))
	}
	if green.calls.Load() == 0 {
		t.Error("v2 was never asked")
	}

	t.Run("a route to a missing cluster is refused here", func(t *testing.T) {
		r := rendered(t, snapshot(t, enforced(nil), v2), o)
		bad := &Resources{Listeners: r.Listeners, Routes: r.Routes}
		was := a.Version()
		err := a.Set(bad)
		if err == nil || !strings.Contains(err.Error(), `names cluster "default/fraud/v2", which does not exist`) {
			t.Errorf("got %v", err)
		}
		if a.Version() != was {
			t.Error("the version changed")
		}
		if r := p.post(); r.body != clean {
			t.Errorf("got %d %q", r.status, r.body)
		}
	})

	t.Run("Envoy refuses and keeps the last good", func(t *testing.T) {
		r := rendered(t, snapshot(t, enforced(nil), v2), o)
		broken := proto.Clone(r.Routes[0]).(*routev3.RouteConfiguration)
		// Envoy's API allows any text here; only Envoy itself compiles it.
		broken.VirtualHosts[0].Routes[0].Match.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: regex("(")}
		if err := a.Set(&Resources{Listeners: r.Listeners, Routes: []*routev3.RouteConfiguration{broken}, Clusters: r.Clusters}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the refusal with Envoy's message", func() bool {
			return strings.Contains(j.refusals(), "safestate "+resourcev3.RouteType+" ") && strings.Contains(j.refusals(), "missing )")
		})
		var stands bool
		for _, s := range a.Proxies() {
			stands = stands || s.TypeURL == resourcev3.RouteType && s.Refused > 0 && s.Message != "" && s.RefusedVersion != ""
		}
		if !stands {
			t.Errorf("no refusal in %+v", a.Proxies())
		}
		if r := p.post(); r.body != clean {
			t.Errorf("got %d %q", r.status, r.body)
		}
		if n := strings.Count(j.refusals(), "\n"); n > 3 {
			t.Errorf("the refused version was sent %d times", n)
		}
		change("the good one again", v2)
	})

	t.Run("ADS is gone", func(t *testing.T) {
		a.Close()
		for range 20 {
			if r := p.post(); r.body != clean {
				t.Fatalf("got %d %q", r.status, r.body)
			}
		}
	})
}

func deref(s *string) string {
	if s == nil {
		return "none"
	}
	return *s
}

// TestSetIsIdempotent: the same content is the same version, and is not sent
// again.
func TestSetIsIdempotent(t *testing.T) {
	o := Options{}
	s := snapshot(t, enforced(nil), version("v1", "127.0.0.1:9001"))
	one, two := rendered(t, s, o), rendered(t, s, o)
	if one.Version() != two.Version() {
		t.Fatalf("equal snapshots, versions %s and %s", one.Version(), two.Version())
	}
	other := rendered(t, snapshot(t, enforced(nil), version("v1", "127.0.0.1:9002")), o)
	if other.Version() == one.Version() {
		t.Error("another endpoint, the same version")
	}
	if routesVersion(other) != routesVersion(one) {
		t.Error("another endpoint changed the routes' version")
	}
}

// TestRetirement: a cluster leaves after Linger, and not before every proxy
// has accepted routes without it.
func TestRetirement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewADS(ADSOptions{Linger: 10 * time.Second})
		defer a.Close()
		v1, v2 := version("v1", "127.0.0.1:9001"), version("v2", "127.0.0.1:9002")
		has := func(name string) bool {
			s, err := a.cache.GetSnapshot(everyNode)
			if err != nil {
				t.Fatal(err)
			}
			return s.GetResources(resourcev3.ClusterType)[name] != nil
		}
		set := func(versions ...compile.Cluster) *Resources {
			r := rendered(t, snapshot(t, enforced(nil), versions...), Options{})
			if err := a.Set(r); err != nil {
				t.Fatal(err)
			}
			return r
		}
		key := streamKey{delta: true, id: 1}
		node := &corev3.Node{Id: "n"}
		told := func(r *Resources, nonce string) {
			a.ledger.response(key, resourcev3.RouteType, nonce, routesVersion(r))
		}
		says := func(nonce string, refusal *rpcstatus.Status) {
			a.ledger.request(key, node, resourcev3.RouteType, nonce, refusal)
			synctest.Wait()
		}

		first := set(v1)
		told(first, "1")
		says("1", nil)
		second := set(v2)
		told(second, "2")
		time.Sleep(time.Minute)
		synctest.Wait()
		if !has("default/fraud/v1") {
			t.Fatal("v1 left before the proxy accepted the routes without it")
		}
		says("2", &rpcstatus.Status{Message: "no"})
		if !has("default/fraud/v1") {
			t.Fatal("v1 left although the proxy refused the routes without it")
		}
		third := set(v2, v1)
		fourth := set(v2)
		told(third, "3")
		told(fourth, "4")
		says("4", nil)
		if !has("default/fraud/v1") {
			t.Fatal("v1 left before its linger")
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if has("default/fraud/v1") || !has("default/fraud/v2") {
			t.Fatal("v1 is still there, or v2 is not")
		}
	})
}

// TestRefusedIsParked: over the state-of-the-world protocol a refused version
// is not sent again and again.
func TestRefusedIsParked(t *testing.T) {
	j := &journal{}
	addr := freeAddress(t)
	a := serveADS(t, addr, ADSOptions{Observer: j})
	if err := a.Set(rendered(t, snapshot(t, enforced(nil), version("v1", "127.0.0.1:9001")), Options{})); err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	send := func(r *discoveryv3.DiscoveryRequest) {
		r.TypeUrl = resourcev3.ClusterType
		if err := stream.Send(r); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan *discoveryv3.DiscoveryResponse, 100)
	go func() {
		for {
			r, err := stream.Recv()
			if err != nil {
				close(got)
				return
			}
			got <- r
		}
	}()
	send(&discoveryv3.DiscoveryRequest{Node: &corev3.Node{Id: "sotw"}})
	first := <-got
	send(&discoveryv3.DiscoveryRequest{ResponseNonce: first.GetNonce(), ErrorDetail: &rpcstatus.Status{Message: "no such thing"}})
	eventually(t, "the refusal is booked", func() bool { return strings.Contains(j.refusals(), "sotw "+resourcev3.ClusterType+" no such thing") })

	// Only a new version ends the wait; whatever came before it would be first
	// in the channel.
	if err := a.Set(rendered(t, snapshot(t, enforced(nil), version("v1", "127.0.0.1:9002")), Options{})); err != nil {
		t.Fatal(err)
	}
	if second := <-got; second.GetVersionInfo() == first.GetVersionInfo() {
		t.Fatal("the refused version came again")
	}
}
