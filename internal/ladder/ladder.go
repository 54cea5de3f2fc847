// Package ladder answers a request whose model answer failed: cache, fallback
// model, rules, safe default, in the policy's order, inside what is left of
// the deadline. The safe default always answers, so Answer does.
//
// A Ladder is built once for a compiled policy and is safe for concurrent use.
package ladder

import (
	"context"
	"time"

	"github.com/safestate/safestate/internal/budget"
	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/local"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

// Source says what answered; it is x-safestate-source and a metric label.
type Source = local.Source

// The sources.
const (
	Primary     = local.Primary
	Cache       = local.Cache
	Fallback    = local.Fallback
	Rules       = local.Rules
	SafeDefault = local.SafeDefault
	Refused     = local.Refused
)

// Sources lists what can stand in x-safestate-source.
var Sources = []Source{Primary, Cache, Fallback, Rules, SafeDefault}

// Answer is what the caller gets in place of a failed answer.
//
// Of an OpenAI route it has the form that the caller asked for: a whole
// completion, or a stream of events, which is either all there in Body or comes
// piece by piece from Stream.
//
// Of a gRPC route Body is Open Inference V2 JSON, with the bytes of binary
// tensors behind it where Extra has inference-header-content-length; or, where
// ContentType is that of gRPC, a serialized ModelInferResponse.
type Answer struct {
	Source      Source
	Status      int
	ContentType string
	Body        []byte  // not to be changed: it may be shared
	Stream      *Stream // nil: Body is the whole answer; else to be closed
	Model       string  // namespace/name of what answered; empty for rules and default
	Version     string
	Extra       []Header // more headers of a model's answer that its body needs
	// UsagePrompt and UsageCompletion are the tokens that a fallback model counts
	// for a whole answer; 0 where it does not. Of a Stream see Stream.Usage.
	UsagePrompt, UsageCompletion int64
}

// Header is one header of an answer, its name in lower case.
type Header = local.Header

// Ask is one request for the ladder, which keeps nothing of it once it has
// answered.
type Ask struct {
	Exchange *detect.Exchange
	Version  policy.Version // what was asked, or would have been
	Cause    verdict.Finding
	Deadline time.Time // of the answer; of a streamed one, of its first content
	Budgeted bool      // who asks has asked the route's budget
}

// Outcome says how a rung ended; it is a metric label.
type Outcome string

// The outcomes of a rung.
const (
	Answered Outcome = "answered"
	Missed   Outcome = "missed"  // the rung had nothing for this request
	Failed   Outcome = "failed"  // the rung tried and could not
	Skipped  Outcome = "skipped" // breaker open, bulkhead full, or no time left
)

// Lookup says what the cache had for a key; it is a metric label.
type Lookup string

// What a lookup finds.
const (
	LookupHit     Lookup = "hit"
	LookupStale   Lookup = "stale"
	LookupMiss    Lookup = "miss"
	LookupError   Lookup = "error"
	LookupSkipped Lookup = "skipped" // the store is known to be away and was not asked
)

// Observer is told how each rung went. It must be safe for concurrent use.
type Observer interface {
	Rung(source Source, outcome Outcome, took time.Duration)
	// Detection is a finding in the answer of a fallback model.
	Detection(model, version string, f verdict.Finding)
	// OverBudget is one request past the fallback budget.
	OverBudget(refused bool)
	CacheLookup(l Lookup)
	CacheWrite(ok bool)
}

// rung is one step. An outcome other than Answered goes on to the next rung.
type rung interface {
	source() Source
	// networked rungs are skipped when no time is left for a round trip.
	networked() bool
	answer(ctx context.Context, ask *Ask) (Answer, Outcome)
}

// The time that networked rungs need, and that they leave.
const (
	leastForNetwork = local.LeastForNetwork
	forLocal        = local.ForLocal
)

// Ladder is a policy's rungs, ready to answer.
type Ladder struct {
	policy   *policy.Policy
	detector *detect.Detector
	rungs    []rung
	cache    *cacheRung // also in rungs; nil: none
	first    *firstRung // the same cache, asked before the model; nil: it is not
	last     *safeDefaultRung
	budget   *budget.Budget // nil: none
	refusal  Answer
	chat     bool // answers take the form that the request asks for
	observer Observer
	closers  []func()
}

// Answer runs the rungs in order. It returns within ask.Deadline plus the time
// of the local rungs, and never without an answer. ctx bounds the rungs, and a
// streamed answer until Answer returns; from then on its Close does.
func (l *Ladder) Answer(ctx context.Context, ask *Ask) Answer {
	if l.budget != nil && !ask.Budgeted && !l.budget.Spend(time.Now()) {
		refuse := l.policy.Budget.Refuse
		l.observer.OverBudget(refuse)
		if refuse {
			return l.refusal
		}
	}
	for _, r := range l.rungs {
		if answer, ok := l.try(ctx, r, ask); ok {
			return answer
		}
	}
	return l.Default(ctx, ask)
}

// Default answers with the last rung alone, which asks nobody.
func (l *Ladder) Default(ctx context.Context, ask *Ask) Answer {
	answer, ok := l.try(ctx, l.last, ask)
	if !ok {
		return ofLocal(local.Unanswerable(ask.Cause))
	}
	return answer
}

func (l *Ladder) try(ctx context.Context, r rung, ask *Ask) (Answer, bool) {
	started := time.Now()
	if r.networked() {
		left := ask.Deadline.Sub(started) - forLocal
		if left < leastForNetwork {
			l.observer.Rung(r.source(), Skipped, 0)
			return Answer{}, false
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, left)
		defer cancel()
	}
	answer, outcome := r.answer(ctx, ask)
	if outcome == Answered && l.chat && !l.shape(&answer, ask.Exchange) {
		outcome = Failed
	}
	l.observer.Rung(r.source(), outcome, time.Since(started))
	return answer, outcome == Answered
}

// Networked reports whether a rung may take a round trip, so that the host
// asks Envoy for more time.
func (l *Ladder) Networked() bool {
	for _, r := range l.rungs {
		if r.networked() {
			return true
		}
	}
	return false
}

// First answers from the cache before the model is asked, where the policy
// says so.
func (l *Ladder) First(ctx context.Context, ask *Ask) (Answer, bool) {
	if l.first == nil {
		return Answer{}, false
	}
	return l.try(ctx, l.first, ask)
}

// Clean tells the ladder of a clean answer of the model: it is remembered
// where the policy caches, and it is the denominator of the budget.
func (l *Ladder) Clean(x *detect.Exchange, version policy.Version, remember bool) {
	if l.budget != nil {
		l.budget.Observe(time.Now())
	}
	if l.cache != nil && remember {
		l.cache.remember(x, version)
	}
}

// ofLocal is an answer that nobody was asked for.
func ofLocal(a local.Answer) Answer {
	return Answer{Source: a.Source, Status: a.Status, ContentType: a.ContentType, Body: a.Body}
}

// Close stops what the ladder keeps running. It must not be used afterwards.
func (l *Ladder) Close() {
	for _, c := range l.closers {
		c()
	}
	l.closers = nil
}
