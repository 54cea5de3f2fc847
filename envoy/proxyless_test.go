package envoy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/policy"
)

func proxyless(t *testing.T, s *compile.Snapshot) *Proxyless {
	t.Helper()
	p, err := ProxylessResources(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const proxylessObjects = `
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: fraud}
spec:
  hostnames: [fraud.example.com, "*.example.org"]
  rules:
  - name: infer
    matches: [{method: {service: inference.GRPCInferenceService, method: ModelInfer}, headers: [{name: X-Team, value: risk}]}]
    backendRefs: [{name: fraud-v1, port: 80, weight: 90}, {name: fraud-v2, port: 80, weight: 10}]
  - name: rest
    matches: [{method: {service: inference.GRPCInferenceService}}]
    backendRefs: [{name: fraud-v1, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: any, namespace: default}
spec:
  rules:
  - name: all
    backendRefs: [{name: fraud-v2, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: rest}
spec: {hostnames: [rest.example.com], rules: [{backendRefs: [{name: fraud-v1, port: 80}]}]}
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: fraud}
spec:
  protocol: OpenInferenceV2
  versions:
  - {name: v1, backendRef: {name: fraud-v1, port: 80}, endpoints: [{address: 127.0.0.1, port: 9101, grpcPort: 9191}, {address: 127.0.0.1, port: 9102, grpcPort: 9191}]}
  - {name: v2, backendRef: {name: fraud-v2, port: 80}, endpoints: [{address: fraud-v2.example.com, port: 9102}]}
`

func compiled(t *testing.T, text string) *compile.Snapshot {
	t.Helper()
	s, problems := compile.Files(config.File{Name: "objects.yaml", Data: []byte(text)})
	if s == nil {
		t.Fatal(problems)
	}
	return s
}

// summary writes routes as a person would: name, match, where it leads. The one
// that no call takes is left out.
func summary(rc *routev3.RouteConfiguration) string {
	var out []string
	for _, vh := range rc.VirtualHosts {
		for _, r := range vh.Routes {
			if r.Name == "kept" {
				continue
			}
			to := fmt.Sprint(r.GetDirectResponse().GetStatus())
			if r.GetRoute() != nil {
				to = ""
			}
			for _, c := range r.GetRoute().GetWeightedClusters().GetClusters() {
				to += fmt.Sprintf("%s=%d ", strings.TrimPrefix(c.Name, "proxyless/default/fraud/"), c.GetWeight().GetValue())
			}
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s%s %d -> %s", r.Match.GetPath(), r.Match.GetPrefix(), len(r.Match.Headers), to)))
		}
	}
	return strings.Join(out, "\n")
}

// TestProxyless: a client dials a host name or a route, and finds what it reads
// of the same routes and weights, with every name that it goes on to ask for.
func TestProxyless(t *testing.T) {
	const infer, rest = "/inference.GRPCInferenceService/ModelInfer", "/inference.GRPCInferenceService/"
	s := compiled(t, proxylessObjects)
	for name, percents := range map[string]map[string]int{"in the file": nil, "released": {"v1": 1, "v2": 99}, "degraded": {}} {
		t.Run(name, func(t *testing.T) {
			s, own, other, alone := s, "v1/grpc=90 v2/grpc=10", "v1/grpc=1", "v2/grpc=1"
			switch {
			case percents != nil && len(percents) == 0:
				s, own, other, alone = released(s, 1, percents), "503", "503", "503"
			case percents != nil:
				s, own = released(s, 1, percents), "v1/grpc=1 v2/grpc=99"
				other, alone = "v1/grpc=1", "v2/grpc=99"
			}
			fraud := infer + " 1 -> " + own + "\n" + rest + " 0 -> " + other
			want := map[string]string{
				"any.default":       "/ 0 -> " + alone,
				"fraud.default":     fraud,
				"rest.example.com":  "/ 0 -> " + alone, // of an HTTPRoute, and any takes every call
				"fraud.example.com": fraud + "\n/ 0 -> " + alone,
			}
			p := proxyless(t, s)
			if len(p.Listeners) != len(want) || len(p.Routes) != len(want) || len(p.Unserved) != 0 {
				t.Fatalf("got %d listeners, %d routes, unserved %v", len(p.Listeners), len(p.Routes), p.Unserved)
			}
			for i, l := range p.Listeners {
				hcm := &hcmv3.HttpConnectionManager{}
				if err := l.GetApiListener().GetApiListener().UnmarshalTo(hcm); err != nil {
					t.Fatal(err)
				}
				if hcm.GetRds().GetRouteConfigName() != p.Routes[i].Name || hcm.GetRds().GetConfigSource().GetAds() == nil || len(hcm.HttpFilters) != 1 {
					t.Errorf("listener %s: %v", l.Name, hcm)
				}
				if got := summary(p.Routes[i]); got != want[l.Name] {
					t.Errorf("listener %s leads to\n%s\nwant\n%s", l.Name, got, want[l.Name])
				}
			}
		})
	}
}

// TestProxylessKeeps: a client goes on knowing each version of a host that it
// could ask, whatever its weight, by a route after all others.
func TestProxylessKeeps(t *testing.T) {
	v3 := version("v3", "127.0.0.1:9103")
	v3.AuthorizationFile = "/run/token"
	s := grpcSnapshot(t, nil, version("v1", "127.0.0.1:9101"), version("v2", "127.0.0.1:9102"), v3)
	routes := proxyless(t, s).Routes[0].VirtualHosts[0].Routes
	last := routes[len(routes)-1]
	var kept []string
	for _, c := range last.GetRoute().GetWeightedClusters().GetClusters() {
		kept = append(kept, fmt.Sprintf("%s=%d", c.Name, c.GetWeight().GetValue()))
	}
	if want := []string{"proxyless/default/fraud/v1=1", "proxyless/default/fraud/v2=1"}; !slices.Equal(kept, want) || last.GetMatch().GetPath() != "/" {
		t.Errorf("kept are %v by %v, want %v", kept, last.GetMatch(), want)
	}
}

// TestProxylessIsRendered: with the rest, and under a version of its own. A host
// name that Envoy's listener has is not among them.
func TestProxylessIsRendered(t *testing.T) {
	s := compiled(t, proxylessObjects+`---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: ours}
spec: {hostnames: [`+ListenerName+`], rules: [{name: all, backendRefs: [{name: fraud-v1, port: 80}]}]}
`)
	r, changed := rendered(t, s, Options{}), rendered(t, released(s, 1, map[string]int{"v1": 1, "v2": 99}), Options{})
	var names []string
	for _, l := range append(slices.Clone(r.Listeners), r.Proxyless.Listeners...) {
		names = append(names, l.Name)
	}
	slices.Sort(names)
	if want := []string{"any.default", "fraud.default", "fraud.example.com", "ours.default", "rest.example.com", ListenerName}; !slices.Equal(names, want) {
		t.Errorf("listeners %v, want %v", names, want)
	}
	changed.Listeners, changed.Routes, changed.Clusters, changed.Secrets = r.Listeners, r.Routes, r.Clusters, r.Secrets
	if r.Version() == changed.Version() {
		t.Error("other weights of theirs have the same version")
	}
}

// TestProxylessClusters: of the kinds that such clients have. An address that
// two endpoints share is there once.
func TestProxylessClusters(t *testing.T) {
	p := proxyless(t, compiled(t, proxylessObjects))
	if len(p.Clusters) != 2 || len(p.Endpoints) != 1 {
		t.Fatalf("got %v and %v", p.Clusters, p.Endpoints)
	}
	v1, v2 := p.Clusters[0], p.Clusters[1]
	if v1.Name != "proxyless/default/fraud/v1/grpc" || v1.GetType() != clusterv3.Cluster_EDS ||
		v1.GetEdsClusterConfig().GetServiceName() != p.Endpoints[0].ClusterName || v1.GetEdsClusterConfig().GetEdsConfig().GetAds() == nil {
		t.Errorf("got %v", v1)
	}
	if got := places(p.Endpoints[0]); got != "127.0.0.1:9191" {
		t.Errorf("v1 is at %s", got)
	}
	if v2.GetType() != clusterv3.Cluster_LOGICAL_DNS || places(v2.GetLoadAssignment()) != "fraud-v2.example.com:9102" {
		t.Errorf("got %v", v2)
	}

	mixed := version("v1", "127.0.0.1:9101")
	mixed.DNS, mixed.Endpoints = true, append(mixed.Endpoints, policy.Endpoint{Address: "model.example.com", Port: 9102})
	p = proxyless(t, grpcSnapshot(t, nil, mixed))
	all := &aggregatev3.ClusterConfig{}
	if err := p.Clusters[2].GetClusterType().GetTypedConfig().UnmarshalTo(all); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(all.Clusters, []string{p.Clusters[0].Name, p.Clusters[1].Name}) || p.Clusters[0].GetType() != clusterv3.Cluster_EDS ||
		p.Clusters[1].GetType() != clusterv3.Cluster_LOGICAL_DNS || p.Clusters[2].Name != "proxyless/default/fraud/v1" {
		t.Errorf("got %v", p.Clusters)
	}
}

// places lists the addresses of an assignment, which has one weighted locality.
func places(a *endpointv3.ClusterLoadAssignment) string {
	var out []string
	for _, l := range a.Endpoints {
		if l.Locality == nil || l.GetLoadBalancingWeight().GetValue() == 0 {
			out = append(out, "nowhere")
		}
		for _, e := range l.LbEndpoints {
			s := e.GetEndpoint().GetAddress().GetSocketAddress()
			out = append(out, fmt.Sprintf("%s:%d", s.GetAddress(), s.GetPortValue()))
		}
	}
	return strings.Join(out, " ")
}

// TestProxylessUnserved: what only the proxy can reach fails at such a client,
// and is said.
func TestProxylessUnserved(t *testing.T) {
	for want, edit := range map[string]func(*compile.Cluster){
		"default/fraud/score: version v2 is behind TLS":   func(c *compile.Cluster) { c.TLS = &policy.TLS{} },
		"default/fraud/score: version v2 has credentials": func(c *compile.Cluster) { c.AuthorizationFile = "/run/token" },
	} {
		v2 := version("v2", "127.0.0.1:9102")
		edit(&v2)
		p := proxyless(t, grpcSnapshot(t, nil, version("v1", "127.0.0.1:9101"), v2))
		if !slices.Equal(p.Unserved, []string{want}) || summary(p.Routes[0]) != "/ 0 -> 503" {
			t.Errorf("got %v and %s", p.Unserved, summary(p.Routes[0]))
		}
	}
	if p := proxyless(t, snapshot(t, nil, version("v1", "127.0.0.1:9101"))); len(p.Listeners)+len(p.Clusters) != 0 {
		t.Errorf("a route for HTTP gave %v", p)
	}
}
