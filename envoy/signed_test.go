package envoy

import (
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/signing"
)

// Every route that carries a policy carries its signature, for the name by which a
// processor knows the route: Envoy's up to a blank. Without a signer nothing is
// there.
func TestPoliciesAreSigned(t *testing.T) {
	key, err := signing.FromSeed(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	signer, set := signing.NewSigner(key), signing.NewSet(key.Public())
	for name, s := range map[string]*compile.Snapshot{"HTTP": everything(t), "gRPC": everyGRPC(t)} {
		signed := 0
		for _, sign := range []func(string, string, string) string{signer.Sign, nil} {
			for _, rc := range rendered(t, s, Options{Sign: sign}).Routes {
				for _, vh := range rc.GetVirtualHosts() {
					for _, rt := range vh.GetRoutes() {
						fields := rt.GetMetadata().GetFilterMetadata()[policy.MetadataNamespace].GetFields()
						text, signature := fields[policy.MetadataPolicy].GetStringValue(), fields[policy.MetadataSignature].GetStringValue()
						if text == "" || sign == nil {
							if signature != "" {
								t.Errorf("%s: %s has a signature", name, rt.GetName())
							}
							continue
						}
						route, _, _ := strings.Cut(rt.GetName(), " ")
						namespace, _, _ := strings.Cut(route, "/")
						if err := set.Verify(signing.Subject{Route: route, Namespace: namespace, Policy: text}, signature); err != nil {
							t.Errorf("%s: %s: %v", name, rt.GetName(), err)
						}
						signed++
					}
				}
			}
		}
		if signed < 3 {
			t.Errorf("%s: %d routes are signed", name, signed)
		}
	}
}
