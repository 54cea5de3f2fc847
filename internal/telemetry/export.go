package telemetry

import (
	"context"
	"sync/atomic"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// counted is an exporter whose failures are counted and logged here, because
// the SDK would hand them to a handler that is global to the process.
type counted struct {
	sdktrace.SpanExporter
	metrics *Metrics
	log     *Log
	said    atomic.Int64 // Unix nanoseconds of the last line
}

// ExportSpans implements sdktrace.SpanExporter. It returns no error: the batch
// is lost and that has been said.
func (c *counted) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := c.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		return nil
	}
	c.metrics.traceErrors.Inc()
	now := time.Now().UnixNano()
	if last := c.said.Load(); (last == 0 || now-last > int64(time.Minute)) && c.said.CompareAndSwap(last, now) {
		c.log.Warn().Err(err).Int("spans", len(spans)).Msg("spans were not taken by the collector")
	}
	return nil
}
