package istio

import (
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/e2e/istio/cluster"
)

// TestUnreadable: what istiod cannot read of an EnvoyFilter it leaves out, and
// the API server, which took it, says nothing. Only istioctl does.
func TestUnreadable(t *testing.T) {
	s := newStand(t, "gatewayapi.yaml")
	text := s.filter(t, "unreadable.yaml")
	policyOf(t, s.gateway, "models.fraud.1", "read")
	out, err := cluster.Istioctl(t, s.named(text), "validate", "-f", "-")
	if err == nil || !strings.Contains(out, "FilterConfig") {
		t.Errorf("istioctl took it: %v %s", err, out)
	}
}

// TestRefusedByEnvoy: a value that only Envoy can judge passes the API server,
// istiod and istioctl. Then the port's routes stay as they were, weights with
// them, until it is taken back.
func TestRefusedByEnvoy(t *testing.T) {
	s := newStand(t, "gatewayapi.yaml")
	ask := func() answer { return s.atGateway("fraud.example.com", "/score") }
	eventually(t, "the gateway routes", ask, ok)
	text := s.filter(t, "refused.yaml")
	if out, err := cluster.Istioctl(t, s.named(text), "validate", "-f", "-"); err != nil {
		t.Errorf("istioctl knows better than istiod: %s", out)
	}
	dataplane.Eventually(t, patience, "Envoy refuses it", func() bool { return s.gateway.Rejected() > 0 })

	before := s.gateway.Rejected()
	s.apply(moved)
	dataplane.Eventually(t, patience, "Envoy refuses the weights too", func() bool { return s.gateway.Rejected() > before })
	tenth(t, "with the old weights", share(t, 1000, ask))
	s.remove(text)
	eventually(t, "the new weights are in force", func() answer { return s.atGateway("other.example.com", "/score") }, func(a answer) bool {
		return share(t, 20, ask) == 20
	})
}

// TestNegativeWeight: the kind's schema lets a weight below 0 through; istioctl
// does not.
func TestNegativeWeight(t *testing.T) {
	api := cluster.StartAPI(t, cluster.Options{CRDs: []cluster.CRDs{cluster.Istio}})
	const negative = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: fraud, namespace: default}
spec:
  hosts: [fraud]
  http: [{route: [{destination: {host: fraud}, weight: 105}, {destination: {host: other}, weight: -5}]}]
`
	api.Admin.Apply(t, "test", negative)
	if out, err := cluster.Istioctl(t, negative, "validate", "-f", "-"); err == nil || !strings.Contains(out, "weight") {
		t.Errorf("istioctl took it: %v %s", err, out)
	}
}
