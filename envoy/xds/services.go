package xds

import (
	clusterservice "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discoveryservice "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpointservice "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	listenerservice "github.com/envoyproxy/go-control-plane/envoy/service/listener/v3"
	routeservice "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	secretservice "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
)

// services are the methods by which proxies ask: all types on one stream, or
// each on its own for those who take only some of theirs from us. Polling by
// unary calls is not offered.
type services struct {
	discoveryservice.UnimplementedAggregatedDiscoveryServiceServer
	clusterservice.UnimplementedClusterDiscoveryServiceServer
	endpointservice.UnimplementedEndpointDiscoveryServiceServer
	listenerservice.UnimplementedListenerDiscoveryServiceServer
	routeservice.UnimplementedRouteDiscoveryServiceServer
	secretservice.UnimplementedSecretDiscoveryServiceServer
	server *Server
}

// Register adds the services to a gRPC server.
func (s *Server) Register(g *grpc.Server) {
	all := &services{server: s}
	discoveryservice.RegisterAggregatedDiscoveryServiceServer(g, all)
	clusterservice.RegisterClusterDiscoveryServiceServer(g, all)
	endpointservice.RegisterEndpointDiscoveryServiceServer(g, all)
	listenerservice.RegisterListenerDiscoveryServiceServer(g, all)
	routeservice.RegisterRouteDiscoveryServiceServer(g, all)
	secretservice.RegisterSecretDiscoveryServiceServer(g, all)
}

func (s *services) StreamAggregatedResources(x discoveryservice.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return s.server.serveWhole(x, aggregated)
}

func (s *services) DeltaAggregatedResources(x discoveryservice.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return s.server.serveDelta(x, aggregated)
}

func (s *services) StreamClusters(x clusterservice.ClusterDiscoveryService_StreamClustersServer) error {
	return s.server.serveWhole(x, clusters.url())
}

func (s *services) DeltaClusters(x clusterservice.ClusterDiscoveryService_DeltaClustersServer) error {
	return s.server.serveDelta(x, clusters.url())
}

func (s *services) StreamEndpoints(x endpointservice.EndpointDiscoveryService_StreamEndpointsServer) error {
	return s.server.serveWhole(x, endpoints.url())
}

func (s *services) DeltaEndpoints(x endpointservice.EndpointDiscoveryService_DeltaEndpointsServer) error {
	return s.server.serveDelta(x, endpoints.url())
}

func (s *services) StreamListeners(x listenerservice.ListenerDiscoveryService_StreamListenersServer) error {
	return s.server.serveWhole(x, listeners.url())
}

func (s *services) DeltaListeners(x listenerservice.ListenerDiscoveryService_DeltaListenersServer) error {
	return s.server.serveDelta(x, listeners.url())
}

func (s *services) StreamRoutes(x routeservice.RouteDiscoveryService_StreamRoutesServer) error {
	return s.server.serveWhole(x, routes.url())
}

func (s *services) DeltaRoutes(x routeservice.RouteDiscoveryService_DeltaRoutesServer) error {
	return s.server.serveDelta(x, routes.url())
}

func (s *services) StreamSecrets(x secretservice.SecretDiscoveryService_StreamSecretsServer) error {
	return s.server.serveWhole(x, secrets.url())
}

func (s *services) DeltaSecrets(x secretservice.SecretDiscoveryService_DeltaSecretsServer) error {
	return s.server.serveDelta(x, secrets.url())
}
