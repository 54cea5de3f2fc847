package envoy

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/porttest"
)

// foreign is another team's filter, on for every request.
func foreign(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(config)}}
}

func grpcTo(cluster string) *corev3.GrpcService {
	return &corev3.GrpcService{
		Timeout:         durationpb.New(20 * time.Second),
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: cluster}},
	}
}

func rateLimit(status typev3.StatusCode) *ratelimitv3.LocalRateLimit {
	always := &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: 100}}
	return &ratelimitv3.LocalRateLimit{
		StatPrefix:    "foreign",
		Status:        &typev3.HttpStatus{Code: status},
		TokenBucket:   &typev3.TokenBucket{MaxTokens: 1, TokensPerFill: wrapperspb.UInt32(1), FillInterval: durationpb.New(time.Hour)},
		FilterEnabled: always, FilterEnforced: always,
	}
}

func foreignProcessor(cluster string, body extprocfilterv3.ProcessingMode_BodySendMode, patience time.Duration) *extprocfilterv3.ExternalProcessor {
	return &extprocfilterv3.ExternalProcessor{
		GrpcService:    grpcTo(cluster),
		MessageTimeout: durationpb.New(patience),
		ProcessingMode: &extprocfilterv3.ProcessingMode{RequestBodyMode: body},
	}
}

// TestForeignFailures: what another team's filter answers is the same, status
// and body, with a fully enforced policy as without one, our processor alive
// or dead. Turning a failed authorization into a 200 would be a bypass.
func TestForeignFailures(t *testing.T) {
	const other = "other"
	failing := func(t *testing.T, at string) func(string) {
		return func(addr string) {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			s := grpc.NewServer()
			extprocv3.RegisterExternalProcessorServer(s, failsAt(at))
			go func() { _ = s.Serve(l) }()
			t.Cleanup(s.Stop)
		}
	}
	dead := func(t *testing.T) func(string) { return func(string) {} }
	hung := func(t *testing.T) func(string) { return func(addr string) { silent(t, addr) } }

	cases := map[string]struct {
		filter func() *hcmv3.HttpFilter
		server func(t *testing.T) func(addr string) // of the foreign filter
		status int
		first  bool // one request before, which spends the rate limit
	}{
		"ext_authz dead": {func() *hcmv3.HttpFilter {
			return foreign("envoy.filters.http.ext_authz", &authzv3.ExtAuthz{
				Services:      &authzv3.ExtAuthz_GrpcService{GrpcService: grpcTo(other)},
				StatusOnError: &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
			})
		}, dead, 503, false},
		"rate limit 429": {func() *hcmv3.HttpFilter {
			return foreign("envoy.filters.http.local_ratelimit", rateLimit(typev3.StatusCode_TooManyRequests))
		}, dead, 429, true},
		"rate limit 503": {func() *hcmv3.HttpFilter {
			return foreign("envoy.filters.http.local_ratelimit", rateLimit(typev3.StatusCode_ServiceUnavailable))
		}, dead, 503, true},
		"fault abort": {func() *hcmv3.HttpFilter {
			return foreign("envoy.filters.http.fault", &faultv3.HTTPFault{Abort: &faultv3.FaultAbort{
				ErrorType:  &faultv3.FaultAbort_HttpStatus{HttpStatus: 503},
				Percentage: &typev3.FractionalPercent{Numerator: 100},
			}})
		}, dead, 503, false},
		"ext_proc dead": {func() *hcmv3.HttpFilter {
			return foreign("theirs", foreignProcessor(other, extprocfilterv3.ProcessingMode_NONE, 20*time.Second))
		}, dead, 500, false},
		"ext_proc hung": {func() *hcmv3.HttpFilter {
			return foreign("theirs", foreignProcessor(other, extprocfilterv3.ProcessingMode_NONE, briefly))
		}, hung, 504, false},
		"ext_proc fails at response headers": {func() *hcmv3.HttpFilter {
			return foreign("theirs", foreignProcessor(other, extprocfilterv3.ProcessingMode_NONE, 20*time.Second))
		}, func(t *testing.T) func(string) { return failing(t, "response headers") }, 500, false},
		"ext_proc fails at a buffered request body": {func() *hcmv3.HttpFilter {
			return foreign("theirs", foreignProcessor(other, extprocfilterv3.ProcessingMode_BUFFERED, 20*time.Second))
		}, func(t *testing.T) func(string) { return failing(t, "request body") }, 500, false},
		"ext_proc fails at a streamed request body": {func() *hcmv3.HttpFilter {
			return foreign("theirs", foreignProcessor(other, extprocfilterv3.ProcessingMode_STREAMED, 20*time.Second))
		}, func(t *testing.T) func(string) { return failing(t, "request body") }, 500, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			upstream := newModel(t, nil)
			v := version("v1", upstream.addr)
			run := func(p *policy.Policy, alive bool) reply {
				o := testOptions(t)
				otherAddr := porttest.Address(t)
				c.server(t)(otherAddr)
				cluster, err := serviceCluster(other, otherAddr, TLS{})
				if err != nil {
					t.Fatal(err)
				}
				o.ExtraFilters, o.ExtraClusters = []*hcmv3.HttpFilter{c.filter()}, []*clusterv3.Cluster{cluster}
				if alive {
					startProcessor(t, o.Processor, nil)
				}
				e := startStatic(t, snapshot(t, p, v), o)
				if c.first {
					e.post()
				}
				return e.post()
			}
			bare := run(nil, false)
			if bare.status != c.status {
				t.Fatalf("without us the filter answers %d, want %d: the fault is not present", bare.status, c.status)
			}
			for label, got := range map[string]reply{
				"alive":             run(enforced(nil), true),
				"dead":              run(enforced(nil), false),
				"dead, policy pass": run(enforced(pass), false),
			} {
				if label == "dead" && strings.Contains(name, "response headers") {
					continue // our processor fails first, on the way to the model
				}
				if got.status != bare.status || got.body != bare.body || got.source() != "" {
					t.Errorf("processor %s: got %d %q from %q, without us %d %q", label, got.status, got.body, got.source(), bare.status, bare.body)
				}
			}
		})
	}
}

// failsAt is an ext_proc server that breaks off at one phase.
type failsAt string

func (f failsAt) Process(stream extprocv3.ExternalProcessor_ProcessServer) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil
		}
		phase := phaseOf(m)
		if phase == string(f) {
			return status.Error(codes.Internal, "scripted")
		}
		if err := stream.Send(proceed(phase)); err != nil {
			return nil
		}
	}
}

// TestNotFound: a 404 of Envoy's own stays one and costs the processor nothing.
func TestNotFound(t *testing.T) {
	o := testOptions(t)
	ours := startProcessor(t, o.Processor, nil)
	s := snapshot(t, enforced(nil), version("v1", newModel(t, nil).addr))
	s.Hosts[0].Domain = "fraud.example"
	p := startStatic(t, s, o)
	if r := p.post("host", "other.example"); r.status != 404 || r.body != "" || r.source() != "" {
		t.Errorf("got %d %q from %q, want a bare 404", r.status, r.body, r.source())
	}
	if n := ours.seen.Load(); n != 0 {
		t.Errorf("the processor was asked %d times about a request without a route", n)
	}
	if r := p.post("host", "fraud.example:8080"); r.status != 200 || r.body != clean {
		t.Errorf("the host with a port: got %d %q", r.status, r.body)
	}
}

// TestOwn5xxWhileAway: a model's own 5xx is no local reply, so custom_response
// stands in for it, and for nothing that the processor has judged.
func TestOwn5xxWhileAway(t *testing.T) {
	const trace = "Traceback: /srv/model.py"
	failing := newModel(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("x-safestate-source", "primary") // must not look like ours
		http.Error(w, trace, http.StatusInternalServerError)
	})
	tagged := func(phase string, _ *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
		out := proceed(phase)
		if h := out.GetResponseHeaders(); h != nil {
			h.Response = &extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{raw("x-safestate-source", "primary")}}}
		}
		return out
	}
	unenforced := func(p *policy.Policy) { pass(p); p.Detect.Broken.Mode = policy.Observe }
	for name, c := range map[string]struct {
		edit   func(*policy.Policy)
		script func(string, *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse
		alive  bool
		path   string
		want   string // source; empty: the model's 500
	}{
		"pass, dead":                       {pass, nil, false, inferPath, "safe_default"},
		"pass, dead, no inference":         {pass, nil, false, "/v2/models/fraud/ready", ""},
		"pass, alive, judged and let pass": {pass, tagged, true, inferPath, "primary"},
		"broken only observed, dead":       {unenforced, nil, false, inferPath, ""},
		"observe, dead":                    {observe, nil, false, inferPath, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t)
			if c.alive {
				startProcessor(t, o.Processor, c.script)
			}
			p := startStatic(t, snapshot(t, enforced(c.edit), version("v1", failing.addr)), o)
			r := p.do("POST", c.path, strings.NewReader("{}"))
			status, body := 500, trace+"\n"
			if c.want == "safe_default" {
				status, body = 200, safeDefault
			}
			if r.status != status || r.body != body || r.source() != c.want {
				t.Errorf("got %d %q from %q, want %d %q from %q", r.status, r.body, r.source(), status, body, c.want)
			}
			if c.want == "safe_default" && (r.reason() != "broken_status" || r.header.Get("content-type") != "application/json" || r.header.Get("x-content-type-options") != "") {
				t.Errorf("headers %v", r.header)
			}
		})
	}
}
