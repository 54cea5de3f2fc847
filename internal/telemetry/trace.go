package telemetry

import (
	"context"
	"net/url"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// EndpointEnv and TracesEndpointEnv are OpenTelemetry's own variables: tracing
// is on when one of them or TraceOptions.Endpoint is set. The exporter reads
// OTEL_EXPORTER_OTLP_HEADERS, _TIMEOUT, _CERTIFICATE and the like too.
const (
	EndpointEnv       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	TracesEndpointEnv = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
)

// TraceOptions says where spans go.
type TraceOptions struct {
	// Endpoint is http://HOST:PORT, https://HOST:PORT, or HOST:PORT, which is
	// plain text; it speaks OTLP over gRPC. Empty: the environment decides.
	Endpoint string
	Version  string // of this build, an attribute of every span
	Queue    int    // spans waiting for export, more are lost; default 2048

	exporter sdktrace.SpanExporter // in place of OTLP, for tests
}

// Tracer records one span per inspected answer. A nil Tracer is off and costs
// a comparison; all methods may be called on it.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	parent   propagation.TraceContext
}

// NewTracer returns a tracer, or nil without an error when no endpoint is set.
// It does not wait for the collector: spans that cannot be delivered are
// counted in m and logged at most once a minute.
func NewTracer(ctx context.Context, o TraceOptions, m *Metrics, log *Log) (*Tracer, error) {
	exporter := o.exporter
	if exporter == nil {
		if o.Endpoint == "" && os.Getenv(EndpointEnv) == "" && os.Getenv(TracesEndpointEnv) == "" {
			return nil, nil
		}
		options, err := exporterOptions(o.Endpoint)
		if err != nil {
			return nil, err
		}
		if exporter, err = otlptracegrpc.New(ctx, options...); err != nil {
			return nil, err
		}
	}
	if o.Queue <= 0 {
		o.Queue = sdktrace.DefaultMaxQueueSize
	}
	res, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "safestate"), attribute.String("service.version", o.Version)),
		resource.WithFromEnv(), // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win
		resource.WithTelemetrySDK())
	if err != nil {
		return nil, err
	}
	p := sdktrace.NewTracerProvider(
		sdktrace.WithResource(res),
		sdktrace.WithBatcher(&counted{SpanExporter: exporter, metrics: m, log: log},
			sdktrace.WithMaxQueueSize(o.Queue), sdktrace.WithExportTimeout(10*time.Second)))
	return &Tracer{provider: p, tracer: p.Tracer("github.com/safestate/safestate")}, nil
}

func exporterOptions(endpoint string) ([]otlptracegrpc.Option, error) {
	if endpoint == "" {
		return nil, nil
	}
	if !strings.Contains(endpoint, "://") {
		return []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(endpoint), otlptracegrpc.WithInsecure()}, nil
	}
	if _, err := url.Parse(endpoint); err != nil {
		return nil, err
	}
	return []otlptracegrpc.Option{otlptracegrpc.WithEndpointURL(endpoint)}, nil
}

// Span is one inspected answer.
type Span struct {
	// Traceparent and Tracestate are the request's headers of these names
	// (W3C Trace Context); without them, or with broken ones, the span starts
	// a trace of its own.
	Traceparent, Tracestate string

	Start, End     time.Time // from the request's headers to the answer
	Route          string
	Model, Version string // what answered
	Source         string // one of the Source constants
	Reason         string // as in x-safestate-reason; empty on a clean answer
	Status         int    // of the answer that the caller gets; 0: not known
}

// On reports whether spans are recorded, for callers to whom making a Span
// costs something.
func (t *Tracer) On() bool { return t != nil }

// Answer records a span. It never blocks: when the queue is full the span is
// lost.
func (t *Tracer) Answer(s *Span) {
	if t == nil {
		return
	}
	ctx := context.Background()
	if s.Traceparent != "" {
		ctx = t.parent.Extract(ctx, propagation.MapCarrier{"traceparent": s.Traceparent, "tracestate": s.Tracestate})
	}
	_, span := t.tracer.Start(ctx, "safestate.answer", trace.WithTimestamp(s.Start), trace.WithSpanKind(trace.SpanKindInternal))
	if span.IsRecording() {
		span.SetAttributes(attributes(s)...)
		if s.Reason != "" {
			span.SetStatus(codes.Error, s.Reason)
		}
	}
	span.End(trace.WithTimestamp(s.End))
}

func attributes(s *Span) []attribute.KeyValue {
	list := make([]attribute.KeyValue, 0, 6)
	for _, a := range [...]struct{ key, value string }{
		{"safestate.route", s.Route},
		{"safestate.source", s.Source},
		{"safestate.reason", s.Reason},
		{"safestate.model", s.Model},
		{"safestate.version", s.Version},
	} {
		if a.value != "" {
			list = append(list, attribute.String(a.key, a.value))
		}
	}
	if s.Status != 0 {
		list = append(list, attribute.Int("http.response.status_code", s.Status))
	}
	return list
}

// Shutdown sends what is queued, as far as ctx allows, and ends tracing.
func (t *Tracer) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}
