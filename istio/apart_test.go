package istio_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/istio"
)

// TestNamesMeetNobody: namespaces and names may have dashes of their own, and one object
// may be served at gateways and at sidecars from one namespace.
func TestNamesMeetNobody(t *testing.T) {
	s := snapshot(t, "testdata/fraud")
	a, b := s.Routes[0], s.Routes[1]
	a.Namespace, a.Object.Name, a.Name = "a-b", "c", "a-b/c/score"
	b.Namespace, b.Object.Name, b.Name = "a", "b-c", "a/b-c/score"
	s.Routes = []compile.Route{a, b}
	objects := render(t, s, istio.Options{})
	seen := map[string]bool{}
	for _, f := range objects.Filters {
		if key := f.Namespace + "/" + f.Name; seen[key] {
			t.Errorf("two are %s", key)
		} else {
			seen[key] = true
		}
	}
	if err := objects.Err(); err != nil || len(seen) < 4 {
		t.Errorf("%v, %v", seen, err)
	}
}

// domains are those by which a route of ours is looked for, sorted.
func domains(o *istio.Objects, name string) (out []string) {
	for _, f := range o.Filters {
		for _, p := range f.Spec.ConfigPatches {
			if p.Patch.Value.Fields["name"].GetStringValue() == name {
				out = append(out, p.Match.GetRouteConfiguration().Vhost.DomainName)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// TestDomains: a virtual host is called as istiod calls it, and a rule whose name nobody
// else has is found whatever it is called.
func TestDomains(t *testing.T) {
	s := snapshot(t, "testdata/fraud")
	r := &s.Routes[1]
	r.Object.Kind, r.Object.Hosts = config.KindVirtualService, []string{"fraud", "Classic.example.com", "*"}
	r.Object.Parents = []compile.Parent{{Group: config.GroupIstio, Kind: "Gateway", Name: "mesh"}}
	if got, want := domains(render(t, s, istio.Options{}), r.Name), []string{"*", "classic.example.com", "fraud.models.svc.cluster.local"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	o := istio.Options{Alone: map[string]bool{istio.Key(r.Object.Kind, r.Name): true}}
	if got := domains(render(t, s, o), r.Name); slices.Contains(got, "") {
		t.Errorf("at sidecars, where istiod has names of its own: %q", got)
	}
	r.Object.Parents[0].Name = "classic"
	if got := domains(render(t, s, o), r.Name); !slices.Equal(got, []string{""}) {
		t.Errorf("alone at a gateway: %q", got)
	}
	r.Object.Rule = "default"
	if got := domains(render(t, s, o), r.Name); slices.Contains(got, "") {
		t.Errorf("istiod's own name: %q", got)
	}
}

// TestFormsAreOfThePlace: what only another gateway's policies have is in nobody else's
// listeners.
func TestFormsAreOfThePlace(t *testing.T) {
	s := snapshot(t, "testdata/fraud")
	odd := *s.Routes[0].Policy
	odd.Ladder = slices.Clone(odd.Ladder)
	last := &odd.Ladder[len(odd.Ladder)-1]
	body := *last.SafeDefault
	body.ContentType, last.SafeDefault = "application/odd+json", &body
	s.Routes[0].Policy = &odd
	s.Routes[0].Name, s.Routes[0].Object.Name = "models/odd/rule-0", "odd"
	s.Routes[0].Object.Parents = []compile.Parent{{Group: "gateway.networking.k8s.io", Kind: "Gateway", Namespace: "elsewhere", Name: "other"}}
	text, err := render(t, s, istio.Options{}).YAML()
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range strings.Split(string(text), "---\n") {
		if has := strings.Contains(doc, "application/odd+json"); has != strings.Contains(doc, "namespace: elsewhere") && strings.Contains(doc, "part: base") {
			t.Errorf("has it: %v, in\n%.300s", has, doc)
		}
	}
}

// TestTooLargeAnObject: what the API server would not take is refused with what is right,
// and holds up nothing else.
func TestTooLargeAnObject(t *testing.T) {
	s := snapshot(t, "testdata/fraud")
	r := s.Routes[1]
	r.Object.Name, r.Name = "wide", "models/wide/score"
	r.Object.Parents = []compile.Parent{{Group: "gateway.networking.k8s.io", Kind: "Gateway", Namespace: "edge", Name: "public"}}
	for i := range 400 {
		r.Object.Hosts = append(r.Object.Hosts, strings.Repeat("x", i%60+1)+".example.com")
	}
	s.Routes = append(s.Routes, r)
	objects := render(t, s, istio.Options{})
	if err := objects.Refused[r.Name]; err == nil || !strings.Contains(err.Error(), "fewer rules or hosts in one object") {
		t.Error(err)
	}
	if len(objects.Refused) != 1 || len(objects.Filters) < 3 {
		t.Errorf("%v refused, %d objects", objects.Refused, len(objects.Filters))
	}
}
