package telemetry

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

const (
	traceID  = "0af7651916cd43dd8448eb211c80319c"
	parentID = "b7ad6b7169203331"
)

func TestTracingIsOffWithoutAnEndpoint(t *testing.T) {
	t.Setenv(EndpointEnv, "")
	t.Setenv(TracesEndpointEnv, "")
	tr, err := NewTracer(t.Context(), TraceOptions{}, nil, nil)
	if tr != nil || err != nil || tr.On() {
		t.Fatalf("got %v, %v", tr, err)
	}
	tr.Answer(&Span{})
	if err := tr.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// spans records s and returns what reached the exporter.
func spans(t *testing.T, list ...*Span) tracetest.SpanStubs {
	t.Helper()
	var got tracetest.SpanStubs
	keep := keeper{f: func(s tracetest.SpanStubs) { got = append(got, s...) }}
	tr, err := NewTracer(t.Context(), TraceOptions{exporter: keep}, NewMetrics("test", Caps{}), NopLog())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		tr.Answer(s)
	}
	if err := tr.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	return got
}

type keeper struct{ f func(tracetest.SpanStubs) }

func (k keeper) ExportSpans(_ context.Context, s []sdktrace.ReadOnlySpan) error {
	k.f(tracetest.SpanStubsFromReadOnlySpans(s))
	return nil
}
func (keeper) Shutdown(context.Context) error { return nil }

func TestSpan(t *testing.T) {
	start := time.Unix(1000, 0)
	got := spans(t, &Span{
		Traceparent: "00-" + traceID + "-" + parentID + "-01",
		Start:       start, End: start.Add(20 * time.Millisecond),
		Route: fraudRoute, Model: "default/fraud-small", Version: "v1", Source: SourceFallback, Reason: "late", Status: 200,
	})
	if len(got) != 1 {
		t.Fatalf("%d spans", len(got))
	}
	s := got[0]
	if s.SpanContext.TraceID().String() != traceID || s.Parent.SpanID().String() != parentID {
		t.Errorf("trace %s, parent %s", s.SpanContext.TraceID(), s.Parent.SpanID())
	}
	if !s.StartTime.Equal(start) || s.EndTime.Sub(s.StartTime) != 20*time.Millisecond {
		t.Errorf("from %v to %v", s.StartTime, s.EndTime)
	}
	attrs := map[string]string{}
	for _, a := range s.Attributes {
		attrs[string(a.Key)] = a.Value.String()
	}
	for key, want := range map[string]string{
		"safestate.route": fraudRoute, "safestate.source": "fallback", "safestate.reason": "late",
		"safestate.model": "default/fraud-small", "safestate.version": "v1", "http.response.status_code": "200",
	} {
		if attrs[key] != want {
			t.Errorf("%s is %q, want %q", key, attrs[key], want)
		}
	}
	if s.Status.Description != "late" {
		t.Errorf("status %+v", s.Status)
	}
}

func TestSpanParents(t *testing.T) {
	for _, c := range []struct {
		name, traceparent string
		recorded, child   bool
	}{
		{"sampled", "00-" + traceID + "-" + parentID + "-01", true, true},
		{"not sampled by the caller", "00-" + traceID + "-" + parentID + "-00", false, false},
		{"none", "", true, false},
		{"broken", "00-zz-" + parentID + "-01", true, false},
		{"cut", "00-" + traceID, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := spans(t, &Span{Traceparent: c.traceparent, Start: time.Unix(1, 0), End: time.Unix(2, 0), Source: SourcePrimary})
			if (len(got) == 1) != c.recorded {
				t.Fatalf("%d spans", len(got))
			}
			if c.recorded && (got[0].SpanContext.TraceID().String() == traceID) != c.child {
				t.Errorf("trace %s", got[0].SpanContext.TraceID())
			}
		})
	}
}

type failing struct{ keeper }

func (failing) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	return errors.New("collector is away")
}

func TestFailedExportsAreCountedAndSaidOnce(t *testing.T) {
	var b bytes.Buffer
	m := NewMetrics("test", Caps{})
	e := &counted{SpanExporter: failing{}, metrics: m, log: NewLog(&b, LogOptions{}, m)}
	for range 3 {
		if err := e.ExportSpans(t.Context(), nil); err != nil {
			t.Errorf("the SDK's global handler would get %v", err)
		}
	}
	if got := value(t, m, "safestate_trace_export_failures_total"); got != 3 {
		t.Errorf("counted %v, want 3", got)
	}
	if got := lines(t, &b); len(got) != 1 || !strings.Contains(got[0]["error"].(string), "away") {
		t.Errorf("lines %v, want one", got)
	}
}

type collector struct {
	collectorpb.UnimplementedTraceServiceServer
	mu  sync.Mutex
	got []*tracepb.ResourceSpans
}

func (c *collector) Export(_ context.Context, r *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, r.ResourceSpans...)
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

// TestOTLP sends a span over the wire to a collector of the protocol's own
// service, each way in which an endpoint can be named.
func TestOTLP(t *testing.T) {
	for _, way := range []string{"HOST:PORT", "URL", "environment"} {
		t.Run(way, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			c := &collector{}
			g := grpc.NewServer()
			collectorpb.RegisterTraceServiceServer(g, c)
			go g.Serve(l) //nolint:errcheck // ends with Stop
			defer g.Stop()

			o := TraceOptions{Version: "1.2.3"}
			switch way {
			case "HOST:PORT":
				o.Endpoint = l.Addr().String()
			case "URL":
				o.Endpoint = "http://" + l.Addr().String()
			case "environment":
				t.Setenv(EndpointEnv, "http://"+l.Addr().String())
			}
			tr, err := NewTracer(t.Context(), o, NewMetrics("test", Caps{}), NopLog())
			if err != nil || !tr.On() {
				t.Fatalf("got %v, %v", tr, err)
			}
			tr.Answer(&Span{Start: time.Unix(1, 0), End: time.Unix(2, 0), Source: SourcePrimary})
			if err := tr.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if len(c.got) != 1 || c.got[0].ScopeSpans[0].Spans[0].Name != "safestate.answer" {
				t.Fatalf("the collector has %v", c.got)
			}
			var resource []string
			for _, a := range c.got[0].Resource.Attributes {
				resource = append(resource, a.Key+"="+a.Value.GetStringValue())
			}
			if s := strings.Join(resource, " "); !strings.Contains(s, "service.name=safestate") || !strings.Contains(s, "service.version=1.2.3") {
				t.Errorf("resource %s", s)
			}
		})
	}
}

func BenchmarkTracerOff(b *testing.B) {
	var tr *Tracer
	s := &Span{Source: SourcePrimary}
	b.ReportAllocs()
	for b.Loop() {
		if tr.On() {
			tr.Answer(s)
		}
	}
}
