package envoy

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
)

// Proxyless is a configuration for gRPC clients that are their own proxy, such
// as grpc-go with the scheme xds. They ask for every resource by its name, and
// not one of them is for Envoy, which refuses such a listener. It is not changed
// once rendered and may be shared.
type Proxyless struct {
	Listeners []*listenerv3.Listener
	Routes    []*routev3.RouteConfiguration
	Clusters  []*clusterv3.Cluster
	Endpoints []*endpointv3.ClusterLoadAssignment

	// Unserved lists, sorted, the routes whose calls fail at these clients
	// (UNAVAILABLE), each with the reason.
	Unserved []string
}

// proxylessPrefix begins the names of a proxyless client's routes, clusters and
// endpoints, which are of other kinds than Envoy's of the same version.
const proxylessPrefix = "proxyless/"

// ProxylessResources renders the GRPCRoutes of s. A client dials
// xds:///HOSTNAME for a host name that is no wildcard, or xds:///ROUTE.NAMESPACE
// for a GRPCRoute's own rules; where a host name is of that form it is what is
// meant. Such a client follows the weights, and nothing else of a route or a
// policy: no answer is inspected, and no header edited.
//
// A version behind TLS or with credentials is not served: files of the proxy's
// are not the client's. It is pure, as Render is.
func ProxylessResources(s *compile.Snapshot) (*Proxyless, error) {
	out := &Proxyless{}
	clusters := map[string]*compile.Cluster{}
	for i := range s.Clusters {
		clusters[s.Clusters[i].Name] = &s.Clusters[i]
	}
	used := map[string]bool{}
	entries := targets(s)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		host := &routev3.VirtualHost{Name: name, Domains: []string{"*"}}
		named := map[string]bool{}
		for _, e := range entries[name] {
			r := &s.Routes[e.Route]
			host.Routes = append(host.Routes, proxylessRoute(&e.Match, r, out.unserved(r, clusters)))
			for _, b := range r.Backends {
				if c := clusters[b.Cluster]; c != nil && unreachable(c) == "" {
					used[b.Cluster], named[b.Cluster] = true, true
				}
			}
		}
		if len(named) > 0 {
			host.Routes = append(host.Routes, keepingRoute(slices.Sorted(maps.Keys(named))))
		}
		routes := &routev3.RouteConfiguration{Name: proxylessPrefix + name, VirtualHosts: []*routev3.VirtualHost{host}}
		out.Routes = append(out.Routes, routes)
		out.Listeners = append(out.Listeners, apiListener(name, routes))
	}
	for i := range s.Clusters {
		if c := &s.Clusters[i]; used[c.Name] {
			out.addCluster(c)
		}
	}
	slices.Sort(out.Unserved)
	out.Unserved = slices.Compact(out.Unserved)
	return out, out.validate()
}

// targets are what a client can dial, each with the entries of gRPC calls in
// their order.
func targets(s *compile.Snapshot) map[string][]compile.Entry {
	out, hosts := map[string][]compile.Entry{}, map[string][]compile.Entry{}
	for _, h := range s.Hosts {
		own := map[string][]compile.Entry{}
		for _, e := range h.Entries {
			if r := &s.Routes[e.Route]; r.GRPC {
				hosts[h.Domain] = append(hosts[h.Domain], e)
				own[objectName(r)] = append(own[objectName(r)], e)
			}
		}
		maps.Copy(out, own) // under each of its hosts a GRPCRoute has the same
	}
	for domain, entries := range hosts {
		if !strings.HasPrefix(domain, "*") {
			out[domain] = entries
		}
	}
	delete(out, ListenerName) // Envoy's own: a host of this name can be dialled through a proxy only
	return out
}

// objectName is route.namespace of the GRPCRoute that a rule is of.
func objectName(r *compile.Route) string {
	parts := strings.Split(r.Name, "/")
	if len(parts) != 3 {
		return r.Name
	}
	return parts[1] + "." + parts[0]
}

// unserved notes and reports why calls of a route are not served.
func (p *Proxyless) unserved(r *compile.Route, clusters map[string]*compile.Cluster) bool {
	for _, b := range r.Backends {
		if c := clusters[b.Cluster]; c != nil && unreachable(c) != "" {
			p.Unserved = append(p.Unserved, fmt.Sprintf("%s: version %s %s", r.Name, c.Version, unreachable(c)))
			return true
		}
	}
	return false
}

// unreachable says why a client cannot ask a version; empty: it can.
func unreachable(c *compile.Cluster) string {
	switch {
	case c.TLS != nil:
		return "is behind TLS"
	case c.AuthorizationFile != "":
		return "has credentials"
	}
	return ""
}

// proxylessRoute has what these clients read: the path, headers and weights.
// They refuse all routes where weights add up to nothing, and fail the calls of
// a route that answers by itself.
func proxylessRoute(m *compile.Match, r *compile.Route, unserved bool) *routev3.Route {
	out := &routev3.Route{Name: r.Name, Match: &routev3.RouteMatch{}}
	switch m.PathType {
	case compile.PathExact:
		out.Match.PathSpecifier = &routev3.RouteMatch_Path{Path: m.Path}
	case compile.PathRegex:
		out.Match.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: regex(m.Path)}
	default: // path_separated_prefix is not read; a call's path has two elements
		out.Match.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: strings.TrimRight(m.Path, "/") + "/"}
	}
	for _, h := range m.Headers {
		out.Match.Headers = append(out.Match.Headers, header(h.Name, valueMatcher(h)))
	}
	clusters, total := weights(r)
	if total == 0 || unserved {
		out.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 503}}
		return out
	}
	for _, c := range clusters {
		c.Name = proxylessPrefix + c.Name
	}
	out.Action = &routev3.Route_Route{Route: &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{Clusters: clusters}},
	}}
	return out
}

// keepingRoute names every version that a host's routes may lead to, and no call
// matches it: a call's path has two elements. Such clients forget versions that
// have no weight anywhere, and then fail the calls that they send to one which
// has just got weight again, for as long as it takes to connect.
func keepingRoute(versions []string) *routev3.Route {
	var clusters []*routev3.WeightedCluster_ClusterWeight
	for _, name := range versions {
		clusters = append(clusters, &routev3.WeightedCluster_ClusterWeight{Name: proxylessPrefix + name, Weight: wrapperspb.UInt32(1)})
	}
	return &routev3.Route{
		Name:  "kept",
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: "/"}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{Clusters: clusters}},
		}},
	}
}

func apiListener(name string, routes *routev3.RouteConfiguration) *listenerv3.Listener {
	hcm := &hcmv3.HttpConnectionManager{StatPrefix: StatPrefix, HttpFilters: []*hcmv3.HttpFilter{routerFilter()}}
	overADS.setRoutes(hcm, routes)
	return &listenerv3.Listener{Name: name, ApiListener: &listenerv3.ApiListener{ApiListener: packed(hcm)}}
}

// addCluster adds a version: its addresses over EDS, or a host name, which these
// clients resolve where it stands alone. Of several endpoints with a host name
// among them each is a cluster, and the clients ask the first that answers.
func (p *Proxyless) addCluster(c *compile.Cluster) {
	name, all := proxylessPrefix+c.Name, distinct(c.Endpoints)
	if c.Killed {
		p.addEDS(name, c, nil) // over EDS whatever it is else: a host name needs an endpoint
		return
	}
	if !c.DNS {
		p.addEDS(name, c, all)
		return
	}
	if len(all) == 1 {
		p.Clusters = append(p.Clusters, logicalDNS(name, c, all[0]))
		return
	}
	var names []string
	for _, e := range all {
		one := name + "/" + net.JoinHostPort(e.Address, strconv.Itoa(e.Port))
		names = append(names, one)
		if _, err := netip.ParseAddr(e.Address); err == nil {
			p.addEDS(one, c, []policy.Endpoint{e})
		} else {
			p.Clusters = append(p.Clusters, logicalDNS(one, c, e))
		}
	}
	p.Clusters = append(p.Clusters, aggregate(name, c, names))
}

// distinct drops addresses that stand there already, which these clients refuse:
// two endpoints may differ in the port for HTTP alone.
func distinct(in []policy.Endpoint) []policy.Endpoint {
	var out []policy.Endpoint
	for _, e := range in {
		if !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}

func (p *Proxyless) addEDS(name string, c *compile.Cluster, endpoints []policy.Endpoint) {
	out := proxylessCluster(name, c)
	out.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
	out.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: overADS.source(), ServiceName: name}
	p.Clusters = append(p.Clusters, out)
	p.Endpoints = append(p.Endpoints, assignment(name, endpoints))
}

// assignment has one locality, which has to have a name and a weight.
func assignment(name string, endpoints []policy.Endpoint) *endpointv3.ClusterLoadAssignment {
	if len(endpoints) == 0 {
		return &endpointv3.ClusterLoadAssignment{ClusterName: name}
	}
	group := &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{}, LoadBalancingWeight: wrapperspb.UInt32(1)}
	for _, e := range endpoints {
		group.LbEndpoints = append(group.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socketAddress(e.Address, uint32(e.Port))}},
		})
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{group}}
}

func logicalDNS(name string, c *compile.Cluster, e policy.Endpoint) *clusterv3.Cluster {
	out := proxylessCluster(name, c)
	out.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_LOGICAL_DNS}
	out.LoadAssignment = assignment(name, []policy.Endpoint{e})
	return out
}

func aggregate(name string, c *compile.Cluster, of []string) *clusterv3.Cluster {
	out := proxylessCluster(name, c)
	out.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
		Name: "envoy.clusters.aggregate", TypedConfig: packed(&aggregatev3.ClusterConfig{Clusters: of}),
	}}
	return out
}

func proxylessCluster(name string, c *compile.Cluster) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:            name,
		ConnectTimeout:  duration(c.ConnectTimeout),
		LbPolicy:        clusterv3.Cluster_ROUND_ROBIN,
		CircuitBreakers: versionLimits(c.Limits, concurrency),
	}
}

func (p *Proxyless) validate() error {
	var errs []error
	for _, list := range [][]proto.Message{messages(p.Listeners), messages(p.Routes), messages(p.Clusters), messages(p.Endpoints)} {
		for _, m := range list {
			errs = append(errs, validate(m)...)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("the rendered configuration for proxyless clients is not valid: %w", err)
	}
	return nil
}
