package envoy

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/porttest"
)

// failing answers 500.
func failing(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusInternalServerError)
	_, _ = w.Write([]byte("Traceback"))
}

// TestLastRungCounter: Envoy counts the defaults that no processor knows of, by
// route and reason, and none that a processor gave.
func TestLastRungCounter(t *testing.T) {
	alive := func(t *testing.T, addr string) { startProcessor(t, addr, nil) }
	dead := func(*testing.T, string) {}
	at := func(phase string, out *extprocv3.ProcessingResponse) func(*testing.T, string) {
		return func(t *testing.T, addr string) {
			startProcessor(t, addr, func(now string, _ *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
				if now == phase {
					return out
				}
				return nil
			})
		}
	}
	byProcessor := answer(200, safeDefault, "safe_default")
	byProcessor.GetImmediateResponse().Details = "safestate_safe_default"
	inPlace := &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{
		Response: &extprocv3.CommonResponse{
			HeaderMutation: &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{
				raw("x-safestate-source", "safe_default"), raw("x-safestate-reason", "late"), raw("content-length", strconv.Itoa(len(safeDefault))),
			}},
			BodyMutation: &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_Body{Body: []byte(safeDefault)}},
		},
	}}}
	good := func(t *testing.T) string { return newModel(t, nil).addr }
	broken := func(t *testing.T) string { return newModel(t, failing).addr }
	refusing := func(t *testing.T) string { return porttest.Address(t) }
	stalls := func(t *testing.T) string {
		return newModel(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("content-length", "1000")
			_, _ = w.Write([]byte("{"))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}).addr
	}
	cut := func(t *testing.T) string { return breaking(t, halfAnswer) }
	for name, c := range map[string]struct {
		processor func(*testing.T, string)
		model     func(*testing.T) string
		edit      func(*policy.Policy)
		reason    string // of the one answer counted; empty: none
	}{
		"clean":                        {alive, good, nil, ""},
		"cut body":                     {alive, cut, nil, "broken_reset"},
		"stalled body":                 {alive, stalls, nil, "late"},
		"refused":                      {alive, refusing, nil, "broken_refused"},
		"processor dead":               {dead, good, nil, "processor_away"},
		"pass, dead, 5xx":              {dead, broken, pass, "broken_status"},
		"default by the processor":     {at("request headers", byProcessor), good, nil, ""},
		"at the headers":               {at("response headers", byProcessor), broken, nil, ""},
		"at the body":                  {at("response body", byProcessor), good, nil, ""},
		"in place of the body":         {at("response body", inPlace), good, nil, ""},
		"last rung, taken over":        {at("response headers", byProcessor), refusing, nil, ""},
		"another source on a failure":  {at("response headers", answer(200, "x", "cache")), refusing, nil, ""},
		"observed, no default is told": {alive, refusing, observe, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t)
			c.processor(t, o.Processor)
			p := startStatic(t, snapshot(t, enforced(func(p *policy.Policy) {
				if c.reason == "late" {
					hurried(p)
				}
				if c.edit != nil {
					c.edit(p)
				}
			}), version("v1", c.model(t))), o)
			p.post()
			// Counted when the log is written, which is after the answer, and after
			// the request is over.
			eventually(t, "the request is over", func() bool {
				return strings.Contains(p.adminGet("/stats?filter=downstream_rq_active"), "http.safestate.downstream_rq_active: 0")
			})
			counted := func() (out []string) {
				for _, line := range strings.Split(p.adminGet("/stats/prometheus"), "\n") {
					if strings.HasPrefix(line, "envoy_safestate_last_rung") {
						out = append(out, line)
					}
				}
				return out
			}
			if c.reason == "" {
				if got := counted(); len(got) != 0 {
					t.Errorf("counted %v", got)
				}
				return
			}
			want := fmt.Sprintf(`envoy_safestate_last_rung{route="default/fraud/score",reason="%s"} 1`, c.reason)
			eventually(t, want, func() bool { return len(counted()) > 0 })
			if got := counted(); len(got) != 1 || got[0] != want {
				t.Errorf("counted %v, want %s", got, want)
			}
		})
	}
}

// TestRefusalStays: what the processor says no to with a reason, and no source,
// is not taken for a 5xx that nobody has judged.
func TestRefusalStays(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	startProcessor(t, o.Processor, func(phase string, _ *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
		out := proceed(phase)
		if phase == "response headers" {
			out.GetResponseHeaders().Response = &extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{
				SetHeaders: []*corev3.HeaderValueOption{raw(":status", "503"), raw("x-safestate-reason", "budget_exhausted")},
			}}
		}
		return out
	})
	p := startStatic(t, snapshot(t, enforced(pass), version("v1", newModel(t, failing).addr)), o)
	if r := p.post(); r.status != 503 || r.reason() != "budget_exhausted" || r.source() != "" {
		t.Errorf("got %d %q from %q because %q, want the refusal", r.status, r.body, r.source(), r.reason())
	}
}
