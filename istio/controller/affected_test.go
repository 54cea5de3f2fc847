package controller

import (
	"errors"
	"maps"
	"testing"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/istio"
)

// TestPoliciesByRoute: a route whose policy no proxy carries is affected by none.
func TestPoliciesByRoute(t *testing.T) {
	route := func(name string, p *policy.Policy) compile.Route {
		return compile.Route{Name: "ns/" + name + "/0", Namespace: "ns", Object: compile.Object{Kind: config.KindHTTPRoute, Name: name}, Policy: p}
	}
	p := &policy.Policy{Name: "ns/p"}
	l := &Loaded{
		Snapshot: &compile.Snapshot{Routes: []compile.Route{route("carried", p), route("refused", p), route("clashes", p), route("without", nil)}},
		Clashes:  map[string]string{istio.Key(config.KindHTTPRoute, "ns/clashes/0"): "it is another's too"},
	}
	got := policiesByRoute(l, &known{refused: map[string]error{"ns/refused/0": errors.New("it cannot be carried")}})
	if want := map[string]string{"HTTPRoute ns/carried": "ns/p"}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
