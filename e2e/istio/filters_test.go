package istio

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/e2e/istio/cluster"
)

// TestFilters: what istiod makes of EnvoyFilters, and Envoy of that. Each file
// of testdata/filters says what it is about.
func TestFilters(t *testing.T) {
	s := newStand(t, "gatewayapi.yaml")
	eventually(t, "the gateway routes", func() answer { return s.atGateway("fraud.example.com", "/score") }, ok)
	for file, check := range map[string]func(*testing.T, *stand){
		"merge.yaml":     merged,
		"direct.yaml":    directResponse,
		"probe.yaml":     probeHost,
		"unmatched.yaml": unmatched,
		"insert.yaml":    inserted,
		"manager.yaml":   connectionManager,
		"disabled.yaml":  disabledFilters,
		"target.yaml":    targeted,
		"order.yaml":     ordered,
	} {
		t.Run(file, func(t *testing.T) {
			text := s.filter(t, file)
			defer s.remove(text)
			check(t, s)
			if n := s.gateway.Rejected(); n != 0 {
				t.Errorf("the gateway refused %d updates", n)
			}
			if out, err := cluster.Istioctl(t, s.named(text), "validate", "-f", "-"); err != nil {
				t.Errorf("istioctl refuses what istiod takes: %s", out)
			}
		})
	}
}

// filter applies a file of testdata/filters and returns it.
func (s *stand) filter(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "filters", file))
	if err != nil {
		t.Fatal(err)
	}
	s.apply(string(text))
	return string(text)
}

func merged(t *testing.T, s *stand) {
	eventually(t, "the header arrives", func() answer { return s.atGateway("fraud.example.com", "/") }, func(a answer) bool {
		return a.header.Get("X-Got-X-Safestate") == "merged"
	})
	route := policyOf(t, s.gateway, "models.fraud.2", "fraud")
	if route.Route["timeout"] != "3s" || route.PerFilter["safestate"]["disabled"] != true {
		t.Errorf("the timeout or the filter's setting is missing: %s", route.Raw)
	}
	if route.Metadata.Filters["istio"] == nil {
		t.Errorf("istio's own metadata is gone: %s", route.Raw)
	}
	if a := s.atGateway("other.example.com", "/"); a.header.Get("X-Got-X-Safestate") != "" {
		t.Errorf("the same route of another host got it too: %v", a.header)
	}
}

// policyOf waits until a route has a policy in its metadata.
func policyOf(t *testing.T, e *cluster.Envoy, name, policy string) cluster.Route {
	t.Helper()
	var route cluster.Route
	dataplane.Eventually(t, patience, name+" has the policy "+policy, func() bool {
		route, _ = e.Route(t, name)
		return route.Metadata.Filters["safestate"]["policy"] == policy
	})
	return route
}

func directResponse(t *testing.T, s *stand) {
	eventually(t, "killed", func() answer { return s.atGateway("other.example.com", "/score") }, func(a answer) bool {
		return a.status == http.StatusServiceUnavailable && a.body == "killed"
	})
	if a := s.atGateway("other.example.com", "/v2", "X-A", "b"); a.status != http.StatusServiceUnavailable {
		t.Errorf("the rule's second match lives: %+v", a)
	}
	if a := s.atGateway("fraud.example.com", "/score"); !ok(a) {
		t.Errorf("another host's is killed too: %+v", a)
	}
}

func probeHost(t *testing.T, s *stand) {
	eventually(t, "the probe's host answers", func() answer { return s.atGateway("safestate-probe.invalid", "/") }, func(a answer) bool {
		return ok(a) && a.body == "probed"
	})
}

func unmatched(t *testing.T, s *stand) {
	eventually(t, "the one that matches", func() answer { return s.atGateway("added-last.invalid", "/") }, ok)
	for _, host := range []string{"pod-port.invalid", "port-name.invalid", "gateway.invalid"} {
		if a := s.atGateway(host, "/"); a.status != http.StatusNotFound {
			t.Errorf("%s is there: %+v", host, a)
		}
	}
}

func inserted(t *testing.T, s *stand) {
	want := []string{"first", "infer", "before", "models.grpc.1", "last"}
	dataplane.Eventually(t, patience, "the routes are where they should be", func() bool {
		var got []string
		for _, line := range s.names(s.gateway) {
			if name, ok := strings.CutPrefix(line, "http.GATEWAY_PORT | grpc.example.com:80 | "); ok {
				got = append(got, name)
			}
		}
		return slices.Equal(got, want)
	})
}

func connectionManager(t *testing.T, s *stand) {
	eventually(t, "the local reply is mapped", func() answer { return s.atGateway("nowhere.invalid", "/") }, func(a answer) bool {
		return a.status == http.StatusGone && a.header.Get("X-Local") == "mapped"
	})
	if a := s.atGateway("fraud.example.com", "/", "X-Forged", "yes"); !ok(a) || a.header.Get("X-Got-X-Forged") != "" {
		t.Errorf("the forged header got through: %+v", a)
	}
	dataplane.Eventually(t, patience, "the log has the request", func() bool {
		return strings.Contains(s.gateway.Process.Log(), "logged 410")
	})
}

func disabledFilters(t *testing.T, s *stand) {
	eventually(t, "both filters run in order", func() answer { return s.atGateway("fraud.example.com", "/") }, func(a answer) bool {
		return slices.Equal(a.header["X-Got-X-Lua"], []string{"first", "second"})
	})
	if a := s.atGateway("fraud.example.com", "/score"); a.header["X-Got-X-Lua"] != nil {
		t.Errorf("they run where no route turned them on: %v", a.header)
	}
}

func targeted(t *testing.T, s *stand) { policyOf(t, s.gateway, "models.fraud.1", "targeted") }

func ordered(t *testing.T, s *stand) {
	eventually(t, "all five in order", func() answer { return s.atGateway("fraud.example.com", "/") }, func(a answer) bool {
		return slices.Equal(a.header["X-Got-X-Order"], []string{"1", "2", "3", "4", "5"})
	})
	if route, _ := s.gateway.Route(t, "models.fraud.2"); route.Route["timeout"] != "5s" {
		t.Errorf("the last value did not stay: %s", route.Raw)
	}
}

// TestEverywhere: an EnvoyFilter of the root namespace reaches gateways and
// sidecars, and routes at sidecars have names to patch, out and in.
func TestEverywhere(t *testing.T) {
	s := newStand(t, "gatewayapi.yaml")
	server := s.Sidecar(t, cluster.Workload{Namespace: "models", Name: "server", Labels: map[string]string{"app": "server", "model": "fraud"}})
	s.filter(t, "everywhere.yaml")
	for what, ask := range map[string]func() answer{
		"route":   func() answer { return s.atClient(s.named("fraud.models:OUT_PORT"), "/") },
		"service": func() answer { return s.atClient(s.named("fraud-v1.models:OUT_PORT"), "/") },
		"inbound": func() answer { return askPort(s, "IN_PORT") },
	} {
		eventually(t, what, ask, func(a answer) bool { return slices.Contains(a.header["X-Got-X-At"], what) })
	}
	for name, e := range map[string]*cluster.Envoy{"gateway": s.gateway, "client": s.client, "server": server} {
		dataplane.Eventually(t, patience, "the cluster is at the "+name, func() bool {
			return strings.Contains(string(e.Dump(t, "resource=dynamic_active_clusters")), `"safestate-processor"`)
		})
	}
}

func askPort(s *stand, port string) answer { return ask(s.ports[port], "fraud", "/") }
