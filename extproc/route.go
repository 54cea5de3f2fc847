package extproc

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/bulkhead"
	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/ladder"
	"github.com/safestate/safestate/internal/local"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/telemetry"
	"github.com/safestate/safestate/internal/verdict"
)

// route is a compiled policy with all that a request on it needs. It is
// immutable but for the state behind its breakers and bulkheads, which lives
// in State and so survives a change of the policy, and for what is remembered of
// its signatures.
type route struct {
	policy       *policy.Policy
	detector     *detect.Detector
	ladder       *ladder.Ladder
	metrics      *telemetry.RouteMetrics
	versions     map[string]*version // by Envoy cluster name
	unknown      *version            // a cluster that the policy does not list
	dependencies []breaker.Dependency
	bulkhead     *bulkhead.Bulkhead // nil: none
	patience     time.Duration      // how long the ladder runs before Envoy is asked for more time
	text         string             // of the policy
	head         uint64             // of its digest
	admitted     atomic.Pointer[admission]
	inForce      *atomic.Pointer[route] // which policy of the route's name is
	lastUsed     atomic.Int64           // Unix nanoseconds
}

// configure gives what outlives policies the settings of this one, which is in force:
// one that was in between may have left its own.
func (r *route) configure(s *State) {
	for _, v := range r.versions {
		if v.breaker != nil {
			s.Breakers.Get(breaker.VersionKey(v.Model, v.Name), *r.policy.Breaker)
		}
	}
	for _, d := range r.policy.Detect.Dependencies {
		if d.Mode != policy.Observe {
			s.Breakers.Get(breaker.DependencyKey(r.policy.Model, d.Name), d.Breaker)
		}
	}
	if r.bulkhead != nil {
		s.Bulkheads.Get(r.policy.Model, r.policy.MaxConcurrent)
	}
	r.ladder.Configure(s.Ladder)
}

// version is one version of the route's model as this route sees it.
type version struct {
	policy.Version
	breaker   *breaker.Breaker // nil: none
	rows      *signals.Rows    // where its answers count; nil: nowhere
	tags      []ladder.Header
	asHeaders *reply // the clean reply at each phase, made once
	asBody    *reply
	asStream  *reply // of a stream, whose length nobody knows
}

// messageTimeout is how long Envoy waits for a reply at the most, where it is
// not asked for more; envoy/ renders it, and half the deadline where that is
// less.
const messageTimeout = 200 * time.Millisecond

func newRoute(p *policy.Policy, m *telemetry.Metrics, s *State, to *signals.Reporter) (*route, error) {
	d, err := detect.Compile(p)
	if err != nil {
		return nil, err
	}
	rm := m.Route(p)
	l, err := ladder.New(p, d, s.Ladder, rungObserver{m, rm, s.store})
	if err != nil {
		return nil, err
	}
	r := &route{policy: p, detector: d, ladder: l, metrics: rm, versions: make(map[string]*version, len(p.Versions))}
	r.patience = min(messageTimeout, p.Deadline.D()/2) / 4
	for cluster, v := range p.Versions {
		if v.Model == "" {
			v.Model = p.Model
		}
		r.versions[cluster] = newVersion(v, p, s)
		r.versions[cluster].rows = to.Rows(p.Route, v.Model, v.Name)
	}
	r.unknown = newVersion(policy.Version{Model: p.Model}, p, nil)
	r.unknown.rows = to.Rows(p.Route, p.Model, "")
	for _, dep := range p.Detect.Dependencies {
		if dep.Mode == policy.Observe {
			continue // a breaker that is only watched keeps nobody from the model
		}
		r.dependencies = append(r.dependencies, breaker.Dependency{
			Name: dep.Name, Breaker: s.Breakers.Get(breaker.DependencyKey(p.Model, dep.Name), dep.Breaker),
		})
	}
	if p.MaxConcurrent > 0 {
		r.bulkhead = s.Bulkheads.Get(p.Model, p.MaxConcurrent)
	}
	return r, nil
}

func newVersion(v policy.Version, p *policy.Policy, s *State) *version {
	out := &version{Version: v}
	if s != nil && p.Breaker != nil {
		out.breaker = s.Breakers.Get(breaker.VersionKey(v.Model, v.Name), *p.Breaker)
	}
	out.tags = local.VersionTags(v)
	strip := []string{verdict.HeaderReason}
	body, stream := dynamic(tagged(responseBody, out.tags, strip)), beginning(0, out.tags, []string{verdict.HeaderReason, "content-length"})
	if p.Host == policy.HostBoth {
		body, stream = worded(body), worded(stream)
	}
	out.asHeaders = static(tagged(responseHeaders, out.tags, strip))
	out.asBody, out.asStream = static(body.message), static(stream.message)
	return out
}

// primary returns the reply that lets the model's answer through with its
// tags. A model that sends x-safestate headers of its own has them stripped.
func (v *version) primary(at phase, h headers) *reply {
	strip := v.foreign(h)
	switch {
	case strip != nil:
		return dynamic(tagged(at, v.tags, append(strip, verdict.HeaderReason)))
	case at == responseBody:
		return v.asBody
	default:
		return v.asHeaders
	}
}

// foreign returns the model's own x-safestate headers that no tag overwrites.
func (v *version) foreign(h headers) []string {
	var strip []string
	for _, f := range h.list {
		if strings.HasPrefix(f.Key, verdict.HeaderPrefix) && !has(v.tags, f.Key) && f.Key != verdict.HeaderReason {
			strip = append(strip, f.Key)
		}
	}
	return strip
}

// tagsOn returns what is written on the model's own answer, and what is removed
// from it.
func (v *version) tagsOn(h headers) (tags []ladder.Header, strip []string) {
	return v.tags, append(v.foreign(h), verdict.HeaderReason)
}

// begin makes the reply that lets the headers of the model's answer go while
// its body is still coming. Where the body may yet be changed (open), its
// length is not promised.
func (v *version) begin(h headers, open bool) *reply {
	tags, strip := v.tagsOn(h)
	switch {
	case !open:
		return beginning(0, tags, strip)
	case len(strip) == 1:
		return v.asStream
	}
	return beginning(0, tags, append(strip, "content-length"))
}

// grpc reports whether the route's calls are gRPC.
func (r *route) grpc() bool { return r.policy.Protocol == policy.OpenInferenceGRPC }

func (r *route) version(cluster string) *version {
	if v, ok := r.versions[cluster]; ok {
		return v
	}
	return r.unknown
}

// enforces draws whether this request is enforced.
func (r *route) enforces() bool {
	return r.policy.Draw(rand.Float64) //nolint:gosec // a share of requests, no secret
}

// rungObserver counts what the ladder's rungs do.
type rungObserver struct {
	metrics *telemetry.Metrics
	route   *telemetry.RouteMetrics
	store   string
}

func (o rungObserver) Rung(s ladder.Source, outcome ladder.Outcome, took time.Duration) {
	o.metrics.Rung(string(s), telemetry.Outcome(outcome), took)
}

func (o rungObserver) Detection(model, version string, f verdict.Finding) {
	o.route.Detection(model, version, f.Detector(), f.Enforced)
}

func (o rungObserver) OverBudget(refused bool) { o.route.BudgetExhausted(refused) }

func (o rungObserver) CacheLookup(l ladder.Lookup) {
	o.metrics.CacheLookup(o.store, telemetry.Outcome(l))
}

func (o rungObserver) CacheWrite(ok bool) {
	outcome := telemetry.OK
	if !ok {
		outcome = telemetry.Error
	}
	o.metrics.CacheWrite(o.store, outcome)
}
