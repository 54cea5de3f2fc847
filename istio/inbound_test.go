package istio_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/istio"
)

// inboundSnapshot is testdata/inbound with one text in the place of another.
func inboundSnapshot(t testing.TB, old, now string) *compile.Snapshot {
	t.Helper()
	text, err := os.ReadFile("testdata/inbound/fraud.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("there is no %q", old)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "fraud.yaml"), []byte(strings.ReplaceAll(string(text), old, now)), 0o600); err != nil {
		t.Fatal(err)
	}
	s, problems := istio.Folder(dir, istio.Options{})
	if problems.Failed() {
		t.Fatal(problems)
	}
	return s
}

// inboundOutline is where objects are for sidecars' inbound: one line each, and one for
// every route that is patched.
func inboundOutline(o *istio.Objects) (out []string) {
	for _, f := range o.Filters {
		if f.Spec.ConfigPatches[0].Match.Context != networkingv1alpha3.EnvoyFilter_SIDECAR_INBOUND {
			continue
		}
		line := f.Namespace + "/" + f.Name
		for _, label := range slices.Sorted(maps.Keys(f.Spec.GetWorkloadSelector().GetLabels())) {
			line += fmt.Sprintf(" %s=%s", label, f.Spec.WorkloadSelector.Labels[label])
		}
		for _, p := range f.Spec.ConfigPatches {
			if r := p.Match.GetRouteConfiguration(); r != nil {
				line += fmt.Sprintf(" %s of %s", r.Vhost.Route.Name, r.Name)
			}
		}
		out = append(out, line)
	}
	return out
}

// TestInbound: a policy that names the Model is at the sidecars of each version's
// workloads, where the processor is told of the version by istiod's cluster for them.
func TestInbound(t *testing.T) {
	s := inboundSnapshot(t, "", "")
	objects := render(t, s, istio.Options{})
	if err := objects.Err(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"models/safestate-model-fraud-v1-f8ea4f0f8b35337aa829 model=fraud version=v1 default of inbound|8000||",
		"models/safestate-model-fraud-v2-bbbf00bc37cfaaafd8e9 model=fraud version=v2 default of inbound|80||",
		"models/safestate-models",
	}
	if got := inboundOutline(objects); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	fields := merged(t, objects, "models/fraud/v1:inbound").Metadata.FilterMetadata[policy.MetadataNamespace].Fields
	p, err := policy.Parse(fields[policy.MetadataPolicy].GetStringValue())
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Versions) != 1 || p.Versions["inbound|8000||"].Name != "v1" || p.Stable != "v1" || p.Model != "models/fraud" {
		t.Errorf("%+v", p)
	}
	if len(s.Routes) != 1 {
		t.Errorf("releases and kills would see %d routes, want 1", len(s.Routes))
	}
	if got := istio.Carriers(s, &s.Inbound[0].Route); !slices.Equal(got, []string{"the sidecars of Service models/fraud-v1"}) {
		t.Errorf("carried by %q", got)
	}
	if got := istio.Carriers(s, &s.Routes[0]); !slices.Equal(got, []string{"Gateway models/public"}) {
		t.Errorf("carried by %q", got)
	}
	for _, want := range []string{"WASM", "Both"} {
		s := inboundSnapshot(t, "  deadline", "  host: "+want+"\n  deadline")
		if h := s.Inbound[0].Policy.Host; h != policy.HostProcessor {
			t.Errorf("host %s: at the model %q judges, which sees no mark", want, h)
		}
	}
}

// TestInboundOfOneVersion: a section of a Model is a version.
func TestInboundOfOneVersion(t *testing.T) {
	s := inboundSnapshot(t, "kind: Model, name: fraud}", "kind: Model, name: fraud, sectionName: v2}")
	if len(s.Inbound) != 1 || s.Inbound[0].Version != "v2" {
		t.Errorf("%+v", s.Inbound)
	}
}

// TestInboundMarks: what a line further out judges says so, callers cannot, and at the
// model that is all that is let through of our headers.
func TestInboundMarks(t *testing.T) {
	objects := render(t, inboundSnapshot(t, "", ""), istio.Options{})
	text := func(name string) string {
		out, err := protojson.Marshal(merged(t, objects, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(out), ": ", ":")
	}
	outer, inner := text("models/fraud/score"), text("models/fraud/v1:inbound")
	if !strings.Contains(outer, `"value":"Enforce models/fraud"`) {
		t.Errorf("the gateway does not say what it judges: %s", outer)
	}
	if strings.Contains(inner, `"value":"Enforce models/fraud"`) || !strings.Contains(inner, `"regex":"Enforce .*|.* models/fraud"`) ||
		!strings.Contains(inner, `"requestHeadersToRemove":["x-safestated-by"]`) {
		t.Errorf("the model's sidecar does not heed it: %s", inner)
	}
	for _, f := range objects.Filters {
		if f.Labels[istio.LabelPart] != istio.PartBase {
			continue
		}
		base, err := protojson.Marshal(&f.Spec)
		if err != nil {
			t.Fatal(err)
		}
		drops := strings.Contains(string(base), `"x-safestated-by"`)
		if !strings.Contains(string(base), `"x-safestate-"`) || drops != (f.Name == "safestate") {
			t.Errorf("%s: drops the mark: %v", f.Name, drops)
		}
	}
}

// TestInboundCannot: where the workloads cannot be found it is said why, and all else
// goes on.
func TestInboundCannot(t *testing.T) {
	for name, c := range map[string]struct{ old, now, want string }{
		"no selector":     {"selector: {model: fraud, version: v1}, ", "", "Service models/fraud-v1 has no selector"},
		"a name":          {"targetPort: 8000", "targetPort: http", `has the targetPort "http"`},
		"no Service":      {"metadata: {name: fraud-v1, namespace: models}", "metadata: {name: fraud-v0, namespace: models}", "there is no Service models/fraud-v1"},
		"another's":       {"metadata: {name: fraud-v1, namespace: models}", "metadata: {name: fraud-v1, namespace: other}", "there is no Service models/fraud-v1"},
		"no such port":    {"port: 80, targetPort: 8000", "port: 82, targetPort: 8000", "Service models/fraud-v1 has no port 80"},
		"a subset":        {"backendRef: {name: fraud-v1, port: 80}", "backendRef: {name: fraud-v1, port: 80, subset: a}", "it is subset a of Service models/fraud-v1"},
		"one workload":    {"selector: {model: fraud, version: v2}, ports: [{name: http, port: 80}]", "selector: {model: fraud}, ports: [{name: http, port: 80, targetPort: 8000}]", "selects workloads of version v1 of Model fraud as well"},
		"an endpoint set": {"backendRef: {name: fraud-v1, port: 80}", "backendRef: {name: fraud-v1, port: 80, kind: InferencePool}", "there is no Service models/fraud-v1-ip"},
	} {
		t.Run(name, func(t *testing.T) {
			objects := render(t, inboundSnapshot(t, c.old, c.now), istio.Options{})
			if err := objects.Err(); err == nil || !strings.Contains(err.Error(), c.want) || len(objects.Refused) != 1 {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if got := inboundOutline(objects); len(got) != 2 {
				t.Errorf("the other version is at %q", got)
			}
		})
	}
}

// TestInboundStops: what is killed is stopped at its own sidecars, and a release
// changes nothing there.
func TestInboundStops(t *testing.T) {
	now := time.Now()
	s := inboundSnapshot(t, "", "").WithReleases(map[string]compile.Release{"models/fraud": {Generation: 7, Weights: map[string]int{"v1": 0, "v2": 100}}})
	if in := s.Inbound[0]; in.Backends[0].Weight != 1 || in.Policy.Stable != "v1" || in.Generation != 0 {
		t.Errorf("a release has made it %+v", in)
	}
	stopped := func(target kill.Target) (out []string) {
		state := kill.Kill(kill.New(target), kill.Order{ID: "1", At: now, By: "ann", Reason: "wrong"})
		objects := render(t, s.WithKills(kill.NewSet(state), now), istio.Options{})
		for _, name := range []string{"v1", "v2"} {
			if r := merged(t, objects, "models/fraud/"+name+":inbound"); r.TypedPerFilterConfig["safestate.stop"] != nil {
				out = append(out, name)
			}
		}
		return out
	}
	for target, want := range map[kill.Target]string{
		kill.Everything: "v1 v2", kill.ForModel("models/fraud"): "v1 v2", kill.ForVersion("models/fraud", "v2"): "v2",
		kill.ForVersion("models/other", "v2"): "", kill.ForRoute("models/fraud/score"): "",
	} {
		if got := strings.Join(stopped(target), " "); got != want {
			t.Errorf("%v: stopped is %q, want %q", target, got, want)
		}
	}
}
