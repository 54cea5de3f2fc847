package envoy

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/porttest"
)

// silent accepts connections and never answers.
func silent(t *testing.T, addr string) string {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var held []net.Conn
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				for _, c := range held {
					_ = c.Close()
				}
				return
			}
			held = append(held, c)
		}
	}()
	return l.Addr().String()
}

// breaking reads a request, writes what answer says and resets the connection.
func breaking(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
					return
				}
				_, _ = fmt.Fprint(c, answer)
				_ = c.(*net.TCPConn).SetLinger(0)
			}()
		}
	}()
	return l.Addr().String()
}

const halfAnswer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"model_name\""

// TestLastRung: Envoy alone answers with the route's default, its body to the
// byte, in time, whatever of processor and model is dead or hung.
func TestLastRung(t *testing.T) {
	alive := func(t *testing.T, addr string) { startProcessor(t, addr, nil) }
	dead := func(*testing.T, string) {}
	hung := func(t *testing.T, addr string) { silent(t, addr) }
	stuckAt := func(phase string) func(t *testing.T, addr string) {
		return func(t *testing.T, addr string) {
			startProcessor(t, addr, func(at string, _ *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
				if at == phase {
					return hang
				}
				return nil
			})
		}
	}
	good := func(t *testing.T) string { return newModel(t, nil).addr }
	refusing := func(t *testing.T) string { return porttest.Address(t) }
	stalled := func(t *testing.T) string { return silent(t, "127.0.0.1:0") }
	reset := func(t *testing.T) string { return breaking(t, "") }
	cut := func(t *testing.T) string { return breaking(t, halfAnswer) }

	for name, c := range map[string]struct {
		processor func(*testing.T, string)
		model     func(*testing.T) string
		edit      func(*policy.Policy)
		reason    string // a prefix; empty: the model's own answer
	}{
		"processor dead":                      {dead, good, nil, "processor_away"},
		"processor hung":                      {hung, good, nil, "processor_away"},
		"processor stuck at request headers":  {stuckAt("request headers"), good, nil, "processor_away"},
		"processor stuck at response headers": {stuckAt("response headers"), good, nil, "processor_away"},
		"processor stuck at response body":    {stuckAt("response body"), good, nil, "processor_away"},
		"both dead":                           {dead, refusing, nil, "processor_away"},
		"processor hung and model dead":       {hung, refusing, nil, "processor_away"},
		"model refuses":                       {alive, refusing, nil, "broken_refused upstream_reset_before_response_started"},
		"model silent":                        {alive, stalled, nil, "late "},
		"model resets":                        {alive, reset, nil, "broken_reset upstream_reset_before_response_started"},
		"model resets in the body":            {alive, cut, nil, "broken_reset upstream_reset_after_response_started"},
		"pass, processor dead, model good":    {dead, good, pass, ""},
		"pass, processor hung, model good":    {hung, good, pass, ""},
		"pass, both dead":                     {dead, refusing, pass, "broken_refused"},
		"pass, processor dead, model silent":  {dead, stalled, pass, "late"},
		"observe, processor dead":             {dead, good, observe, ""},
		"enforced on a share, processor dead": {dead, good, func(p *policy.Policy) { p.EnforcePercent = 10 }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t)
			if strings.Contains(name, "processor hung") || strings.Contains(name, "processor stuck") {
				o.MessageTimeout = briefly
			}
			c.processor(t, o.Processor)
			pol := enforced(c.edit)
			if strings.HasSuffix(name, "model silent") {
				hurried(pol)
			}
			p := startStatic(t, snapshot(t, pol, version("v1", c.model(t))), o)
			r := p.post()
			if r.took > inTime {
				t.Errorf("took %s, want at most %s", r.took, inTime)
			}
			want, source := safeDefault, "safe_default"
			if c.reason == "" {
				want, source = clean, ""
			}
			if r.status != 200 || r.body != want || r.err != nil || r.source() != source || !strings.HasPrefix(r.reason(), c.reason) {
				t.Errorf("got %d %q (%v) from %q because %q; want 200 %q from %q because %q", r.status, r.body, r.err, r.source(), r.reason(), want, source, c.reason)
			}
			if c.reason != "" && (r.header.Get("content-type") != "application/json" || r.header.Get("cache-control") != "no-store" || r.header.Get("content-length") == "") {
				t.Errorf("headers %v", r.header)
			}
		})
	}
}

func pass(p *policy.Policy)    { p.WhenProcessorAway = policy.AwayPass }
func observe(p *policy.Policy) { p.Mode = policy.Observe }

// TestObservedCausesStay: Envoy alone answers only for a cause that the policy
// enforces; what it merely observes reaches the caller as it is.
func TestObservedCausesStay(t *testing.T) {
	for name, c := range map[string]struct {
		edit   func(*policy.Policy)
		model  func(*testing.T) string
		status int
	}{
		"broken observed, model refuses":   {func(p *policy.Policy) { p.Detect.Broken.Mode = policy.Observe }, func(t *testing.T) string { return porttest.Address(t) }, 503},
		"broken off, model refuses":        {func(p *policy.Policy) { p.Detect.Broken = nil }, func(t *testing.T) string { return porttest.Address(t) }, 503},
		"everything observed":              {observe, func(t *testing.T) string { return porttest.Address(t) }, 503},
		"enforced on a share":              {func(p *policy.Policy) { p.EnforcePercent = 99 }, func(t *testing.T) string { return porttest.Address(t) }, 503},
		"late observed, model is too slow": {func(p *policy.Policy) { p.Detect.Late.Mode = policy.Observe }, func(t *testing.T) string { return silent(t, "127.0.0.1:0") }, 504},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t)
			startProcessor(t, o.Processor, nil)
			s := snapshot(t, enforced(c.edit), version("v1", c.model(t)))
			if c.status == 504 {
				s.Routes[0].ModelTimeout = 300 * time.Millisecond // the HTTPRoute's own
			}
			if r := startStatic(t, s, o).post(); r.status != c.status || r.source() != "" {
				t.Errorf("got %d %q from %q, want a bare %d", r.status, r.body, r.source(), c.status)
			}
		})
	}
}
