package control

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/compile"
)

// What a worker shows are its routes. Its clusters it has by then only if the proxy
// had acknowledged both: until then it is not asked, so that no answer from before
// counts.
func TestAProxyIsAskedOnceItHasAcknowledgedEverything(t *testing.T) {
	var asked atomic.Int64
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
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
	return &edgeProxy{t, stream}
}

func (e *edgeProxy) subscribe(typeURL string, names ...string) {
	e.t.Helper()
	e.say(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: "edge"}, TypeUrl: typeURL, ResourceNamesSubscribe: names})
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
