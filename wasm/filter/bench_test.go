package filter_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/wasm/emulator"
	"github.com/safestate/safestate/wasm/filter"
)

// fraud is the policy of the fraud sample, as the mesh carries it.
func fraud(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	files, err := filepath.Glob("../../docs/samples/fraud/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no sample", err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, problems := compile.Dir(dir)
	for i := range s.Routes {
		if p := s.Routes[i].Policy; p != nil {
			p.Host = policy.HostWASM
			text, err := p.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
	}
	t.Fatal("no policy", problems)
	return ""
}

const (
	fraudRequest = `{"id":"1","parameters":{"amount":120.5,"account_age_days":400,"merchant_category":"grocery","is_international":false},"inputs":[{"name":"features","datatype":"FP32","shape":[1,4],"data":[0.1,0.2,0.3,0.4]}]}`
	fraudAnswer  = `{"model_name":"fraud","model_version":"v1","id":"1","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.0496420711]},` +
		`{"name":"label","datatype":"BYTES","shape":[1],"data":["allow"]},{"name":"probs","datatype":"FP32","shape":[1,3],"data":[0.7900716066,0.1049642041,0.1049642041]}]}`
)

// BenchmarkHealthy is a healthy answer under the whole fraud policy, natively.
func BenchmarkHealthy(b *testing.B) {
	text := fraud(b)
	h := emulator.New(b, emulator.Options{VM: filter.NewVMContext, Configuration: `{"answers":"safestate_answers"}`, Route: emulator.Route{
		Name: "default/fraud/score", Cluster: "default/fraud/v1",
		Metadata: map[string]map[string]string{policy.MetadataNamespace: {policy.MetadataPolicy: text, policy.MetadataPolicyDigest: policy.Digest(text)}},
	}})
	q := emulator.Request{Path: "/v2/models/fraud/infer", Headers: [][2]string{{"content-type", "application/json"}, {"x-tenant", "a"}, {"user-agent", "bench"}}, Body: fraudRequest}
	a := emulator.Answer{Headers: [][2]string{{"content-type", "application/json"}, {"x-envoy-upstream-service-time", "1"}}, Body: fraudAnswer}
	b.ReportAllocs()
	for b.Loop() {
		s := h.Do(q, a)
		if s.Response().Header("x-safestate-source") != "primary" {
			b.Fatal(s.Response())
		}
	}
}
