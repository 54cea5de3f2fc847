package envoy

import (
	"strings"
	"testing"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	runtimefractionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/runtime_fraction/v3"
	clustermatcherv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/router/cluster_specifiers/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
)

func tensorRoute() compile.Route {
	return compile.Route{
		Name: "models/tensors/infer", Namespace: "models", GRPC: true, PolicyJSON: "{}",
		Backends: []compile.Backend{{Cluster: "outbound|80||v1", Weight: 90}, {Cluster: "outbound|80||v2", Weight: 10}, {Cluster: "outbound|80||v3"}},
		Policy: &policy.Policy{
			Name: "models/tensors", Protocol: policy.OpenInferenceGRPC, Host: policy.HostProcessor, Mode: policy.Enforce,
			Detect: policy.Detect{Broken: &policy.Broken{Mode: policy.Enforce}},
			Limits: policy.Limits{BodyBytes: 1 << 20},
		},
	}
}

func meshGRPCRoute(t *testing.T, change func(*compile.Route)) *routev3.Route {
	t.Helper()
	r := tensorRoute()
	change(&r)
	out, err := MeshRoute(&r, Stops{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// split reads what a route's clusters get: the first ones up to how many millionths, and
// the last one of all.
func split(t *testing.T, r *routev3.Route) (upTo map[string]uint32, last string) {
	t.Helper()
	plugin := &clustermatcherv3.MatcherClusterSpecifier{}
	opened(t, r.GetRoute().GetInlineClusterSpecifierPlugin().GetExtension().GetTypedConfig(), plugin)
	to := func(m *xdsmatcherv3.Matcher_OnMatch) string {
		action := &clustermatcherv3.ClusterAction{}
		opened(t, m.GetAction().GetTypedConfig(), action)
		return action.Cluster
	}
	list := plugin.ClusterMatcher.GetMatcherList().GetMatchers()
	if len(list) == 0 || to(list[0].OnMatch) != AnswersClusterName {
		t.Fatalf("want a second attempt at the ladder first: %v", plugin)
	}
	upTo = map[string]uint32{}
	for _, m := range list[1:] {
		fraction := &runtimefractionv3.RuntimeFraction{}
		opened(t, m.Predicate.GetSinglePredicate().GetCustomMatch().GetTypedConfig(), fraction)
		upTo[to(m.OnMatch)] = fraction.GetRuntimeFraction().GetDefaultValue().GetNumerator()
	}
	return upTo, to(plugin.ClusterMatcher.OnNoMatch)
}

func opened(t *testing.T, a *anypb.Any, into proto.Message) {
	t.Helper()
	if err := a.UnmarshalTo(into); err != nil {
		t.Fatal(err)
	}
}

// TestMeshVersionsThenLadder: the versions have their weights, the heaviest what is
// left, and the ladder every attempt but the first.
func TestMeshVersionsThenLadder(t *testing.T) {
	r := meshGRPCRoute(t, func(*compile.Route) {})
	upTo, last := split(t, r)
	if len(upTo) != 1 || upTo["outbound|80||v2"] != 100_000 || last != "outbound|80||v1" {
		t.Errorf("got %v and %s", upTo, last)
	}
	retry := r.GetRoute().GetRetryPolicy()
	if !retry.GetRefreshClusterOnRetry() || len(retry.GetRetriableRequestHeaders()) != 1 || retry.GetRetriableRequestHeaders()[0].Name != policy.HeaderCluster {
		t.Errorf("want only what the processor has let go tried again, elsewhere: %v", retry)
	}
	three := meshGRPCRoute(t, func(r *compile.Route) { r.Backends[2].Weight = 100 })
	if upTo, last := split(t, three); upTo["outbound|80||v2"] != 50_000 || upTo["outbound|80||v1"] != 500_000 || last != "outbound|80||v3" {
		t.Errorf("got %v and %s", upTo, last)
	}
}

// TestMeshGRPCRefused: what a mesh cannot do for gRPC is said.
func TestMeshGRPCRefused(t *testing.T) {
	for want, change := range map[string]func(*compile.Route){
		"want host: Processor": func(r *compile.Route) { r.Policy.Host = policy.HostBoth },
		"want versions alone":  func(r *compile.Route) { r.Beside = true },
	} {
		r := tensorRoute()
		change(&r)
		if _, err := MeshRoute(&r, Stops{}, Options{WASM: "/safestate.wasm"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	observed := tensorRoute()
	observed.Beside, observed.Policy.Mode = true, policy.Observe
	if _, err := MeshRoute(&observed, Stops{}, Options{}); err != nil {
		t.Error(err)
	}
}

// TestMeshLeavesTheWay: a route whose failures nobody enforces goes as the mesh has it,
// and so does one without any weight.
func TestMeshLeavesTheWay(t *testing.T) {
	for name, change := range map[string]func(*compile.Route){
		"observed":        func(r *compile.Route) { r.Policy.Mode = policy.Observe },
		"nothing broken":  func(r *compile.Route) { r.Policy.Detect.Broken = nil },
		"without weights": func(r *compile.Route) { r.Backends[0].Weight, r.Backends[1].Weight = 0, 0 },
		"all is withheld": func(r *compile.Route) { r.Backends = []compile.Backend{{Cluster: policy.ClusterNone, Weight: 1}} },
	} {
		if r := meshGRPCRoute(t, change); r.Action != nil || r.TypedPerFilterConfig[filterProcessor] == nil {
			t.Errorf("%s: %v", name, r)
		}
	}
}
