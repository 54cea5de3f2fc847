package istio

import (
	"testing"
)

// TestIstiodAway: without istiod the proxies go on with what they have, and
// what was changed meanwhile arrives when it is back.
func TestIstiodAway(t *testing.T) {
	s := newStand(t, "gatewayapi.yaml")
	ask := func() answer { return s.atGateway("fraud.example.com", "/score") }
	eventually(t, "the gateway routes", ask, ok)
	s.Freeze()
	text := s.filter(t, "merge.yaml")
	share(t, 100, ask)
	s.Thaw()
	merged(t, s)
	s.Kill()
	s.remove(text)
	share(t, 100, ask)
	s.Start()
	eventually(t, "the header is gone", func() answer { return s.atGateway("fraud.example.com", "/") }, func(a answer) bool {
		return ok(a) && a.header.Get("X-Got-X-Safestate") == ""
	})
}

// TestServerAway: without the API server, istiod and the proxies go on, and
// changes arrive when it is back.
func TestServerAway(t *testing.T) {
	s := newStand(t, "gatewayapi.yaml")
	ask := func() answer { return s.atGateway("fraud.example.com", "/score") }
	eventually(t, "the gateway routes", ask, ok)
	s.api.Kill()
	share(t, 100, ask)
	s.api.Start()
	s.filter(t, "merge.yaml")
	merged(t, s)
}
