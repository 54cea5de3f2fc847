package envoy

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
)

// TestDeadlineIsForPredictions: what is no inference has the HTTPRoute's own
// timeout or none, not the policy's deadline.
func TestDeadlineIsForPredictions(t *testing.T) {
	for name, c := range map[string]struct {
		own    time.Duration
		status int
	}{
		"none":                               {0, 200},
		"its own, shorter than the deadline": {300 * time.Millisecond, 504},
		"its own, longer than the deadline":  {3 * time.Second, 504},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t)
			startProcessor(t, o.Processor, nil)
			m := newModel(t, func(w http.ResponseWriter, r *http.Request) {
				var late <-chan time.Time // never, where its own timeout has to end it
				if c.own == 0 && r.Method == "GET" {
					late = time.After(4 * time.Second) // twice the deadline
				}
				select {
				case <-late:
					_, _ = io.WriteString(w, "ready")
				case <-r.Context().Done():
				}
			})
			s := snapshot(t, enforced(hurried), version("v1", m.addr))
			s.Routes[0].OwnTimeout = c.own
			if c.own > 0 {
				s.Routes[0].ModelTimeout = min(c.own, s.Routes[0].ModelTimeout)
			}
			p := startStatic(t, s, o)
			if r := p.do("GET", "/v2/models/fraud/ready", nil); r.status != c.status || r.source() != "" {
				t.Errorf("got %d %q after %s, want %d", r.status, r.body, r.took, c.status)
			}
			if r := p.post(); r.source() != "safe_default" || r.took > inTime {
				t.Errorf("a prediction: %d from %q after %s, want the default at the deadline", r.status, r.source(), r.took)
			}
		})
	}
}

// slowProcessor asks for more time at every message and uses a little of it.
type slowProcessor struct{ ask, use time.Duration }

// Process implements the service.
func (s slowProcessor) Process(stream extprocv3.ExternalProcessor_ProcessServer) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil
		}
		if err := stream.Send(longer(s.ask)); err != nil {
			return err
		}
		select {
		case <-time.After(s.use):
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
		if err := stream.Send(proceed(phaseOf(m))); err != nil {
			return err
		}
	}
}

// TestLongDeadline: the processor may ask for all of a deadline of 15 minutes.
// Envoy ignores a wish for more than it allows.
func TestLongDeadline(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	o.MessageTimeout = 2 * time.Second
	l, err := net.Listen("tcp", o.Processor)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	extprocv3.RegisterExternalProcessorServer(server, slowProcessor{ask: 15 * time.Minute, use: o.MessageTimeout + time.Second})
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	s := snapshot(t, enforced(func(p *policy.Policy) { p.Deadline = policy.Duration(15 * time.Minute) }), version("v1", newModel(t, nil).addr))
	if r := startStatic(t, s, o).post(); r.status != 200 || r.body != clean || r.source() != "" {
		t.Errorf("got %d %q from %q because %q, want the model's answer", r.status, r.body, r.source(), r.reason())
	}
}

// TestIdle: Envoy gives up a stream that is still for 5 minutes. A route that
// allows more says so; all others keep Envoy's word.
func TestIdle(t *testing.T) {
	for name, c := range map[string]struct{ model, whole, want time.Duration }{
		"short":               {time.Second, 2 * time.Second, 0},
		"a long deadline":     {14 * time.Minute, 15 * time.Minute, 15 * time.Minute},
		"a long own timeout":  {6 * time.Minute, 0, 6 * time.Minute},
		"as long as the idle": {streamIdle, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := compile.Route{Name: "r", Backends: []compile.Backend{{Cluster: "c", Weight: 1}}, ModelTimeout: c.model, MaxDuration: c.whole}
			route, err := plainRoute(&compile.Match{PathType: compile.PathPrefix, Path: "/"}, &r)
			if err != nil {
				t.Fatal(err)
			}
			if got := route.GetRoute().GetIdleTimeout().AsDuration(); got != c.want {
				t.Errorf("idle timeout %s, want %s", got, c.want)
			}
		})
	}
}
