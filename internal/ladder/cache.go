package ladder

import (
	"context"
	"strconv"
	"time"

	"github.com/safestate/safestate/internal/cache"
	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/fallback"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/scan"
)

// cacheRung answers with a clean answer that the model gave to the same
// request of the same tenant before.
type cacheRung struct {
	cfg      *policy.Cache
	policy   *policy.Policy
	detector *detect.Detector
	observer Observer
	store    cache.Store
	remote   bool // the store is not in the process
	echoID   bool // answers carry their request's id, which the key leaves out
	flights  *cache.Flights
	origin   *fallback.Client // asks the stable version anew; nil: nobody does
}

func newCacheRung(cfg *policy.Cache, l *Ladder, s *State) (*cacheRung, error) {
	r := &cacheRung{
		cfg: cfg, policy: l.policy, detector: l.detector, observer: l.observer,
		store: s.Cache, remote: s.CacheRemote, flights: s.Flights,
		echoID: protocol.EchoesID(l.policy.Protocol),
	}
	if cfg.Origin != nil && cfg.When == policy.First {
		client, err := s.client(cfg.Origin)
		if err != nil {
			return nil, err
		}
		r.origin = client
		l.closers = append(l.closers, func() { s.release(cfg.Origin) })
	}
	return r, nil
}

func (r *cacheRung) source() Source  { return Cache }
func (r *cacheRung) networked() bool { return r.remote }

// answer looks under the stable version's key and, once the model has failed,
// under that of the version that was asked: what either said before, clean, is
// better than no model's answer at all.
func (r *cacheRung) answer(ctx context.Context, ask *Ask) (Answer, Outcome) {
	parts, ok := r.parts(ask.Exchange)
	if !ok {
		return Answer{}, Missed
	}
	outcome := Missed
	for _, version := range r.versions(ask) {
		parts.Version = version
		key := cache.NewKey(parts)
		entry, found, err := r.store.Get(ctx, key)
		switch {
		case err != nil:
			r.observer.CacheLookup(LookupError)
			outcome = Failed
			continue
		case !found:
			r.observer.CacheLookup(LookupMiss)
			continue
		}
		if answer, ok := r.use(ask.Exchange, key, &entry); ok {
			return answer, Answered
		}
	}
	return Answer{}, outcome
}

func (r *cacheRung) versions(ask *Ask) []string {
	stable := r.policy.Stable
	if r.cfg.When == policy.First || ask.Version.Name == "" || ask.Version.Name == stable {
		return []string{stable}
	}
	return []string{stable, ask.Version.Name}
}

// parts makes all of the key but the version. ok is false for a request that
// may not be answered from a cache.
func (r *cacheRung) parts(x *detect.Exchange) (parts cache.Parts, ok bool) {
	if x.RequestHeaders == nil {
		return parts, false
	}
	tenant, ok := cache.Cacheable(x.RequestHeaders, r.cfg.TenantHeaders)
	if !ok {
		return parts, false
	}
	root, tail, ok := r.detector.RequestParts(x)
	if !ok {
		return parts, false
	}
	digest, ok := cache.Digest(root, tail, r.echoID)
	if !ok {
		return parts, false
	}
	return cache.Parts{Route: r.policy.Route, Path: x.Path, Model: r.policy.Model, Tenant: tenant, Digest: digest}, true
}

// use makes the answer of an entry that was found, if it is young enough.
func (r *cacheRung) use(x *detect.Exchange, key cache.Key, e *cache.Entry) (Answer, bool) {
	age := cache.AgeOf(*e, time.Now(), r.cfg.TTL.D(), r.cfg.StaleWhileRevalidate.D())
	switch age {
	case cache.Expired:
		r.observer.CacheLookup(LookupMiss)
		return Answer{}, false
	case cache.Stale:
		r.observer.CacheLookup(LookupStale)
		r.revalidate(x, key)
	case cache.Fresh:
		r.observer.CacheLookup(LookupHit)
	}
	a := Answer{
		Source: Cache, Status: e.Status, ContentType: e.ContentType, Body: e.Body,
		Model: e.Model, Version: e.Version,
		Extra: []Header{{"age", strconv.FormatInt(int64(time.Since(e.Stored)/time.Second), 10)}},
	}
	jsonSize := len(e.Body)
	for _, h := range e.Headers {
		if h.Name == headerLength {
			n, err := strconv.Atoi(h.Value)
			if err != nil || n < 0 || n > len(e.Body) {
				return Answer{}, false
			}
			jsonSize = n
		}
	}
	if r.echoID {
		echoed, ok := r.echo(x, e.Body[:jsonSize])
		if !ok {
			return Answer{}, false
		}
		if jsonSize < len(e.Body) {
			a.Extra = append(a.Extra, Header{headerLength, strconv.Itoa(len(echoed))})
		}
		a.Body = append(echoed, e.Body[jsonSize:]...)
	}
	return a, true
}

// echo puts the request's own id into a cached answer.
func (r *cacheRung) echo(x *detect.Exchange, answer []byte) ([]byte, bool) {
	root, _, ok := r.detector.RequestParts(x)
	if !ok {
		return nil, false
	}
	var doc scan.Document
	if err := doc.Parse(answer, scan.Limits{NumberChars: len(answer), Nodes: 1 << 19}); err != nil {
		return nil, false
	}
	id, _ := root.Get("id")
	return cache.EchoID(nil, doc.Root(), id.Raw()), true
}

// remember keeps a clean answer, in identity encoding.
func (r *cacheRung) remember(x *detect.Exchange, v policy.Version) {
	if x.ResponseHeaders == nil || !cache.Storable(x.Status, x.ResponseHeaders) {
		return
	}
	parts, ok := r.parts(x)
	if !ok {
		return
	}
	json, tail, ok := r.detector.AnswerParts(x)
	if !ok {
		return
	}
	parts.Version = v.Name
	e := cache.Entry{
		Status: x.Status, ContentType: headerOr(x.ResponseHeaders, "content-type", contentTypeJSON),
		Body: json, Stored: time.Now(), Model: parts.Model, Version: v.Name,
	}
	if len(tail) > 0 {
		e.Headers = []cache.Header{{Name: headerLength, Value: strconv.Itoa(len(json))}}
		e.Body = append(append(make([]byte, 0, len(json)+len(tail)), json...), tail...)
	}
	err := r.store.Set(context.Background(), cache.NewKey(parts), e, r.cfg.TTL.D()+r.cfg.StaleWhileRevalidate.D())
	r.observer.CacheWrite(err == nil)
}

// revalidate asks the stable version anew while the caller gets the old
// answer. Only a clean answer takes the old one's place.
func (r *cacheRung) revalidate(x *detect.Exchange, key cache.Key) {
	if r.origin == nil {
		return
	}
	again := &detect.Exchange{
		Method: x.Method, Path: x.Path, RequestHeaders: x.RequestHeaders,
		RequestBody: x.RequestBody, RequestBodySeen: x.RequestBodySeen,
		Version: policy.Version{Model: r.policy.Model, Name: r.policy.Stable},
	}
	r.flights.Go(key, func(ctx context.Context) {
		got, err := r.origin.Do(ctx, fallback.Request{Path: again.Path, Headers: again.RequestHeaders, Body: again.RequestBody})
		if err != nil {
			return // the old answer stays until it expires
		}
		again.Status, again.ResponseHeaders, again.ResponseBody = got.Status, got.Headers, got.Body
		if v := r.detector.Answer(again); v.Clean() && len(v.Observed) == 0 {
			r.remember(again, again.Version)
		}
	})
}
