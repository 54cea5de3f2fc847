package envoy

import (
	"slices"
	"strings"

	"cel.dev/expr"
	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	runtimefractionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/runtime_fraction/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/kill"
)

// Break-glass: a kill without the control plane, by Envoy's runtime. A key of 100
// stops what it names with a plain 503, whether anything of ours lives or not.
//
// Where the key decides for all of a match it is a route in front of the match's
// own: it is with whoever has our routes, needs no filter in their listener, and
// three keys cost 0.6 µs of Envoy's 18 µs for the least request there is. A key of
// one version among several can decide only once the version is chosen, and that
// takes a filter: 1.7 µs, and 300 µs a route when routes are read, which is why the
// other keys are no filters. (Envoy 1.40, medians of 7 runs in turns. Envoy's own
// fault filter, one for each kind of key, costs 2 to 3 µs.)

// RuntimeKey is the key of Envoy's runtime by which a person stops a target
// without the control plane: "safestate.kill." and the target's key, with dots.
func RuntimeKey(t kill.Target) string {
	return "safestate.kill." + strings.ReplaceAll(t.Key(), "/", ".")
}

// filterKill stops single versions of a route that leads to several.
const filterKill = "safestate.kill"

func killFilter() *hcmv3.HttpFilter { return filter(filterKill, &compositev3.Composite{}) }

// stopAll is the first route of every host.
func stopAll() *routev3.Route {
	return stopRoute(kill.Everything, &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}})
}

// stopRoutes stand in front of the routes of one match: one for each key that
// stops all of it.
func stopRoutes(m *compile.Match, r *compile.Route) ([]*routev3.Route, error) {
	targets := []kill.Target{kill.ForRoute(r.Name)}
	if models, versions := stoppables(r); len(models) == 1 {
		targets = append(targets, models[0])
		if len(versions) == 1 {
			targets = append(targets, versions[0].version)
		}
	}
	var out []*routev3.Route
	for _, t := range targets {
		match, err := routeMatch(m)
		if err != nil {
			return nil, err
		}
		out = append(out, stopRoute(t, match))
	}
	return out, nil
}

func stopRoute(t kill.Target, match *routev3.RouteMatch) *routev3.Route {
	key := RuntimeKey(t)
	match.RuntimeFraction = offUnless(key)
	out := &routev3.Route{Name: key, Match: match}
	refuse(out, true)
	return out
}

// offUnless is a share of requests: none, unless the runtime says otherwise.
func offUnless(key string) *corev3.RuntimeFractionalPercent {
	return &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{}, RuntimeKey: key}
}

// stoppable is a version that a route leads to.
type stoppable struct {
	cluster        string
	model, version kill.Target
}

// stoppables are the versions that have weight on a route, and their models; where
// none has any, those of all its versions.
func stoppables(r *compile.Route) (models []kill.Target, versions []stoppable) {
	weighted := slices.ContainsFunc(r.Backends, func(b compile.Backend) bool { return b.Weight > 0 })
	for _, b := range r.Backends {
		name := strings.Split(b.Cluster, "/") // namespace/model/version, see compile.Cluster
		if len(name) < 3 || weighted && b.Weight == 0 {
			continue
		}
		model := name[0] + "/" + name[1]
		v := stoppable{b.Cluster, kill.ForModel(model), kill.ForVersion(model, name[2])}
		versions = append(versions, v)
		if !slices.Contains(models, v.model) {
			models = append(models, v.model)
		}
	}
	return models, versions
}

// stopVersions turns the filter on for a route that leads to several versions. It
// looks at the runtime first, which costs next to nothing, and at the version
// only where a key is set.
func stopVersions(r *compile.Route) map[string]*anypb.Any {
	models, versions := stoppables(r)
	if len(versions) < 2 {
		return nil
	}
	var set []*xdsmatcherv3.Matcher_MatcherList_Predicate
	for _, v := range versions {
		set = append(set, allOf(isSet(RuntimeKey(v.version)), goesTo(v.cluster)))
		if len(models) > 1 {
			set = append(set, allOf(isSet(RuntimeKey(v.model)), goesTo(v.cluster)))
		}
	}
	abort := &compositev3.ExecuteFilterAction{TypedConfig: &corev3.TypedExtensionConfig{Name: filterKill, TypedConfig: packed(&faultv3.HTTPFault{
		Abort: &faultv3.FaultAbort{
			ErrorType:  &faultv3.FaultAbort_HttpStatus{HttpStatus: 503},
			Percentage: &typev3.FractionalPercent{Numerator: 100},
		},
		// Envoy's own keys of the runtime would switch it off.
		AbortPercentRuntime: filterKill + ".percent", AbortHttpStatusRuntime: filterKill + ".status",
	})}}
	return map[string]*anypb.Any{filterKill: packed(&compositev3.CompositePerRoute{Matcher: &xdsmatcherv3.Matcher{
		MatcherType: &xdsmatcherv3.Matcher_MatcherList_{MatcherList: &xdsmatcherv3.Matcher_MatcherList{
			Matchers: []*xdsmatcherv3.Matcher_MatcherList_FieldMatcher{{
				Predicate: anyOf(set),
				OnMatch: &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
					Action: &xdscorev3.TypedExtensionConfig{Name: "stop", TypedConfig: packed(abort)},
				}},
			}},
		}},
	}})}
}

func anyOf(all []*xdsmatcherv3.Matcher_MatcherList_Predicate) *xdsmatcherv3.Matcher_MatcherList_Predicate {
	return &xdsmatcherv3.Matcher_MatcherList_Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher{
		OrMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: all},
	}}
}

func allOf(all ...*xdsmatcherv3.Matcher_MatcherList_Predicate) *xdsmatcherv3.Matcher_MatcherList_Predicate {
	return &xdsmatcherv3.Matcher_MatcherList_Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher{
		AndMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: all},
	}}
}

// isSet holds for the share of requests that a key names. Its input is one that
// every request has.
func isSet(key string) *xdsmatcherv3.Matcher_MatcherList_Predicate {
	return custom("path", packed(&matcherv3.HttpRequestHeaderMatchInput{HeaderName: ":path"}),
		"envoy.matching.matchers.runtime_fraction", packed(&runtimefractionv3.RuntimeFraction{RuntimeFraction: offUnless(key)}))
}

// goesTo holds where the chosen version is this one: xds.cluster_name is its
// cluster's name.
func goesTo(cluster string) *xdsmatcherv3.Matcher_MatcherList_Predicate {
	name := &expr.Expr{Id: 2, ExprKind: &expr.Expr_SelectExpr{SelectExpr: &expr.Expr_Select{
		Operand: &expr.Expr{Id: 1, ExprKind: &expr.Expr_IdentExpr{IdentExpr: &expr.Expr_Ident{Name: "xds"}}},
		Field:   "cluster_name",
	}}}
	want := &expr.Expr{Id: 3, ExprKind: &expr.Expr_ConstExpr{ConstExpr: &expr.Constant{ConstantKind: &expr.Constant_StringValue{StringValue: cluster}}}}
	return custom("version", packed(&xdsmatcherv3.HttpAttributesCelMatchInput{}),
		"envoy.matching.matchers.cel_matcher", packed(&xdsmatcherv3.CelMatcher{ExprMatch: &xdstypev3.CelExpression{CelExprParsed: &expr.ParsedExpr{
			Expr: &expr.Expr{Id: 4, ExprKind: &expr.Expr_CallExpr{CallExpr: &expr.Expr_Call{Function: "_==_", Args: []*expr.Expr{name, want}}}},
		}}}))
}

func custom(name string, input *anypb.Any, matcher string, config *anypb.Any) *xdsmatcherv3.Matcher_MatcherList_Predicate {
	return &xdsmatcherv3.Matcher_MatcherList_Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
		SinglePredicate: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
			Input: &xdscorev3.TypedExtensionConfig{Name: name, TypedConfig: input},
			Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_CustomMatch{
				CustomMatch: &xdscorev3.TypedExtensionConfig{Name: matcher, TypedConfig: config},
			},
		},
	}}
}

// runtime has a layer for what this file says, for files that a person writes (a
// folder's symbolic link, which is swapped), and for Envoy's admin interface; a
// later one wins.
func runtime(o Options) *bootstrapv3.LayeredRuntime {
	layers := []*bootstrapv3.RuntimeLayer{{
		Name: "static", LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: &structpb.Struct{}},
	}}
	if o.RuntimeDir != "" {
		layers = append(layers, &bootstrapv3.RuntimeLayer{
			Name:           "files",
			LayerSpecifier: &bootstrapv3.RuntimeLayer_DiskLayer_{DiskLayer: &bootstrapv3.RuntimeLayer_DiskLayer{SymlinkRoot: o.RuntimeDir}},
		})
	}
	return &bootstrapv3.LayeredRuntime{Layers: append(layers, &bootstrapv3.RuntimeLayer{
		Name: "admin", LayerSpecifier: &bootstrapv3.RuntimeLayer_AdminLayer_{AdminLayer: &bootstrapv3.RuntimeLayer_AdminLayer{}},
	})}
}
