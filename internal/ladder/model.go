package ladder

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/bulkhead"
	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/fallback"
	"github.com/safestate/safestate/internal/local"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

// modelRung asks another model. Its answer goes through the same detection as
// the primary's: a second NaN is no rescue.
type modelRung struct {
	state    *State
	cfg      *policy.Fallback
	policy   *policy.Policy
	client   *fallback.Client
	detector *detect.Detector
	observer Observer
	breaker  *breaker.Breaker   // nil: none
	bulkhead *bulkhead.Bulkhead // nil: none
}

func newModelRung(cfg *policy.Fallback, l *Ladder, s *State) (*modelRung, error) {
	client, err := s.client(cfg)
	if err != nil {
		return nil, err
	}
	r := &modelRung{state: s, cfg: cfg, policy: l.policy, client: client, detector: l.detector, observer: l.observer}
	if cfg.Breaker != nil {
		r.breaker = s.Breakers.Get(BreakerKeyRung(cfg.Model), *cfg.Breaker)
	}
	if cfg.MaxConcurrent > 0 {
		r.bulkhead = s.Bulkheads.Get("rung/"+cfg.Model, cfg.MaxConcurrent)
	}
	return r, nil
}

// BreakerKeyRung is the key of a fallback model's breaker.
func BreakerKeyRung(model string) string { return "rung/" + model }

func (r *modelRung) source() Source  { return Fallback }
func (r *modelRung) networked() bool { return true }

// killed reports whether the model is not to be asked, nor its answer given. Its
// calls do not lead through Envoy, and what is stopped there is stopped here. A
// kill of the route is none of them: its callers get what the ladder has.
func (r *modelRung) killed() bool { return r.state.effect("", r.cfg.Model, r.cfg.Version).Killed }

func (r *modelRung) answer(ctx context.Context, ask *Ask) (Answer, Outcome) {
	if r.killed() {
		return Answer{}, Skipped
	}
	// A request that was not read whole is no question, and the client asks by
	// POST alone.
	if x := ask.Exchange; !x.RequestBodySeen || x.Method != http.MethodPost {
		return Answer{}, Missed
	}
	request, ok := requestOf(r.detector, r.cfg, ask.Exchange)
	if !ok {
		return Answer{}, Missed
	}
	place, ok := enter(r.breaker, r.bulkhead)
	if !ok {
		return Answer{}, Skipped
	}
	r.state.calls(place, "", r.cfg.Model, r.cfg.Version)
	if r.killed() { // since it was looked first
		place.leave(breaker.Ignored, 0)
		return Answer{}, Skipped
	}
	if r.detector.ChatRequest(ask.Exchange).Stream {
		return r.stream(ctx, ask, request, place)
	}
	started := time.Now()
	got, err := r.client.Do(ctx, request)
	took := time.Since(started)
	if err != nil {
		place.leave(blame(err, took, r.cfg.Deadline.D()), took)
		return Answer{}, Failed
	}
	return r.whole(ask.Exchange, got, place, took)
}

// whole judges a whole answer.
func (r *modelRung) whole(x *detect.Exchange, got *fallback.Answer, place *place, took time.Duration) (Answer, Outcome) {
	if !r.clean(x, got) {
		place.leave(breaker.Failure, took)
		return Answer{}, Failed
	}
	place.leave(breaker.Success, took)
	if r.killed() { // while it was asked
		return Answer{}, Skipped
	}
	a := Answer{
		Source: Fallback, Status: got.Status, Body: got.Body,
		ContentType: headerOr(got.Headers, "content-type", local.TypeJSON),
		Model:       r.cfg.Model, Version: r.cfg.Version,
		Extra: describing(got.Headers, len(got.Body)),
	}
	a.UsagePrompt, a.UsageCompletion, _ = r.detector.FallbackUsage(x)
	return a, Answered
}

// requestOf makes the request for another model of x's request. ok is false
// where it cannot be made: the model's name is a part of an OpenAI request's
// body, which has to be readable.
func requestOf(d *detect.Detector, cfg *policy.Fallback, x *detect.Exchange) (r fallback.Request, ok bool) {
	r = fallback.Request{Path: x.Path, Headers: x.RequestHeaders, Body: x.RequestBody}
	if cfg.Protocol != policy.OpenAI {
		return r, true
	}
	root, _, ok := d.RequestParts(x)
	r.Body = root.Raw()
	return r, ok
}

// clean judges the fallback's answer and tells of what it found.
func (r *modelRung) clean(x *detect.Exchange, got *fallback.Answer) bool {
	v := r.detector.Fallback(x, r.cfg, got.Status, got.Headers, got.Body)
	for _, f := range v.Observed {
		r.tell(f)
	}
	if !v.Clean() {
		r.tell(v.Failed)
		return false
	}
	return true
}

func (r *modelRung) tell(f verdict.Finding) { r.observer.Detection(r.cfg.Model, r.cfg.Version, f) }

// blame says whether a model's breaker counts an error: not where the caller
// left, asked for what cannot be asked or sent what no model takes (or a few
// bad requests would keep everybody from the model), and not where the model
// was given less than half of its deadline, which deadline is.
func blame(err error, took, deadline time.Duration) breaker.Outcome {
	var judged *StreamError
	if errors.As(err, &judged) {
		return breaker.Failure
	}
	var failed *fallback.Error
	if !errors.As(err, &failed) {
		return breaker.Ignored
	}
	switch {
	case failed.Kind == fallback.Canceled, failed.Kind == fallback.Invalid:
		return breaker.Ignored
	case failed.Kind == fallback.Timeout && took < deadline/2:
		return breaker.Ignored
	case failed.Kind == fallback.Status && slices.Contains(callersOwn, failed.Status):
		return breaker.Ignored
	}
	return breaker.Failure
}

// callersOwn are the statuses with which a model refuses a request for what it
// is. 401, 403 and 404 are not: they are of our own making.
var callersOwn = []int{
	http.StatusBadRequest, http.StatusRequestEntityTooLarge,
	http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity,
}

// describing returns the headers of a model's answer without which its body
// cannot be read.
func describing(h detect.Headers, size int) []Header {
	var out []Header
	if v, ok := h.Get(headerLength); ok {
		if n, err := strconv.Atoi(v); err == nil && n >= 0 && n <= size {
			out = append(out, Header{Name: headerLength, Value: v})
		}
	}
	if v, ok := h.Get("content-encoding"); ok {
		out = append(out, Header{Name: "content-encoding", Value: v})
	}
	return out
}

// headerLength tells where the JSON of a binary tensor answer ends.
const headerLength = "inference-header-content-length"

func headerOr(h detect.Headers, name, otherwise string) string {
	if v, ok := h.Get(name); ok && v != "" {
		return v
	}
	return otherwise
}
