package controller

import (
	"strings"
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/kill"
)

// TestOutOfReach: of what a route may not name the mesh takes requests all the same,
// but at a gateway by an HTTPRoute.
func TestOutOfReach(t *testing.T) {
	rule := func(kind, route, parent string) config.Rule {
		group, k := gatewayv1.Group(""), gatewayv1.Kind(parent)
		return config.Rule{Kind: kind, Namespace: "team-a", Route: route, Parents: []gatewayv1.ParentReference{{Group: &group, Kind: &k, Name: "x"}}}
	}
	all := []config.Ungranted{
		{Rule: rule(config.KindHTTPRoute, "gateway", "Gateway"), Model: "models/fraud", Versions: []string{"v1", "v2"}},
		{Rule: rule(config.KindHTTPRoute, "mesh", "Service"), Model: "models/fraud", Versions: []string{"v1"}},
		{Rule: rule(config.KindVirtualService, "classic", "Gateway"), Model: "models/fraud", Versions: []string{"v1", "v2"}},
		{Rule: rule(config.KindVirtualService, "other", "Gateway"), Model: "models/chat", Versions: []string{"v1"}},
	}
	for target, want := range map[kill.Target]string{
		kill.ForModel("models/fraud"):         "mesh classic",
		kill.ForVersion("models/fraud", "v1"): "mesh classic",
		kill.ForVersion("models/fraud", "v2"): "classic",
		kill.ForVersion("models/fraud", "v3"): "",
		kill.ForModel("team-a/fraud"):         "",
		kill.ForRoute("team-a/classic/r"):     "",
		kill.Everything:                       "",
	} {
		var got []string
		for _, text := range outOfReach(all, target) {
			_, route, _ := strings.Cut(text, "team-a/")
			route, _, _ = strings.Cut(route, ",")
			got = append(got, route)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %q", target, got, want)
		}
	}
}

// TestUngrantedFor: a policy is told of the rules that it targets, and of no others.
func TestUngrantedFor(t *testing.T) {
	all := []config.Ungranted{
		{Rule: config.Rule{Kind: config.KindHTTPRoute, Namespace: "team-a", Route: "fraud", Name: "score"}, Model: "models/fraud"},
		{Rule: config.Rule{Kind: config.KindHTTPRoute, Namespace: "team-a", Route: "fraud", Name: "rank"}, Model: "models/fraud"},
		{Rule: config.Rule{Kind: config.KindVirtualService, Namespace: "team-a", Route: "fraud", Name: "score"}, Model: "models/fraud"},
		{Rule: config.Rule{Kind: config.KindHTTPRoute, Namespace: "team-b", Route: "fraud", Name: "score"}, Model: "models/fraud"},
	}
	section := gatewayv1.SectionName("rank")
	for _, c := range []struct {
		section *gatewayv1.SectionName
		want    int
	}{{nil, 2}, {&section, 1}} {
		target := &gatewayv1.LocalPolicyTargetReferenceWithSectionName{SectionName: c.section}
		target.Group, target.Kind, target.Name = gatewayv1.GroupName, config.KindHTTPRoute, "fraud"
		if got := ungrantedFor(all, "team-a", target); len(got) != c.want {
			t.Errorf("got %v, want %d", got, c.want)
		}
	}
}
