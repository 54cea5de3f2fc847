package config

import (
	"time"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

// Defaults and bounds of a stream.
const (
	defaultBetweenTokens = 10 * time.Second
	defaultMaxDuration   = 10 * time.Minute
	defaultHoldBytes     = 64 << 10
	leastBetweenTokens   = 10 * time.Millisecond
	mostStream           = 24 * time.Hour
	mostHoldBytes        = 1 << 20
)

// StreamBounds are a policy's bounds of streams, the defaults filled in.
type StreamBounds struct {
	FirstToken, BetweenTokens, MaxDuration time.Duration
	HoldBytes                              int64
}

// Stream returns a policy's bounds of streams. No route's own request timeout
// is taken account of.
func Stream(spec *v1alpha1.FailSafePolicySpec) StreamBounds {
	written := spec.Stream
	if written == nil {
		written = &v1alpha1.Stream{}
	}
	deadline := duration(spec.Deadline)
	out := StreamBounds{
		FirstToken:  Interval(written.FirstToken, deadline-Reserve(spec)),
		MaxDuration: Interval(written.MaxDuration, max(defaultMaxDuration, deadline)),
		HoldBytes:   defaultHoldBytes,
	}
	out.BetweenTokens = Interval(written.BetweenTokens, min(defaultBetweenTokens, out.MaxDuration))
	if written.HoldBytes != nil {
		out.HoldBytes = *written.HoldBytes
	}
	return out
}

func (c *checker) stream(s *subject) {
	const field = "spec.stream"
	w := s.Value.Spec.Stream
	if w == nil {
		return
	}
	if s.protocol != "" && s.protocol != v1alpha1.OpenAI {
		c.fail(field, "is set, and answers of %s come whole; want it with OpenAI only", s.protocol)
		return
	}
	if most := s.deadline - Reserve(&s.Value.Spec); w.FirstToken != nil && most > 0 && (w.FirstToken.Duration <= 0 || w.FirstToken.Duration > most) {
		c.fail(field+".firstToken", "is %s; want over 0 and at most %s, the deadline less the reserve", w.FirstToken.Duration, most)
	}
	c.within(field+".betweenTokens", w.BetweenTokens, leastBetweenTokens, mostDeadline)
	c.within(field+".maxDuration", w.MaxDuration, max(s.deadline, leastDeadline), mostStream)
	if whole := Stream(&s.Value.Spec).MaxDuration; w.BetweenTokens != nil && w.BetweenTokens.Duration > whole {
		c.fail(field+".betweenTokens", "is %s, over maxDuration, %s; want at most that", short(w.BetweenTokens.Duration), short(whole))
	}
	if n := w.HoldBytes; n != nil && (*n < 1024 || *n > mostHoldBytes) {
		c.fail(field+".holdBytes", "is %d; want 1024 to %d", *n, mostHoldBytes)
	}
}

// lastRung checks what the proxy alone says to a gRPC call.
func (c *checker) lastRung(spec *v1alpha1.FailSafePolicySpec, grpc bool) {
	const field = "spec.grpcLastRung"
	switch {
	case spec.GRPCLastRung == "":
	case !grpc:
		c.fail(field, "is set, and no target is a GRPCRoute; remove it")
	case spec.GRPCLastRung == v1alpha1.GRPCAnswer && !enforcesAll(spec):
		c.warn(field, "is Answer, which has no effect before every request is enforced; until then a failed call stays one")
	}
}
