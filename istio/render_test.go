package istio_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/istio"
)

var update = flag.Bool("update", false, "write the golden files")

// snapshot compiles a folder, as a mesh has it.
func snapshot(t testing.TB, dir string) *compile.Snapshot {
	t.Helper()
	s, problems := compile.Dir(dir)
	if problems.Failed() {
		t.Fatal(problems)
	}
	if s, problems = istio.WithClusters(s, istio.Options{}); problems.Failed() {
		t.Fatal(problems)
	}
	return s
}

func render(t testing.TB, s *compile.Snapshot, o istio.Options) *istio.Objects {
	t.Helper()
	objects, err := istio.Render(s, o)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// outline is what an object is for, without what Envoy is told: one line a patch.
func outline(o *istio.Objects) string {
	var b strings.Builder
	for _, f := range o.Filters {
		fmt.Fprintf(&b, "%s/%s priority=%d", f.Namespace, f.Name, f.Spec.Priority)
		for _, t := range f.Spec.TargetRefs {
			fmt.Fprintf(&b, " for %s %s", t.Kind, t.Name)
		}
		b.WriteString("\n")
		for _, p := range f.Spec.ConfigPatches {
			name := p.Patch.Value.Fields["name"].GetStringValue()
			fmt.Fprintf(&b, "  %s %s %s %q", p.Match.Context, p.Patch.Operation, p.ApplyTo, name)
			if v := p.Match.GetRouteConfiguration().GetVhost(); v != nil {
				fmt.Fprintf(&b, " at %q of %q", v.Route.Name, v.DomainName)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is another one; look at it, then go test -update:\n%s", path, got)
	}
}

func TestRender(t *testing.T) {
	objects := render(t, snapshot(t, "testdata/fraud"), istio.Options{})
	if err := objects.Err(); err != nil {
		t.Fatal(err)
	}
	golden(t, "fraud.outline", outline(objects))
	first, err := objects.YAML()
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		again, err := render(t, snapshot(t, "testdata/fraud"), istio.Options{}).YAML()
		if err != nil || string(again) != string(first) {
			t.Fatalf("rendered twice it is another one, err %v", err)
		}
	}
}

// merged is what is merged into a route of ours, by its name.
func merged(t testing.TB, o *istio.Objects, name string) *routev3.Route {
	t.Helper()
	for _, f := range o.Filters {
		for _, p := range f.Spec.ConfigPatches {
			if p.ApplyTo != networkingv1alpha3.EnvoyFilter_HTTP_ROUTE || p.Patch.Value.Fields["name"].GetStringValue() != name {
				continue
			}
			text, err := protojson.Marshal(p.Patch.Value)
			r := &routev3.Route{}
			if err == nil {
				err = protojson.Unmarshal(text, r)
			}
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
	}
	t.Fatalf("nothing is merged into %s", name)
	return nil
}

// TestThePolicyKnowsIstiodsClusters: the processor is told of the version by the name
// of its cluster.
func TestThePolicyKnowsIstiodsClusters(t *testing.T) {
	r := merged(t, render(t, snapshot(t, "testdata/fraud"), istio.Options{}), "models/fraud/score")
	text := r.Metadata.FilterMetadata[policy.MetadataNamespace].Fields[policy.MetadataPolicy].GetStringValue()
	p, err := policy.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for cluster, version := range map[string]string{
		"outbound|80||fraud-v1.models.svc.cluster.local": "v1",
		"outbound|80||fraud-v2.models.svc.cluster.local": "v2",
	} {
		if p.Versions[cluster].Name != version {
			t.Errorf("%s is %q in %v", cluster, p.Versions[cluster].Name, p.Versions)
		}
	}
}

// TestStops: what is killed is stopped on its routes and on no other, whatever mode it
// is killed in, and starts again with its revive.
func TestStops(t *testing.T) {
	s, now := snapshot(t, "testdata/fraud"), time.Now()
	for _, target := range []kill.Target{kill.Everything, kill.ForModel("models/fraud"), kill.ForVersion("models/fraud", "v2"), kill.ForRoute("models/fraud/score")} {
		state := kill.Kill(kill.New(target), kill.Order{ID: "1", At: now, By: "ann", Reason: "wrong"})
		killed := s.WithKills(kill.NewSet(state), now)
		objects := render(t, killed, istio.Options{})
		score, rest := merged(t, objects, "models/fraud/score"), merged(t, objects, "models/fraud/rule-1")
		if score.TypedPerFilterConfig["safestate.stop"] == nil {
			t.Errorf("%s: the route is not stopped", target)
		}
		wide := target.Scope == kill.All || target.Scope == kill.Model
		if stopped := rest.TypedPerFilterConfig["safestate.stop"] != nil; stopped != wide {
			t.Errorf("%s: the other route is stopped: %v", target, stopped)
		}
	}
	if r := merged(t, render(t, s, istio.Options{}), "models/fraud/score"); r.TypedPerFilterConfig["safestate.stop"] != nil {
		t.Error("it is stopped without a kill")
	}
}

// TestPlaces: nothing is added to one proxy twice.
func TestPlaces(t *testing.T) {
	s := snapshot(t, "testdata/fraud")
	s.Routes[0].Object.Parents = append(s.Routes[0].Object.Parents, compile.Parent{Group: config.GroupIstio, Kind: "Gateway", Namespace: "models", Name: "classic"})
	s.Routes[1].Object.Parents = s.Routes[0].Object.Parents
	var bases []string
	for _, f := range render(t, s, istio.Options{}).Filters {
		if f.Spec.ConfigPatches[0].ApplyTo == networkingv1alpha3.EnvoyFilter_CLUSTER {
			bases = append(bases, fmt.Sprint(f.Namespace, "/", f.Name, f.Spec.ConfigPatches[0].Match.Context))
		}
	}
	if want := []string{"istio-system/safestateGATEWAY", "istio-system/safestate-sidecarsSIDECAR_OUTBOUND"}; !slices.Equal(bases, want) {
		t.Errorf("got %v, want %v", bases, want)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*compile.Route, *istio.Options)
		want   string
	}{
		{"no parent", func(r *compile.Route, _ *istio.Options) { r.Object.Parents = nil }, "is attached to nothing"},
		{"another parent", func(r *compile.Route, _ *istio.Options) {
			r.Object.Parents = []compile.Parent{{Kind: "Mesh", Name: "x"}}
		}, "want a Gateway, or a Service"},
		{"an entry without a name", func(r *compile.Route, _ *istio.Options) {
			r.Object.Kind, r.Object.Rule = config.KindVirtualService, ""
		}, "has no name"},
		{"a name of two", func(r *compile.Route, o *istio.Options) {
			o.Clashes = map[string]string{istio.Key(r.Object.Kind, r.Name): "two have it"}
		}, "two have it"},
		{"the filter alone", func(r *compile.Route, _ *istio.Options) { r.Policy.Host = policy.HostWASM }, "want --wasm-module"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, o := snapshot(t, "testdata/fraud"), istio.Options{}
			own := *s.Routes[1].Policy
			s.Routes[1].Policy = &own
			c.change(&s.Routes[1], &o)
			objects := render(t, s, o)
			if err := objects.Refused[s.Routes[1].Name]; err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if objects.Refused[s.Routes[0].Name] != nil {
				t.Error("the other route is refused too")
			}
		})
	}
}

// TestWeights: the numbers of a released model are put into its object, and nothing
// else of it changes.
func TestWeights(t *testing.T) {
	s := snapshot(t, "testdata/fraud")
	if w, err := istio.WeightsOf(s, &s.Routes[1]); w != nil || err != nil {
		t.Errorf("without a release: %v, %v", w, err)
	}
	s = s.WithReleases(map[string]compile.Release{"models/fraud": {Generation: 3, Weights: map[string]int{"v1": 75, "v2": 25}}})
	route := &s.Routes[1]
	w, err := istio.WeightsOf(s, route)
	if err != nil {
		t.Fatal(err)
	}
	const before = `{"metadata":{"name":"fraud"},"spec":{"hostnames":["a"],"rules":[{"new":{"field":1},"backendRefs":[{"name":"fraud-v1","port":80,"weight":90,"x":"y"},{"name":"fraud-v2","port":80},{"name":"other","port":1,"weight":7}]}]}}`
	const after = `{"metadata":{"name":"fraud"},"spec":{"hostnames":["a"],"rules":[{"new":{"field":1},"backendRefs":[{"name":"fraud-v1","port":80,"weight":75,"x":"y"},{"name":"fraud-v2","port":80,"weight":25},{"name":"other","port":1,"weight":7}]}]}}`
	object := parsed(t, before)
	for _, changes := range []bool{true, false} {
		changed, err := istio.SetWeights(object, route, w, istio.DefaultClusterDomain)
		if err != nil || changed != changes {
			t.Fatalf("changed %v, err %v", changed, err)
		}
	}
	if got, want := written(t, object), written(t, parsed(t, after)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, bad := range []string{`{"spec":{"rules":[]}}`, `{"spec":{"rules":[{"backendRefs":[{"name":"fraud-v1","port":80}]}]}}`, `{}`, `{"spec":{"rules":7}}`} {
		o := parsed(t, bad)
		if _, err := istio.SetWeights(o, route, w, istio.DefaultClusterDomain); err == nil || written(t, o) != written(t, parsed(t, bad)) {
			t.Errorf("%s: err %v, and it is %s", bad, err, written(t, o))
		}
	}
}

// parsed reads JSON as the API server's client does: whole numbers are int64.
func parsed(t testing.TB, text string) map[string]any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return whole(v).(map[string]any)
}

func whole(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = whole(v[k])
		}
	case []any:
		for i := range v {
			v[i] = whole(v[i])
		}
	case json.Number:
		n, _ := v.Int64()
		return n
	}
	return v
}

func written(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestFolder: routes of every kind are read beside what else a repository has, and a
// mistake is where it is in the file.
func TestFolder(t *testing.T) {
	s, problems := istio.Folder("testdata/virtualservice", istio.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	golden(t, "virtualservice.outline", outline(render(t, s, istio.Options{})))
	if s, problems := istio.Folder("testdata/fraud", istio.Options{}); problems.Failed() || len(s.Routes) != 2 {
		t.Errorf("%v", problems)
	}
	text, err := os.ReadFile("testdata/virtualservice/fraud.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	bad := strings.Replace(string(text), "nonFinite: {}", "nonFinite: {x: 1}", 1)
	above, _, _ := strings.Cut(bad, "nonFinite")
	line := 1 + strings.Count(above, "\n")
	if err := os.WriteFile(filepath.Join(dir, "bad.yaml"), []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	_, problems = istio.Folder(dir, istio.Options{})
	if len(problems) != 1 || problems[0].Line != line || problems[0].Field != "spec.detect.nonFinite.x" {
		t.Errorf("got %v, want one at line %d", problems, line)
	}
	for _, text := range []string{"kind: [", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nspec: {http: 7}\n", ""} {
		if err := os.WriteFile(filepath.Join(dir, "bad.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, problems := istio.Folder(dir, istio.Options{}); text != "" && (!problems.Failed() || s != nil) {
			t.Errorf("%q: %v", text, problems)
		}
	}
	if _, problems := istio.Folder(t.TempDir(), istio.Options{}); !problems.Failed() {
		t.Error("an empty folder is a configuration")
	}
}
