package envoy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/telemetry"
)

// judgedBy gives a policy a host.
func judgedBy(h policy.Host) func(*policy.Policy) {
	return func(p *policy.Policy) { p.Host = h }
}

// counted says on the last message, and on an answer of its own, that the answer
// was judged.
func counted(phase string, m *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
	out := proceed(phase)
	for _, h := range m.GetRequestHeaders().GetHeaders().GetHeaders() {
		if h.Key == "x-at-once" {
			out = answer(200, safeDefault, "safe_default")
		}
	}
	if out.GetResponseBody() != nil || out.GetImmediateResponse() != nil {
		word := &structpb.Struct{Fields: map[string]*structpb.Value{policy.MetadataVerdict: structpb.NewStringValue(policy.VerdictCounted)}}
		out.DynamicMetadata = &structpb.Struct{Fields: map[string]*structpb.Value{policy.MetadataNamespace: structpb.NewStructValue(word)}}
	}
	return out
}

// startInside runs Envoy with the probe in the place of the filter.
func startInside(t *testing.T, s *compile.Snapshot, o Options) *proxy {
	t.Helper()
	o.WASM = probeModule(t)
	return startStatic(t, s, o)
}

// TestFilterAlone: on a route of host WASM the filter sees the predictions, and
// them alone, with the policy's digest; no processor is asked. What it counts has
// the labels of the processor's counters.
func TestFilterAlone(t *testing.T) {
	t.Parallel()
	m, o := newModel(t, nil), testOptions(t)
	processor := startProcessor(t, o.Processor, nil)
	s := snapshot(t, enforced(judgedBy(policy.HostWASM)), version("v1", m.addr))
	p := startInside(t, s, o)
	r := p.post()
	if r.status != 200 || r.body != clean || r.header.Get("x-wasm") != "seen" {
		t.Errorf("a prediction: %d, %v, %s", r.status, r.header, r.body)
	}
	if got, want := r.header.Get("x-digest"), policy.Digest(s.Routes[0].PolicyJSON); got != want {
		t.Errorf("the filter reads digest %q, want %q", got, want)
	}
	if r := p.do("GET", "/v2/health/ready", nil); r.status != 200 || r.header.Get("x-wasm") != "" {
		t.Errorf("what asks for no prediction: %d, %v", r.status, r.header)
	}
	if n := processor.seen.Load(); n != 0 {
		t.Errorf("the processor was asked %d times", n)
	}
	if r := p.post("x-local", "1"); r.status != 200 || r.body != `{"answered":"inside"}` || m.calls.Load() != 2 {
		t.Errorf("an answer of the filter's own: %d, %s, %d calls of the model", r.status, r.body, m.calls.Load())
	}
	if p.adminGet("/stats?filter=last_rung&usedonly") != "" {
		t.Error("a default of the filter's is counted as Envoy's own")
	}
	want := `safestate_prediction_served_total{model="default/fraud",model_version="v1.2",route="default/fraud/score",source="primary"} 1`
	if stats := p.adminGet("/stats/prometheus"); !strings.Contains(stats, want) {
		t.Errorf("no %s", want)
	}
}

// TestFilterBesideProcessor: on a route of host Both the filter sees an answer after
// the processor, and what that has said of it; of a processor that is away there is
// no word.
func TestFilterBesideProcessor(t *testing.T) {
	t.Parallel()
	m, o := newModel(t, nil), testOptions(t)
	processor := startProcessor(t, o.Processor, counted)
	p := startInside(t, snapshot(t, enforced(func(p *policy.Policy) {
		judgedBy(policy.HostBoth)(p)
		p.WhenProcessorAway = policy.AwayPass
	}), version("v1", m.addr)), o)
	if r := p.post(); r.status != 200 || r.header.Get("x-wasm") != "seen" || r.header.Get("x-verdict") != policy.VerdictCounted {
		t.Errorf("an answer that passes: %d, %v", r.status, r.header)
	}
	if r := p.post("x-at-once", "1"); r.body != safeDefault || r.header.Get("x-wasm") != "seen" || r.header.Get("x-verdict") != policy.VerdictCounted {
		t.Errorf("an answer of the processor's: %s, %v", r.body, r.header)
	}
	processor.server.Stop()
	if r := p.post(); r.status != 200 || r.body != clean || r.header.Get("x-wasm") != "seen" || r.header.Get("x-verdict") != "" {
		t.Errorf("with the processor away: %d, %v", r.status, r.header)
	}
}

// TestFilterFromTheFirstRequest: no request is taken before the module is there.
func TestFilterFromTheFirstRequest(t *testing.T) {
	t.Parallel()
	m, o := newModel(t, nil), testOptions(t)
	early := &proxy{t: t, listen: o.Listen}
	first, stop := make(chan reply, 1), make(chan struct{})
	go func() {
		for {
			if r, err := early.try("POST", inferPath, strings.NewReader(`{}`)); err == nil {
				first <- r
				return
			}
			select {
			case <-stop:
				close(first)
				return
			default:
			}
		}
	}()
	t.Cleanup(func() { close(stop) })
	startInside(t, snapshot(t, enforced(judgedBy(policy.HostWASM)), version("v1", m.addr)), o)
	if r := <-first; r.status != 200 || r.header.Get("x-wasm") != "seen" {
		t.Errorf("the first answer: %d, %v", r.status, r.header)
	}
}

// TestFilterIsNotShownOthersReplies: what a filter in front of it answers does not
// pass through it.
func TestFilterIsNotShownOthersReplies(t *testing.T) {
	t.Parallel()
	m, o := newModel(t, nil), testOptions(t)
	o.ExtraFilters = []*hcmv3.HttpFilter{foreign("envoy.filters.http.fault", &faultv3.HTTPFault{Abort: &faultv3.FaultAbort{
		ErrorType:  &faultv3.FaultAbort_HttpStatus{HttpStatus: 503},
		Percentage: &typev3.FractionalPercent{Numerator: 100},
	}})}
	p := startInside(t, snapshot(t, enforced(judgedBy(policy.HostWASM)), version("v1", m.addr)), o)
	if r := p.post(); r.status != 503 || r.header.Get("x-wasm") != "" || r.source() != "" {
		t.Errorf("got %d, %v", r.status, r.header)
	}
}

// TestFilterDies: a trap costs the requests that its worker has under way, and no
// later one. They get the safe default, unless the filter that died may have been
// another team's.
func TestFilterDies(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	m := newModel(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("x-slow") != "" {
			<-release
		}
		if r.Header.Get("x-answer-trap") != "" {
			w.Header().Set("x-trap", "1")
		}
		w.Header().Set("content-type", "application/json")
		_, _ = io.WriteString(w, clean)
	})
	o := testOptions(t)
	p := startInside(t, snapshot(t, enforced(judgedBy(policy.HostWASM)), version("v1", m.addr)), o)
	var under sync.WaitGroup
	slow := make([]reply, 8)
	for i := range slow {
		under.Go(func() { slow[i] = p.post("x-slow", "1") })
	}
	eventually(t, "the slow requests are at the model", func() bool { return m.calls.Load() == int64(len(slow)) })
	for _, trap := range []string{"x-trap", "x-answer-trap", "x-trap", "x-answer-trap", "x-trap"} {
		if r := p.post(trap, "1"); r.status != 200 || r.body != safeDefault || r.reason() != ReasonProcessorAway || r.source() != "safe_default" {
			t.Errorf("%s: %d, %v, %s", trap, r.status, r.header, r.body)
		}
		eventually(t, "the filter is back", func() bool { return p.post().header.Get("x-wasm") == "seen" })
	}
	close(release)
	under.Wait()
	for _, r := range slow {
		if r.status != 200 || r.body != safeDefault && r.header.Get("x-wasm") != "seen" {
			t.Errorf("under way: %d, %v, %s", r.status, r.header, r.body)
		}
	}
	if got := lastRungOf(t, p, ReasonProcessorAway); got < 5 {
		t.Errorf("%d are counted as the last rung's, want 5 and those that were under way", got)
	}

	o = testOptions(t)
	o.ExtraFilters = []*hcmv3.HttpFilter{foreign("envoy.filters.http.fault", &faultv3.HTTPFault{})}
	p = startInside(t, snapshot(t, enforced(judgedBy(policy.HostWASM)), version("v1", m.addr)), o)
	if r := p.post("x-trap", "1"); r.status != 503 || r.body != "" {
		t.Errorf("beside another team's filter: %d, %s", r.status, r.body)
	}
}

// insideAndBoth has a rule of each host, chat among them.
func insideAndBoth(t *testing.T) *compile.Snapshot {
	t.Helper()
	s := snapshot(t, enforced(func(p *policy.Policy) { p.Host = policy.HostWASM }), version("v1", "127.0.0.1:9101"))
	both := snapshot(t, enforced(func(p *policy.Policy) {
		p.Route, p.Host, p.WhenProcessorAway = "default/fraud/both", policy.HostBoth, policy.AwayPass
	}), version("v1", "127.0.0.1:9101"))
	chat := snapshot(t, chatPolicy(func(p *policy.Policy) { p.Route, p.Host = "default/fraud/chat", policy.HostWASM }), version("v1", "127.0.0.1:9101"))
	both.Routes[0].Name, chat.Routes[0].Name = "default/fraud/both", "default/fraud/chat"
	s.Routes = append(s.Routes, both.Routes[0], chat.Routes[0])
	s.Hosts[0].Entries = []compile.Entry{
		{Match: compile.Match{PathType: compile.PathPrefix, Path: "/both"}, Route: 1},
		{Match: compile.Match{PathType: compile.PathPrefix, Path: "/chat"}, Route: 2},
		{Match: compile.Match{PathType: compile.PathPrefix, Path: "/"}},
	}
	return recorded(t, s)
}

// TestGoldenFilter: what is rendered for the filter, and Envoy takes it, as the
// whole configuration and as a fragment.
func TestGoldenFilter(t *testing.T) {
	s, o := insideAndBoth(t), Options{WASM: "/etc/safestate/safestate.wasm"}
	golden(t, "wasm.yaml", document(t, rendered(t, s, o)))
	boot, err := Bootstrap(o)
	if err != nil {
		t.Fatal(err)
	}
	text, err := YAML(boot)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "wasm-bootstrap.yaml", text)
	o.WASM = probeModule(t)
	static, err := Static(s, o)
	if err != nil {
		t.Fatal(err)
	}
	validated(t, "static", static)
	validated(t, "fragment", fragment(t, s, o, false))
}

// TestFilterTurnedOn: a route that changes its host changes no listener, which
// would be drained, and in which Envoy would compile while it takes nothing else.
func TestFilterTurnedOn(t *testing.T) {
	o := Options{WASM: "safestate.wasm"}
	off := rendered(t, snapshot(t, enforced(nil), version("v1", "127.0.0.1:9101")), o)
	on := rendered(t, snapshot(t, enforced(func(p *policy.Policy) { p.Host = policy.HostWASM }), version("v1", "127.0.0.1:9101")), o)
	if len(off.Listeners) != 1 || !proto.Equal(off.Listeners[0], on.Listeners[0]) {
		t.Error("the listener differs")
	}
}

// TestFilterNeedsAModule: without one there is an error that says so, wherever a
// listener is rendered.
func TestFilterNeedsAModule(t *testing.T) {
	for _, h := range []policy.Host{policy.HostWASM, policy.HostBoth} {
		s := snapshot(t, enforced(func(p *policy.Policy) { p.Host = h }), version("v1", "127.0.0.1:9101"))
		_, ads := RenderUnchecked(s, Options{})
		_, static := Static(s, Options{})
		_, own := Fragment(s, Options{}, false)
		for _, err := range []error{ads, static, own} {
			if err == nil || !strings.Contains(err.Error(), "route default/fraud/score is judged by the WASM filter (policy default/fraud)") ||
				!strings.Contains(err.Error(), "--wasm-module") {
				t.Errorf("host %s: %v", h, err)
			}
		}
	}
	s := grpcSnapshot(t, grpcPolicy(func(p *policy.Policy) { p.Host = policy.HostWASM }), version("v1", "127.0.0.1:9101"))
	if _, err := Render(s, Options{WASM: "safestate.wasm"}); err == nil || !strings.Contains(err.Error(), "does not read gRPC") {
		t.Errorf("over gRPC: %v", err)
	}
}

// TestFilterLabels: what is taken out of the names of the filter's metrics are
// labels of the processor's, and the one that the filter has of its own.
func TestFilterLabels(t *testing.T) {
	known := map[string]bool{"callback": true}
	for _, m := range telemetry.Table {
		for _, l := range m.Labels {
			known[l] = true
		}
	}
	for _, l := range wasmLabels {
		if !known[l] {
			t.Errorf("no metric has a label %s", l)
		}
	}
}

// lastRungOf is Envoy's own count of the defaults that it gave for a reason.
func lastRungOf(t *testing.T, p *proxy, reason string) (n int) {
	t.Helper()
	_, text, found := strings.Cut(p.adminGet("/stats/prometheus"), `envoy_safestate_last_rung{route="default/fraud/score",reason="`+reason+`"} `)
	if _, err := fmt.Sscan(text, &n); !found || err != nil {
		t.Fatalf("no count of the last rung's answers for %s: %v", reason, err)
	}
	return n
}
