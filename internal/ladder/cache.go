package ladder

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/safestate/safestate/internal/cache"
	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/local"
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
	state    *State
	store    cache.Store
	remote   bool     // the store is not in the process
	echoID   bool     // answers carry their request's id
	without  []string // members of a request that the key leaves out
	origin   *origin
}

func newCacheRung(cfg *policy.Cache, l *Ladder, s *State) (*cacheRung, error) {
	r := &cacheRung{
		cfg: cfg, policy: l.policy, detector: l.detector, observer: l.observer,
		state: s, store: s.Cache, remote: s.CacheRemote,
		echoID: protocol.EchoesID(l.policy.Protocol),
	}
	switch {
	case r.echoID:
		r.without = []string{"id"}
	case l.policy.Protocol == policy.OpenAI:
		// What the answer looks like, not what it says.
		r.without = []string{"stream", "stream_options"}
	}
	if cfg.Origin == nil || cfg.When != policy.First || len(cfg.TenantHeaders) > 0 {
		return r, nil
	}
	o, err := newOrigin(cfg.Origin, l.policy, s)
	if err != nil {
		return nil, err
	}
	r.origin = o
	l.closers = append(l.closers, func() { s.release(cfg.Origin) })
	return r, nil
}

func (r *cacheRung) source() Source  { return Cache }
func (r *cacheRung) networked() bool { return r.remote }

// answer looks under the stable version's key and under that of the version
// that was asked: the model has failed, and what either said before, clean, is
// better than no model's answer at all.
func (r *cacheRung) answer(ctx context.Context, ask *Ask) (Answer, Outcome) {
	versions := []string{r.policy.Stable}
	if asked := ask.Version.Name; asked != "" && asked != r.policy.Stable {
		versions = append(versions, asked)
	}
	return r.look(ctx, ask, versions, true)
}

// firstRung is a cache that is asked before the model: under the stable
// version's key alone, so that a new version's answers reach nobody who was
// not sent to it.
type firstRung struct{ *cacheRung }

// answer uses a stale entry only where somebody asks for it anew meanwhile.
// Elsewhere the model that is about to be asked is the one who does.
func (r *firstRung) answer(ctx context.Context, ask *Ask) (Answer, Outcome) {
	return r.look(ctx, ask, []string{r.policy.Stable}, r.origin != nil)
}

// look returns the first entry that can be used.
func (r *cacheRung) look(ctx context.Context, ask *Ask, versions []string, stale bool) (Answer, Outcome) {
	parts, ok := r.parts(ask.Exchange)
	if !ok {
		return Answer{}, Missed
	}
	outcome := Missed
	for _, version := range versions {
		parts.Version = version
		key := cache.NewKey(parts)
		entry, found, err := r.store.Get(ctx, key)
		if err != nil {
			outcome = r.unanswered(err)
			continue
		}
		lookup := LookupMiss
		if found {
			lookup = r.judge(&entry, stale)
		}
		answer, ok := Answer{}, false
		if lookup != LookupMiss {
			if answer, ok = r.use(ask.Exchange, &entry); !ok {
				lookup = LookupMiss
			}
		}
		r.observer.CacheLookup(lookup)
		if !ok {
			continue
		}
		if lookup == LookupStale && r.origin != nil {
			r.revalidate(ask.Exchange, key)
		}
		return answer, Answered
	}
	return Answer{}, outcome
}

// unanswered tells of a store that could not say what it has.
func (r *cacheRung) unanswered(err error) Outcome {
	if errors.Is(err, cache.ErrAway) {
		r.observer.CacheLookup(LookupSkipped)
		return Skipped
	}
	r.observer.CacheLookup(LookupError)
	return Failed
}

// judge says what an entry is by its age. What was killed since is none, after
// its revive neither: its answers were why.
func (r *cacheRung) judge(e *cache.Entry, stale bool) Lookup {
	if k := r.state.effect("", r.policy.Model, e.Version); k.Killed || !e.Stored.After(k.NotBefore) {
		return LookupMiss
	}
	switch cache.AgeOf(*e, time.Now(), r.cfg.TTL.D(), r.cfg.StaleWhileRevalidate.D()) {
	case cache.Fresh:
		return LookupHit
	case cache.Stale:
		if stale {
			return LookupStale
		}
	case cache.Expired:
	}
	return LookupMiss
}

// parts makes all of the key but the version. ok is false for a request that
// may not be answered from a cache.
func (r *cacheRung) parts(x *detect.Exchange) (parts cache.Parts, ok bool) {
	// A key holds no method: what is not asked by POST is not cached.
	if x.RequestHeaders == nil || x.Method != http.MethodPost {
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
	digest, ok := cache.Digest(root, tail, r.without...)
	if !ok {
		return parts, false
	}
	return cache.Parts{Route: r.policy.Route, Path: x.Path, Model: r.policy.Model, Tenant: tenant, Digest: digest}, true
}

// use makes the answer of an entry. ok is false where the entry is not what
// remember writes.
func (r *cacheRung) use(x *detect.Exchange, e *cache.Entry) (a Answer, ok bool) {
	// A replica whose clock is ahead stores entries from the future.
	age := max(time.Since(e.Stored), 0)
	a = Answer{
		Source: Cache, Status: e.Status, ContentType: e.ContentType, Body: e.Body,
		Model: e.Model, Version: e.Version,
		Extra: []Header{{Name: "age", Value: strconv.FormatInt(int64(age/time.Second), 10)}},
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
			a.Extra = append(a.Extra, Header{Name: headerLength, Value: strconv.Itoa(len(echoed))})
		}
		a.Body = append(echoed, e.Body[jsonSize:]...)
	}
	return a, true
}

// echo puts the request's own id into a cached answer: what it has is another
// request's.
func (r *cacheRung) echo(x *detect.Exchange, answer []byte) ([]byte, bool) {
	var doc scan.Document
	if err := doc.Parse(answer, scan.Limits{NumberChars: len(answer), Nodes: 1 << 19}); err != nil {
		return nil, false
	}
	return cache.EchoID(nil, doc.Root(), r.detector.RequestID(x)), true
}

// remember keeps a clean answer, in identity encoding. A streamed one is no
// JSON and is not kept.
func (r *cacheRung) remember(x *detect.Exchange, v policy.Version) {
	if x.ResponseHeaders == nil || !cache.Storable(x.Status, x.ResponseHeaders) {
		return
	}
	kind := headerOr(x.ResponseHeaders, "content-type", local.TypeJSON)
	if r.policy.Protocol == policy.OpenInferenceGRPC {
		kind = local.TypeJSON // what it is kept as
	}
	parts, ok := r.parts(x)
	if !ok {
		return
	}
	json, tail, ok := r.detector.AnswerParts(x)
	if !ok {
		return
	}
	if r.state.effect("", r.policy.Model, v.Name).Killed {
		return // it was asked before it was killed
	}
	parts.Version = v.Name
	e := cache.Entry{
		Status: x.Status, ContentType: kind,
		Body: json, Stored: time.Now(), Model: parts.Model, Version: v.Name,
	}
	if len(tail) > 0 {
		e.Headers = []cache.Header{{Name: headerLength, Value: strconv.Itoa(len(json))}}
		e.Body = append(append(make([]byte, 0, len(json)+len(tail)), json...), tail...)
	}
	err := r.store.Set(context.Background(), cache.NewKey(parts), e, r.cfg.TTL.D()+r.cfg.StaleWhileRevalidate.D())
	r.observer.CacheWrite(err == nil)
}
