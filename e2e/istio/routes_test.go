package istio

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"
)

// TestVirtualService: subsets and weights through a gateway and a sidecar, and
// the names that istiod gives to what it makes of them.
func TestVirtualService(t *testing.T) {
	s := newStand(t, "virtualservice.yaml")
	for where, ask := range map[string]func() answer{
		"gateway": func() answer { return s.atGateway("fraud.models.local", "/score") },
		"sidecar": func() answer { return s.atClient("fraud.models.local", "/score") },
	} {
		eventually(t, where, ask, ok)
		tenth(t, where, share(t, 1000, ask))
	}
	routes := []string{"score.body", "score", "", ".half", "rest"} // "" where neither http nor match has a name
	equal(t, s.names(s.gateway), of("http.GATEWAY_PORT.127.0.0.1 | alias.models.local:GATEWAY_PORT", routes...))
	// One virtual host for both hosts, named for the first of them.
	equal(t, s.gateway.Routes(t)[0].VirtualHosts[0].Domains, []string{"alias.models.local", "fraud.models.local"})
	equal(t, s.names(s.client), slices.Concat(
		of("OUT_PORT | alias.models.local:OUT_PORT", routes...),
		of("OUT_PORT | fraud.models.local:OUT_PORT", routes...),
		of("OUT_PORT | allow_any", "allow_any"),
	))
}

// of are the routes of a virtual host, as names has them.
func of(host string, routes ...string) []string {
	var all []string
	for _, name := range routes {
		all = append(all, host+" | "+name)
	}
	return all
}

// TestGatewayAPI: the same for routes of the Gateway API. A rule with a name has
// that name alone, whatever its route is called, and each match is a route.
func TestGatewayAPI(t *testing.T) {
	s := newStand(t, "gatewayapi.yaml")
	for where, ask := range map[string]func() answer{
		"gateway": func() answer { return s.atGateway("fraud.example.com", "/score") },
		"sidecar": func() answer { return s.atClient(s.named("fraud.models:OUT_PORT"), "/score") },
	} {
		eventually(t, where, ask, ok)
		tenth(t, where, share(t, 1000, ask))
	}
	if a := s.atGateway("fraud.example.com", "/second"); a.status != http.StatusInternalServerError {
		t.Errorf("weights that are all 0: %+v", a)
	}
	equal(t, s.names(s.gateway), slices.Concat(
		// The first score is of the route "second", the others are the matches of one rule.
		of("http.GATEWAY_PORT | fraud.example.com:80", "models.fraud.1", "score", "score", "score", "models.fraud.2"),
		of("http.GATEWAY_PORT | grpc.example.com:80", "infer", "models.grpc.1"),
		of("http.GATEWAY_PORT | other.example.com:80", "models.fraud.1", "score", "score", "models.fraud.2"),
	))
	equal(t, s.names(s.client), slices.Concat(
		of("OUT_PORT | fraud-v1.models.svc.cluster.local:OUT_PORT", "default"),
		of("OUT_PORT | fraud-v2.models.svc.cluster.local:OUT_PORT", "default"),
		of("OUT_PORT | fraud.models.svc.cluster.local:OUT_PORT", "score", "models.mesh.1"),
		of("OUT_PORT | allow_any", "allow_any"),
	))
	clusters(t, s)
}

// clusters: a backend is the cluster of its Service's port.
func clusters(t *testing.T, s *stand) {
	t.Helper()
	score := s.gateway.Routes(t)[0].VirtualHosts[2].Routes[1]
	weighted, _ := score.Route["weighted_clusters"].(map[string]any)
	list, _ := weighted["clusters"].([]any)
	var got []string
	for _, c := range list {
		if c, isMap := c.(map[string]any); isMap {
			got = append(got, fmt.Sprint(c["name"], " ", c["weight"]))
		}
	}
	equal(t, got, []string{
		s.named("outbound|OUT_PORT||fraud-v1.models.svc.cluster.local 90"),
		s.named("outbound|OUT_PORT||fraud-v2.models.svc.cluster.local 10"),
	})
}

const moved = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: fraud, namespace: models}
spec:
  parentRefs: [{name: public}]
  hostnames: [fraud.example.com, other.example.com]
  rules:
  - name: score
    matches: [{path: {type: PathPrefix, value: /score}}]
    backendRefs: [{name: fraud-v1, port: OUT_PORT, weight: 0}, {name: fraud-v2, port: OUT_PORT, weight: 100}]
`

// TestWeightsMove: weights of a route move all traffic, without an error.
func TestWeightsMove(t *testing.T) {
	s := newStand(t, "gatewayapi.yaml")
	ask := func() answer { return s.atGateway("fraud.example.com", "/score") }
	eventually(t, "the gateway routes", ask, ok)
	s.apply(moved)
	var first time.Time // at v2 for good
	began, inARow := time.Now(), 0
	eventually(t, "all traffic is at v2", ask, func(a answer) bool {
		if !ok(a) {
			t.Fatalf("while the weights moved: %+v", a)
		}
		if a.body != "v2" {
			inARow = 0
			return false
		}
		if inARow++; inARow == 1 {
			first = time.Now()
		}
		return inARow == 200
	})
	t.Logf("figure route_weights_moved_ms=%d", first.Sub(began).Milliseconds())
	if n := s.gateway.Rejected(); n != 0 {
		t.Errorf("the gateway refused %d updates", n)
	}
}

// tenth holds a share of 1,000 against a weight of 10 in 100: six standard
// deviations either way.
func tenth(t *testing.T, where string, n int) {
	t.Helper()
	if n < 43 || n > 157 {
		t.Errorf("%s: %d of 1000 went to v2, want about 100", where, n)
	}
}

func equal(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}
