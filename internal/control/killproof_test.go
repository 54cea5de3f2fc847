package control

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/probe"
)

// What a worker shows are its routes. Its clusters it has by then only if the proxy
// had acknowledged both: until then it is not asked, so that no answer from before
// counts.
func TestAProxyIsAskedOnceItHasAcknowledgedEverything(t *testing.T) {
	var asked atomic.Int64
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set(envoy.ProbeNode, "edge")
		fmt.Fprint(w, `{"killGeneration":1,"set":"these"}`)
	}))
	defer listener.Close()
	s := xds.New(xds.Options{})
	defer s.Close()
	p := newKillProofs(s, listener.Listener.Addr().String())
	edge := connectTo(t, s)
	publish(t, s, false)
	edge.subscribe(resourcev3.ClusterType)
	edge.accept(edge.next(resourcev3.ClusterType))
	edge.subscribe(resourcev3.RouteType, envoy.RouteConfigName)
	edge.accept(edge.next(resourcev3.RouteType))

	p.expect(compile.Kills{Enforced: "these"}, true, publish(t, s, true))
	clusters, routes := edge.next(resourcev3.ClusterType), edge.next(resourcev3.RouteType)
	edge.accept(routes)
	if !eventually(func() bool {
		for _, x := range s.Proxies() {
			for _, of := range x.Streams[0].Types {
				if of.TypeURL == resourcev3.RouteType && of.Acks == 2 {
					return true
				}
			}
		}
		return false
	}) {
		t.Fatal("the routes are not acknowledged")
	}
	left := p.round(t.Context())
	p.running.Wait()
	if left != 1 || asked.Load() != 0 {
		t.Errorf("%d proxies are left, and one that lacks its clusters was asked %d times", left, asked.Load())
	}
	edge.accept(clusters)
	if !eventually(func() bool {
		p.round(t.Context())
		p.running.Wait()
		return p.of("edge", "these").Shows("these")
	}) {
		t.Error("it has not shown the kills")
	}
}

// worker answers as a proxy of a node id that has a set in force.
func worker(t *testing.T, node string, set *atomic.Pointer[string]) (address string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(envoy.ProbeNode, node)
		fmt.Fprintf(w, `{"killGeneration":1,"set":%q}`, *set.Load())
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func enforcing(set string) *atomic.Pointer[string] {
	p := &atomic.Pointer[string]{}
	p.Store(&set)
	return p
}

// What answers at an address may be another proxy, and of two with one node id both
// are asked.
func TestWhoeverAnswersIsWhoWasAsked(t *testing.T) {
	s := xds.New(xds.Options{})
	defer s.Close()
	publish(t, s, false)
	connect := func(probe string) {
		t.Helper()
		e := connectTo(t, s)
		e.probe = probe
		e.subscribe(resourcev3.RouteType, envoy.RouteConfigName)
		e.accept(e.next(resourcev3.RouteType))
	}
	other, second := enforcing("these"), enforcing("those before")
	imposter := worker(t, "another", other)
	connect(worker(t, "edge", enforcing("these")))
	p := newKillProofs(s, strings.TrimPrefix(imposter, "http://"))
	p.expect(compile.Kills{Enforced: "these"}, true, s.Version())
	shows := func() bool {
		p.round(t.Context())
		p.running.Wait()
		return p.of("edge", "these").Shows("these")
	}
	if !eventually(shows) {
		t.Fatalf("it says where it is asked: %+v", p.of("edge", "these"))
	}
	connect(worker(t, "edge", second))
	p.seen = map[string]shown{}
	if !eventually(func() bool { return shows() || p.of("edge", "these").Sets["those before"] > 0 }) || shows() {
		t.Errorf("the second proxy of that name is behind: %+v", p.of("edge", "these"))
	}
	these := "these"
	if second.Store(&these); !eventually(shows) {
		t.Errorf("both have it: %+v", p.of("edge", "these"))
	}
	connect("") // a third, that is asked where the other one listens
	p.seen = map[string]shown{}
	if !eventually(func() bool {
		return shows() || strings.Contains(howSeen(p.of("edge", "these"), "these"), `the proxy "another" answers`)
	}) || shows() {
		t.Errorf("another answers: %+v", p.of("edge", "these"))
	}
}

func TestWhereProxiesAreAsked(t *testing.T) {
	p := newKillProofs(nil, "0.0.0.0:10000")
	on := func(peer string, connected bool, types ...string) xds.Stream {
		s := xds.Stream{Peer: peer, Connected: connected}
		for _, typeURL := range types {
			s.Types = append(s.Types, xds.Type{TypeURL: typeURL})
		}
		return s
	}
	const routes, clusters, listeners = resourcev3.RouteType, resourcev3.ClusterType, resourcev3.ListenerType
	says := on("10.0.0.1:40000", true, listeners, clusters, routes)
	says.Probe = "https://10.0.0.1:10443"
	ads := func(peer string) xds.Stream { return on(peer, true, listeners, clusters, routes) }
	for name, tt := range map[string]struct {
		streams []xds.Stream
		want    string
	}{
		"one":                                   {[]xds.Stream{ads("10.0.0.1:40000")}, "http://10.0.0.1:10000"},
		"one, of IPv6":                          {[]xds.Stream{ads("[2001:db8::1]:40000")}, "http://[2001:db8::1]:10000"},
		"one on this machine":                   {[]xds.Stream{ads("@")}, "http://127.0.0.1:10000"},
		"one that says where":                   {[]xds.Stream{says}, "https://10.0.0.1:10443"},
		"one with two tables of routes":         {[]xds.Stream{on("10.0.0.1:1", true, routes), on("10.0.0.1:2", true, clusters), on("10.0.0.1:3", true, routes)}, "http://10.0.0.1:10000"},
		"two with one name":                     {[]xds.Stream{ads("10.0.0.1:1"), ads("10.0.0.2:2")}, "http://10.0.0.1:10000 http://10.0.0.2:10000"},
		"two with one name, and one is cut off": {[]xds.Stream{ads("10.0.0.1:1"), on("10.0.0.2:2", false, clusters)}, "http://10.0.0.1:10000 http://10.0.0.2:10000"},
		"two with one name and one address":     {[]xds.Stream{ads("10.0.0.1:1"), on("10.0.0.1:2", true, clusters)}, "several proxies"},
		"the same, and one says where":          {[]xds.Stream{ads("10.0.0.1:1"), says}, "http://10.0.0.1:10000 https://10.0.0.1:10443"},
	} {
		at, err := p.addresses(&xds.Proxy{Node: "edge", Streams: tt.streams})
		got := strings.Join(at, " ")
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
	if _, err := newKillProofs(nil, "nowhere").addresses(&xds.Proxy{Streams: []xds.Stream{ads("10.0.0.1:1")}}); err == nil {
		t.Error("the port is not known")
	}
}

// Proxies that give no answer hold up neither the proof of others nor another set.
func TestProxiesThatGiveNoAnswerHoldUpNobody(t *testing.T) {
	s := xds.New(xds.Options{})
	defer s.Close()
	publish(t, s, false)
	set := enforcing("first")
	e := connectTo(t, s)
	e.probe = worker(t, "edge", set)
	e.subscribe(resourcev3.RouteType, envoy.RouteConfigName)
	e.accept(e.next(resourcev3.RouteType))
	p := newKillProofs(s, "127.0.0.1:0")
	for range triesAtOnce { // as many as there is room for
		p.later <- struct{}{}
	}
	p.expect(compile.Kills{Enforced: "first"}, true, s.Version())
	if !eventually(func() bool { p.round(t.Context()); return p.of("edge", "first").Shows("first") }) {
		t.Error("it waits for those that give no answer")
	}
	for range probesAtOnce {
		p.turns <- struct{}{}
	}
	second := "second"
	p.expect(compile.Kills{Enforced: second}, true, s.Version())
	p.round(t.Context()) // begins to ask, and does not wait for its turn
	third := "third"
	set.Store(&third)
	p.expect(compile.Kills{Enforced: third}, true, s.Version())
	for range probesAtOnce {
		<-p.turns
	}
	p.running.Wait()
	if seen := p.of("edge", second); seen.Asked > 0 {
		t.Errorf("asked for a set that is not in force any more: %+v", seen)
	}
	if !eventually(func() bool { p.round(t.Context()); return p.of("edge", third).Shows(third) }) {
		t.Error("the newest set is not shown")
	}
	p.running.Wait()
	p.seen["edge"] = shown{third, probe.Seen{Asked: 4, Problem: "no answer"}}
	for range probesAtOnce {
		p.turns <- struct{}{}
	}
	<-p.later
	if !eventually(func() bool { p.round(t.Context()); return p.of("edge", third).Shows(third) }) {
		t.Error("one that gave no answer waits for those that do")
	}
	for range probesAtOnce {
		<-p.turns
	}
	p.running.Wait()
}

// publish changes a route and a cluster for a kill.
func publish(t *testing.T, s *xds.Server, killed bool) (version string) {
	t.Helper()
	r := &envoy.Resources{
		Clusters: []*clusterv3.Cluster{{Name: "a", IgnoreHealthOnHostRemoval: killed}},
		Routes:   []*routev3.RouteConfiguration{{Name: envoy.RouteConfigName, MostSpecificHeaderMutationsWins: killed}},
	}
	if err := s.Set(r, xds.AtOnce); err != nil {
		t.Fatal(err)
	}
	return r.Version()
}

// edgeProxy is a proxy that says what the test has it say.
type edgeProxy struct {
	t      *testing.T
	probe  string // where it says that it is asked; empty: it does not
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
}

func connectTo(t *testing.T, s *xds.Server) *edgeProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	s.Register(g)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &edgeProxy{t: t, stream: stream}
}

func (e *edgeProxy) subscribe(typeURL string, names ...string) {
	e.t.Helper()
	node := &corev3.Node{Id: "edge"}
	if e.probe != "" {
		node.Metadata = &structpb.Struct{Fields: map[string]*structpb.Value{envoy.ProbeMetadata: structpb.NewStringValue(e.probe)}}
	}
	e.say(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: typeURL, ResourceNamesSubscribe: names})
}

// next is what it is told next.
func (e *edgeProxy) next(typeURL string) *discoveryv3.DeltaDiscoveryResponse {
	e.t.Helper()
	got, err := e.stream.Recv()
	if err != nil || got.GetTypeUrl() != typeURL {
		e.t.Fatalf("%v, %v: want %s", got, err, typeURL)
	}
	return got
}

func (e *edgeProxy) accept(r *discoveryv3.DeltaDiscoveryResponse) {
	e.t.Helper()
	e.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})
}

func (e *edgeProxy) say(r *discoveryv3.DeltaDiscoveryRequest) {
	e.t.Helper()
	if err := e.stream.Send(r); err != nil {
		e.t.Fatal(err)
	}
}
