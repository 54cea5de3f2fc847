package ladder

import (
	"context"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/bulkhead"
	"github.com/safestate/safestate/internal/cache"
	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/fallback"
	"github.com/safestate/safestate/internal/policy"
)

// origin is the stable version itself, asked anew in the background for a
// stale entry of a cache that answers first. It is asked as any request asks
// it: not while its breaker is open, and inside its bulkhead. It gets no tenant
// headers, so a cache with tenants has none: a model that answers by tenant
// would be asked as nobody, and its answer kept as somebody's.
type origin struct {
	cfg      *policy.Fallback
	version  policy.Version
	client   *fallback.Client
	flights  *cache.Flights
	state    *State
	route    string
	breaker  *breaker.Breaker   // nil: none
	bulkhead *bulkhead.Bulkhead // nil: none
}

func newOrigin(cfg *policy.Fallback, p *policy.Policy, s *State) (*origin, error) {
	client, err := s.client(cfg)
	if err != nil {
		return nil, err
	}
	o := &origin{cfg: cfg, client: client, flights: s.Flights, state: s, route: p.Route, version: policy.Version{Model: p.Model, Name: p.Stable}}
	for _, v := range p.Versions {
		if v.Name == p.Stable && (v.Model == "" || v.Model == p.Model) {
			o.version.ReportedVersion = v.ReportedVersion
		}
	}
	if p.Breaker != nil {
		o.breaker = s.Breakers.Get(BreakerKeyVersion(p.Model, p.Stable), *p.Breaker)
	}
	if p.MaxConcurrent > 0 {
		o.bulkhead = s.Bulkheads.Get(p.Model, p.MaxConcurrent)
	}
	return o, nil
}

// BreakerKeyVersion is the key of the breaker of a model's version.
func BreakerKeyVersion(model, version string) string { return breaker.VersionKey(model, version) }

// revalidate asks the stable version anew while the caller gets the old
// answer. Only a clean answer takes the old one's place. A caller's request for
// a stream is asked for a whole answer: no other is kept.
func (r *cacheRung) revalidate(x *detect.Exchange, key cache.Key) {
	again := &detect.Exchange{ // the caller's is reused once it is answered
		Method: x.Method, Path: x.Path, RequestHeaders: x.RequestHeaders,
		RequestBody: x.RequestBody, RequestBodySeen: x.RequestBodySeen,
		Version: r.origin.version,
	}
	r.origin.flights.Go(key, func(ctx context.Context) {
		if r.origin.ask(ctx, again, r.detector) {
			r.remember(again, again.Version)
		}
	})
}

// ask reports whether x has a clean answer now.
func (o *origin) ask(ctx context.Context, x *detect.Exchange, d *detect.Detector) bool {
	request, ok := requestOf(d, o.cfg, x)
	if !ok {
		return false
	}
	place, ok := enter(o.breaker, o.bulkhead)
	if !ok {
		return false
	}
	o.state.calls(place, o.route, o.version.Model, o.version.Name)
	if o.state.effect(o.route, o.version.Model, o.version.Name).Killed {
		place.leave(breaker.Ignored, 0)
		return false
	}
	started := time.Now()
	got, err := o.client.Do(ctx, request)
	took := time.Since(started)
	if err != nil {
		place.leave(blame(err, took, o.cfg.Deadline.D()), took)
		return false
	}
	x.Status, x.ResponseHeaders, x.ResponseBody = got.Status, got.Headers, got.Body
	v := d.Answer(x)
	if !v.Clean() {
		place.leave(breaker.Failure, took)
		return false
	}
	place.leave(breaker.Success, took)
	return len(v.Observed) == 0
}
