package compile

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/policy"
)

const chatText = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec: {rules: [{TIMEOUTS backendRefs: [{name: m-v1, port: 80}]}]}
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: m}
spec:
  protocol: OpenAI
  versions: [{name: v1, backendRef: {name: m-v1, port: 80}, endpoints: [{address: 127.0.0.1, port: 9100}]}]
---
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: p}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}]
  mode: MODE
  deadline: DEADLINE
  stream: {STREAM}
  detect: {DETECT}
  ladder:
  - safeDefault:
      body: '{"id": "d", "object": "chat.completion", "created": 0, "model": "d", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Later."}, "finish_reason": "stop"}]}'
`

// chatRoute compiles a chat policy; what is not given is empty, the mode
// Enforce, the deadline 1m.
func chatRoute(t *testing.T, parts map[string]string) *Route {
	t.Helper()
	text := chatText
	for name, otherwise := range map[string]string{"TIMEOUTS": "", "MODE": "Enforce", "DEADLINE": "1m", "STREAM": "", "DETECT": ""} {
		value, ok := parts[name]
		if !ok {
			value = otherwise
		}
		text = strings.ReplaceAll(text, name, value)
	}
	snapshot, problems := Files(config.File{Name: "x.yaml", Data: []byte(text)})
	if snapshot == nil {
		t.Fatal(problems)
	}
	return &snapshot.Routes[0]
}

// TestStreamBounds: defaults depend on the deadline and on the route's own
// timeout, and the proxy cuts after all that the processor would.
func TestStreamBounds(t *testing.T) {
	const s, m = time.Second, time.Minute
	for name, c := range map[string]struct {
		parts                 map[string]string
		first, between, whole time.Duration
		hold                  int64
		model, cut            time.Duration
	}{
		"defaults":            {nil, m - 5*time.Millisecond, 10 * s, 10 * m, 64 << 10, m - 5*time.Millisecond, 10*m + StreamGrace},
		"written":             {map[string]string{"STREAM": "firstToken: 5s, betweenTokens: 2s, maxDuration: 2m, holdBytes: 2048"}, 5 * s, 2 * s, 2 * m, 2048, m - 5*time.Millisecond, 2*m + StreamGrace},
		"a long deadline":     {map[string]string{"DEADLINE": "15m"}, 15*m - 5*time.Millisecond, 10 * s, 15 * m, 64 << 10, 15*m - 5*time.Millisecond, 15*m + StreamGrace},
		"a short stream":      {map[string]string{"DEADLINE": "2s", "STREAM": "maxDuration: 5s"}, 2*s - 5*time.Millisecond, 5 * s, 5 * s, 64 << 10, 2*s - 5*time.Millisecond, 5*s + StreamGrace},
		"the route's timeout": {map[string]string{"TIMEOUTS": "timeouts: {request: 90s},"}, m - 5*time.Millisecond, 10 * s, 90 * s, 64 << 10, m - 5*time.Millisecond, 90*s + StreamGrace},
		"silence over it":     {map[string]string{"DEADLINE": "4s", "TIMEOUTS": "timeouts: {request: 5s},"}, 4*s - 5*time.Millisecond, 5 * s, 5 * s, 64 << 10, 4*s - 5*time.Millisecond, 5*s + StreamGrace},
		"the model's timeout": {map[string]string{"TIMEOUTS": "timeouts: {request: 1h, backendRequest: 8s},"}, m - 5*time.Millisecond, 10 * s, 10 * m, 64 << 10, 8 * s, 10*m + StreamGrace},
		"lateness observed":   {map[string]string{"DETECT": "late: {mode: Observe}"}, m - 5*time.Millisecond, 10 * s, 10 * m, 64 << 10, 0, 0},
		"observed":            {map[string]string{"MODE": "Observe"}, m - 5*time.Millisecond, 10 * s, 10 * m, 64 << 10, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := chatRoute(t, c.parts)
			want := policy.Stream{FirstToken: policy.Duration(c.first), BetweenTokens: policy.Duration(c.between), MaxDuration: policy.Duration(c.whole), HoldBytes: c.hold}
			if got := *r.Policy.Stream; got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if r.ModelTimeout != c.model || r.MaxDuration != c.cut {
				t.Errorf("the proxy: got %s and %s, want %s and %s", r.ModelTimeout, r.MaxDuration, c.model, c.cut)
			}
			if want := (policy.Needs{RequestBody: true, Duplex: true}); r.Policy.Needs != want {
				t.Errorf("needs %+v, want %+v", r.Policy.Needs, want)
			}
		})
	}
}

func TestChatChecks(t *testing.T) {
	for detect, want := range map[string]policy.Chat{
		"":                                  {Choices: policy.Enforce},
		"chat: {}":                          {Choices: policy.Enforce},
		"chat: {choices: {}}":               {Choices: policy.Enforce},
		"chat: {choices: {mode: Disabled}}": {},
		"chat: {refusal: {}, contentFilter: {}, format: {}}": {
			Refusal: policy.Enforce, ContentFilter: policy.Enforce, Choices: policy.Enforce, Format: policy.Enforce},
		"chat: {refusal: {mode: Observe}, format: {mode: Disabled}, choices: {mode: Observe}}": {
			Refusal: policy.Observe, Choices: policy.Observe},
	} {
		if got := *chatRoute(t, map[string]string{"DETECT": detect}).Policy.Detect.Chat; got != want {
			t.Errorf("%q: got %+v, want %+v", detect, got, want)
		}
	}
}

// TestChatContract: a completion has no outputs, and its contract is on where
// it is written.
func TestChatContract(t *testing.T) {
	for detect, want := range map[string]*policy.Contract{
		"":                            nil,
		"contract: {mode: Disabled}":  nil,
		"contract: {}":                {Mode: policy.Enforce},
		"contract: {mode: Observe}":   {Mode: policy.Observe},
		"contract: {modelName: true}": {Mode: policy.Enforce, ModelName: true},
	} {
		got := chatRoute(t, map[string]string{"DETECT": detect}).Policy.Detect.Contract
		if (got == nil) != (want == nil) || got != nil && (got.Mode != want.Mode || got.ModelName != want.ModelName) {
			t.Errorf("%q: got %+v, want %+v", detect, got, want)
		}
	}
}

// TestOnePolicyBothWays: of one policy the gRPC route asks over gRPC at the
// ports for it, and the other route is none the wiser.
func TestOnePolicyBothWays(t *testing.T) {
	s := compileFile(t, "testdata/grpc.yaml")
	by := map[string]*Route{}
	for i := range s.Routes {
		by[s.Routes[i].Name] = &s.Routes[i]
	}
	rest, grpc := by["default/rest/infer"].Policy, by["default/tensors/service"].Policy
	if rest.Protocol != policy.OpenInferenceV2 || grpc.Protocol != policy.OpenInferenceGRPC {
		t.Errorf("protocols %s and %s", rest.Protocol, grpc.Protocol)
	}
	if rest.Needs.Duplex || grpc.Needs != (policy.Needs{RequestBody: true, Duplex: true}) {
		t.Errorf("needs %+v and %+v", rest.Needs, grpc.Needs)
	}
	if rest.GRPCLastRung != policy.LastRungUnavailable || grpc.GRPCLastRung != policy.LastRungAnswer {
		t.Errorf("last rungs %q and %q", rest.GRPCLastRung, grpc.GRPCLastRung)
	}
	if rest.Stream != nil || grpc.Stream != nil || grpc.Detect.Chat != nil {
		t.Errorf("a stream or a chat where there is none: %+v", grpc)
	}
	f, g := rest.Ladder[1].Fallback, grpc.Ladder[1].Fallback
	if f.Protocol != policy.OpenInferenceV2 || f.Endpoints[0].Port != 9101 || f.Path == "" || f.Probe == nil {
		t.Errorf("the fallback over REST: %+v", f)
	}
	if g.Protocol != policy.OpenInferenceGRPC || g.Endpoints[0].Port != 9201 || g.Path != "" || g.Probe != nil {
		t.Errorf("the fallback over gRPC: %+v", g)
	}
	if o, q := rest.Ladder[0].Cache.Origin, grpc.Ladder[0].Cache.Origin; o.Endpoints[0].Port != 9100 || q.Endpoints[0].Port != 9200 || q.Protocol != policy.OpenInferenceGRPC {
		t.Errorf("origins %+v and %+v", o, q)
	}
	if _, ok := rest.Versions["default/m/v1"]; !ok || len(rest.Versions) != 1 {
		t.Errorf("versions %v", rest.Versions)
	}
	if v := grpc.Versions["default/m/v1/grpc"]; v.Name != "v1" || v.ReportedVersion != "1" || len(grpc.Versions) != 2 {
		t.Errorf("versions %v", grpc.Versions)
	}
	if r := by["default/tensors/service"]; r.MaxDuration != 200*time.Millisecond+Grace || r.ModelTimeout != 145*time.Millisecond || !r.GRPC || by["default/rest/infer"].GRPC {
		t.Errorf("timeouts %s and %s, GRPC %v", r.ModelTimeout, r.MaxDuration, r.GRPC)
	}
}

func TestClustersOfBothKinds(t *testing.T) {
	s := compileFile(t, "testdata/grpc.yaml")
	var names []string
	for _, c := range s.Clusters {
		names = append(names, c.Name)
		if c.HTTP2 != strings.HasSuffix(c.Name, "/grpc") || c.HTTP2 == (c.HealthCheck != nil) {
			t.Errorf("%s: HTTP2 %v, health check %v", c.Name, c.HTTP2, c.HealthCheck)
		}
	}
	if want := []string{"default/m/v1", "default/m/v1/grpc", "default/m/v2/grpc"}; !slices.Equal(names, want) {
		t.Fatalf("got %v, want %v", names, want)
	}
	both := s.Clusters[1]
	if want := []policy.Endpoint{{Address: "127.0.0.1", Port: 9200}, {Address: "m.example.com", Port: 9100}}; !slices.Equal(both.Endpoints, want) || !both.DNS {
		t.Errorf("got %+v, want %v", both, want)
	}
}

// TestGRPCPrecedence: a gRPC call is looked for among the GRPCRoutes first, in
// the Gateway API's order: the longest service, the longest method, the most
// headers.
func TestGRPCPrecedence(t *testing.T) {
	s := compileFile(t, "testdata/grpc.yaml")
	got := map[string][]string{}
	for _, h := range s.Hosts {
		for _, e := range h.Entries {
			text := strings.TrimPrefix(s.Routes[e.Route].Name, "default/") + " " + []string{"prefix", "exact", "regex"}[e.Match.PathType] + " " + e.Match.Path
			if e.Match.GRPC != s.Routes[e.Route].GRPC {
				t.Errorf("%s: GRPC %v", text, e.Match.GRPC)
			}
			got[h.Domain] = append(got[h.Domain], text)
		}
	}
	const service = "/inference.GRPCInferenceService"
	want := []string{
		"tensors/infer exact " + service + "/ModelInfer", // with headers
		"tensors/infer exact " + service + "/ModelInfer",
		"tensors/service prefix " + service,
		"tensors/expression regex /(?:inference[.]GRPC.*|other)/(?:Model.*)",
		"tensors/method regex /[^/]+/ModelInfer",
		"tensors/every prefix /",
		"rest/exact exact " + service + "/ModelInfer",
		"rest/infer prefix /v2/models/m",
	}
	if !slices.Equal(got["*"], want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got["*"], "\n"), strings.Join(want, "\n"))
	}
	if first := got["tensors.example.com"]; len(first) != len(want)+1 || first[0] != "named/rule-0 prefix /" || !slices.Equal(first[1:], want) {
		t.Errorf("of the named host: %v", first)
	}
	if e := s.Hosts[0].Entries[0].Match.Headers; len(e) != 2 || e[0] != (ValueMatch{Name: "x-tenant", Value: "a"}) || !e[1].Regex {
		t.Errorf("headers %+v", e)
	}
}
