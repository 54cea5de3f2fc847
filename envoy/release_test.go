package envoy

import (
	"net/http"
	"slices"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
)

// released is s with a release of the harness's one model.
func released(s *compile.Snapshot, generation uint64, percents map[string]int) *compile.Snapshot {
	return s.WithReleases(map[string]compile.Release{"default/fraud": {Generation: generation, Weights: percents}})
}

// TestAReleaseChangesRoutesAlone: a flip is one type of resource to send and one
// to wait for. No listener is drained, and no cluster comes or goes.
func TestAReleaseChangesRoutesAlone(t *testing.T) {
	v1, v2 := version("v1", "127.0.0.1:9101"), version("v2", "127.0.0.1:9102")
	for name, s := range map[string]*compile.Snapshot{
		"HTTP": snapshot(t, enforced(nil), v1, v2),
		"gRPC": grpcSnapshot(t, grpcPolicy(byMessage), v1, v2),
		"chat": snapshot(t, chatPolicy(nil), v1, v2),
	} {
		t.Run(name, func(t *testing.T) {
			before := rendered(t, s, Options{})
			for generation, percents := range []map[string]int{{"v1": 99, "v2": 1}, {"v1": 1, "v2": 99}, {"v1": 0, "v2": 100}, {}} {
				after := rendered(t, released(s, uint64(generation+1), percents), Options{})
				for kind, of := range map[string]func(*Resources) []proto.Message{
					"listeners": func(r *Resources) []proto.Message { return messages(r.Listeners) },
					"clusters":  func(r *Resources) []proto.Message { return messages(r.Clusters) },
					"secrets":   func(r *Resources) []proto.Message { return messages(r.Secrets) },
				} {
					if hashOf(of(before)) != hashOf(of(after)) {
						t.Errorf("%v changes %s", percents, kind)
					}
				}
				if name == "gRPC" && !proto.Equal(before.Routes[2], after.Routes[2]) {
					t.Errorf("%v changes the defaults, which would have to come in the same moment", percents)
				}
				if hashOf(messages(before.Routes)) == hashOf(messages(after.Routes)) {
					t.Errorf("%v changes no route", percents)
				}
			}
		})
	}
}

// TestGeneration: whatever route shows a request to the processor carries the
// number of the release.
func TestGeneration(t *testing.T) {
	v1, v2 := version("v1", "127.0.0.1:9101"), version("v2", "127.0.0.1:9102")
	for name, s := range map[string]*compile.Snapshot{
		"HTTP": snapshot(t, enforced(nil), v1, v2),
		"gRPC": grpcSnapshot(t, grpcPolicy(byMessage), v1, v2),
		"chat": snapshot(t, chatPolicy(nil), v1, v2),
	} {
		for generation, want := range map[uint64]string{0: "", 1: "1", 1<<64 - 1: "18446744073709551615"} {
			found := 0
			for _, rc := range rendered(t, released(s, generation, map[string]int{"v1": 1, "v2": 99}), Options{}).Routes {
				for _, vh := range rc.VirtualHosts {
					for _, rt := range vh.Routes {
						fields := rt.GetMetadata().GetFilterMetadata()[policy.MetadataNamespace].GetFields()
						if fields[policy.MetadataPolicy] == nil {
							continue
						}
						found++
						if got := fields[policy.MetadataGeneration]; got.GetStringValue() != want || (got == nil) != (want == "") {
							t.Errorf("%s: route %s has generation %v, want %q", name, rt.Name, got, want)
						}
					}
				}
			}
			if found == 0 {
				t.Errorf("%s: no route has a policy", name)
			}
		}
	}
}

// TestGenerationReachesTheProcessor: with every request, and that of the weights
// which the request was routed by.
func TestGenerationReachesTheProcessor(t *testing.T) {
	o := testOptions(t)
	processor := startProcessor(t, o.Processor, nil)
	s := released(snapshot(t, enforced(nil), version("v1", newModel(t, nil).addr)), 42, map[string]int{"v1": 100})
	p := startStatic(t, s, o)
	if r := p.post(); r.status != 200 || r.body != clean {
		t.Fatalf("got %d %q", r.status, r.body)
	}
	if got := processor.attribute(policy.AttributeGeneration); got != "42" {
		t.Errorf("the processor got generation %q, want 42", got)
	}
}

// TestCircuitBreakers: every threshold is written, and a Model's own take the place of
// ours one by one.
func TestCircuitBreakers(t *testing.T) {
	v := version("v1", "127.0.0.1:9101")
	v.Limits = compile.Limits{MaxConnections: 10, MaxRetries: 2}
	got := rendered(t, snapshot(t, nil, v), Options{}).Clusters[0].GetCircuitBreakers().GetThresholds()
	if len(got) != 1 || got[0].GetPriority() != corev3.RoutingPriority_DEFAULT {
		t.Fatalf("got %v", got)
	}
	limits := []uint32{got[0].MaxConnections.GetValue(), got[0].MaxPendingRequests.GetValue(), got[0].MaxRequests.GetValue(), got[0].MaxRetries.GetValue()}
	if !slices.Equal(limits, []uint32{10, 65536, 65536, 2}) {
		t.Errorf("got %v", limits)
	}
}

// TestOutlierDetection: an endpoint that fails while others of its version do
// not is left out; the last ones are not, so that a version that fails as a
// whole is seen to fail.
func TestOutlierDetection(t *testing.T) {
	bad, good := newModel(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }), newModel(t, nil)
	v := version("v1", bad.addr)
	v.Outliers = &compile.Outliers{Consecutive5xx: 3, Interval: time.Second, BaseEjectionTime: time.Minute, MaxEjectionPercent: 50}
	alone := startStatic(t, snapshot(t, nil, v), testOptions(t))
	for range 20 {
		if r := alone.post(); r.status != 500 {
			t.Fatalf("a sole endpoint: got %d %q", r.status, r.body)
		}
	}
	v.Endpoints = append(v.Endpoints, version("v1", good.addr).Endpoints...)
	both := startStatic(t, snapshot(t, nil, v), testOptions(t))
	seen := map[int]int{}
	eventually(t, "the bad endpoint is left out", func() bool {
		before := bad.calls.Load()
		for range 20 {
			seen[both.post().status]++
		}
		return bad.calls.Load() == before
	})
	if seen[200] == 0 || seen[500] < 3 || len(seen) != 2 {
		t.Errorf("callers got %v", seen)
	}
}
