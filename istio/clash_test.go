package istio_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/istio"
)

// rule is one of a route, named or not, at a Gateway, a Service or, of a
// VirtualService, at the mesh.
func rule(kind, namespace, route, name string, index int, parentKind, parent string, hosts ...gatewayv1.Hostname) config.Rule {
	of, own := gatewayv1.Kind(parentKind), gatewayv1.SectionName(name)
	r := config.Rule{
		Kind: kind, Namespace: namespace, Route: route, Index: index, Hosts: hosts,
		Parents: []gatewayv1.ParentReference{{Kind: &of, Name: gatewayv1.ObjectName(parent)}}, HTTP: &gatewayv1.HTTPRouteRule{},
	}
	if name != "" {
		r.HTTP.Name = &own
	}
	r.Name = config.RuleName(r.HTTP.Name, index)
	return r
}

func TestClashes(t *testing.T) {
	h, v := config.KindHTTPRoute, config.KindVirtualService
	for _, c := range []struct {
		name  string
		rules []config.Rule
		want  []string
	}{
		{"one", []config.Rule{rule(h, "a", "fraud", "score", 0, "Gateway", "public")}, nil},
		{"two routes of one name", []config.Rule{rule(h, "a", "fraud", "score", 0, "Gateway", "public"), rule(h, "a", "other", "score", 0, "Gateway", "public")},
			[]string{"a/other/score"}},
		{"for other hosts", []config.Rule{rule(h, "a", "fraud", "score", 0, "Gateway", "public", "x.com"), rule(h, "a", "other", "score", 0, "Gateway", "public", "y.com")}, nil},
		{"one for all hosts", []config.Rule{rule(h, "a", "fraud", "score", 0, "Gateway", "public", "x.com"), rule(h, "a", "other", "score", 0, "Gateway", "public")},
			[]string{"a/other/score"}},
		{"at other gateways", []config.Rule{rule(h, "a", "fraud", "score", 0, "Gateway", "public"), rule(h, "a", "other", "score", 0, "Gateway", "inner")}, nil},
		{"at a gateway and at sidecars", []config.Rule{rule(h, "a", "fraud", "score", 0, "Gateway", "public"), rule(h, "a", "other", "score", 0, "Service", "fraud")}, nil},
		{"for one Service", []config.Rule{rule(h, "a", "fraud", "score", 0, "Service", "fraud"), rule(h, "a", "other", "score", 0, "Service", "fraud")},
			[]string{"a/other/score"}},
		{"a name that is another's place", []config.Rule{rule(h, "a", "fraud", "", 0, "Gateway", "public"), rule(h, "a", "other", "a.fraud.0", 0, "Gateway", "public")},
			[]string{"a/other/a.fraud.0"}},
		{"a VirtualService and a Service's route", []config.Rule{rule(v, "a", "fraud", "score", 0, "", "mesh", "fraud"), rule(h, "a", "other", "score", 0, "Service", "fraud")},
			[]string{"a/other/score"}},
		{"one label, two kinds", []config.Rule{rule(h, "a", "fraud", "score", 0, "Gateway", "public"), rule(config.KindGRPCRoute, "a", "fraud", "score", 0, "Gateway", "public")},
			[]string{"a/fraud/score"}},
		{"entries without names", []config.Rule{rule(v, "a", "fraud", "", 0, "", "mesh"), rule(v, "a", "fraud", "", 1, "", "mesh")}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i := range c.rules {
				c.rules[i].Born = time.Unix(int64(i), 0)
			}
			slices.Reverse(c.rules) // their order is none of their age
			clashes, _ := istio.Clashes(c.rules, istio.Options{})
			if got := labels(clashes); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// labels are those of keys, sorted.
func labels(of map[string]string) (out []string) {
	for key := range of {
		_, label, _ := strings.Cut(key, " ")
		out = append(out, label)
	}
	slices.Sort(out)
	return out
}

// TestAlone: a rule is found by its name alone where nobody else has it, at whatever
// other place.
func TestAlone(t *testing.T) {
	h := config.KindHTTPRoute
	_, alone := istio.Clashes([]config.Rule{
		rule(h, "a", "fraud", "score", 0, "Gateway", "public", "x.com"), rule(h, "b", "other", "score", 0, "Gateway", "inner", "y.com"),
		rule(h, "a", "third", "rank", 0, "Gateway", "public"), rule(h, "a", "fourth", "", 0, "Gateway", "public"),
	}, istio.Options{})
	if want := map[string]bool{istio.Key(h, "a/third/rank"): true, istio.Key(h, "a/fourth/rule-0"): true}; !maps.Equal(alone, want) {
		t.Errorf("got %v, want %v", alone, want)
	}
}

// BenchmarkClashes: a thousand teams that all call a rule the same.
func BenchmarkClashes(b *testing.B) {
	var rules []config.Rule
	for i := range 3000 {
		rules = append(rules, rule(config.KindHTTPRoute, fmt.Sprint("team-", i), "fraud", "score", 0, "Gateway", "public", gatewayv1.Hostname(fmt.Sprintf("t%d.example.com", i))))
	}
	for b.Loop() {
		istio.Clashes(rules, istio.Options{})
	}
}

func TestAtWaypoints(t *testing.T) {
	rules := []config.Rule{
		rule(config.KindHTTPRoute, "a", "fraud", "score", 0, "Gateway", "public"),
		rule(config.KindHTTPRoute, "a", "other", "score", 0, "Gateway", "inner"),
		rule(config.KindHTTPRoute, "a", "third", "score", 0, "Service", "inner"),
	}
	classes := map[string]string{"a/public": "istio", "a/inner": istio.Waypoint}
	got := istio.AtWaypoints(rules, func(namespace, name string) string { return classes[namespace+"/"+name] })
	if want := []string{"a/other/score"}; !slices.Equal(labels(got), want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
