package envoy

import (
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
)

// TestEndpointsAreOfClusters: each list is asked for by one cluster of type EDS,
// by its service name where it has one.
func TestEndpointsAreOfClusters(t *testing.T) {
	eds := func(name, service string) *clusterv3.Cluster {
		return &clusterv3.Cluster{
			Name:                 name,
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
			EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: overADS.source(), ServiceName: service},
		}
	}
	clusters := []*clusterv3.Cluster{eds("a", ""), eds("b", "service"), {Name: "c"}}
	for names, want := range map[string]string{
		"a service":   "",
		"a a service": `the endpoints of "a" are there twice`,
		"b":           `endpoints are given for "b", which no cluster of type EDS asks for`,
		"c":           `endpoints are given for "c", which no cluster of type EDS asks for`,
	} {
		r := &Resources{Clusters: clusters}
		for _, name := range strings.Fields(names) {
			r.Endpoints = append(r.Endpoints, &endpointv3.ClusterLoadAssignment{ClusterName: name})
		}
		err := r.Validate()
		if (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%s: got %v, want %q", names, err, want)
		}
		if bare := (&Resources{Clusters: clusters}); bare.Version() == r.Version() {
			t.Errorf("%s: endpoints do not change the version", names)
		}
	}
}

// TestNamedClusters are those of routes, each once.
func TestNamedClusters(t *testing.T) {
	s := snapshot(t, enforced(nil), version("v2", "127.0.0.1:9002"), version("v1", "127.0.0.1:9001"))
	got := rendered(t, s, Options{}).NamedClusters()
	if !slices.Equal(got, []string{"default/fraud/v1", "default/fraud/v2"}) {
		t.Errorf("got %v", got)
	}
}

// TestProxylessCounts: what is for clients without a proxy is a part of the
// version, and is validated.
func TestProxylessCounts(t *testing.T) {
	r := rendered(t, snapshot(t, nil, version("v1", "127.0.0.1:9001")), Options{})
	before := r.Version()
	with := *r
	with.Proxyless = &Proxyless{Clusters: []*clusterv3.Cluster{{Name: ""}}}
	if with.Version() == before {
		t.Error("the version is the same")
	}
	if err := with.Validate(); err == nil || !strings.Contains(err.Error(), "invalid Cluster.Name") {
		t.Errorf("a cluster without a name: got %v", err)
	}
}
