package filter

import (
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/local"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/signals/slot"
	"github.com/safestate/safestate/internal/time"
	"github.com/safestate/safestate/internal/verdict"
	"github.com/safestate/safestate/wasm/proxywasm"
)

var noTime time.Time

// counted is a stream's part in what is counted. A request that went to a version
// counts as asked, and once at the most as an answer: clean, bad, or the caller's own
// error. Whether a finding acted makes no difference: the mode of its detector does.
type counted struct {
	wasAsked bool // counted as asked
	observed bool // a detector that observes found something in the answer
	judged   bool // the answer has been counted, or is not to be
}

// guard asks the breakers whether the model may be asked. What they say of a request
// that is only observed is counted and changes nothing. Beside a processor the
// breakers are the processor's.
func (s *stream) guard() verdict.Finding {
	if s.route.policy.Host == policy.HostBoth {
		return verdict.Finding{}
	}
	f := s.killed()
	if !f.Found() {
		f = s.takePermits()
	}
	if broken := s.route.policy.Detect.Broken; !s.routed && !f.Found() && broken != nil && broken.Mode.Enforces() {
		f = verdict.Finding{Code: verdict.BrokenUnavailable, Detail: "no version has a weight"}
	}
	if !f.Found() {
		return f
	}
	f.Enforced = true
	s.countFinding(f)
	if !s.enforced {
		return verdict.Finding{}
	}
	s.permits.Ignore()
	return f
}

// killed is a kill's finding, where Envoy sends the request to no version because of
// one: then there is nobody to ask.
func (s *stream) killed() verdict.Finding {
	if s.routed {
		return verdict.Finding{}
	}
	target, err := proxywasm.GetProperty(propertyKilled)
	if (err != nil || len(target) == 0) && s.cluster == "" {
		return verdict.Finding{}
	}
	return verdict.Finding{Code: verdict.Killed, Detail: string(target)} // without a target a ramp withholds it
}

func (s *stream) takePermits() verdict.Finding {
	if dependency, ok := s.permits.Take(s.version.breaker, s.route.dependencies); !ok {
		return verdict.OpenBreaker(s.version.Version, dependency)
	}
	return verdict.Finding{}
}

func (p *plugin) breakerChanged(key string, c breaker.Change) {
	kind, name, _ := strings.Cut(key, "/")
	p.metrics.counter(metricBreaker, label{"name", name}, label{"kind", kind}, label{"to", c.To.String()}).add(1)
}

// countAsked counts the request as one that went to its version.
func (s *stream) countAsked() {
	if s.wasAsked || !s.routed {
		return
	}
	s.wasAsked = true
	now := s.plugin.now()
	s.version.row.asked(now)
	if now.Sub(s.version.row.looked) < tick { // it has been looked at a moment ago
		return
	}
	s.version.row.looked = now
	if text, err := proxywasm.GetProperty(propertyGeneration); err == nil {
		s.version.row.seen(text)
	}
}

// count counts a verdict's findings, the observed ones included.
func (s *stream) count(v *verdict.Verdict) {
	if v.Failed.Found() {
		s.countFinding(v.Failed)
	}
	s.countAll(v.Observed)
}

func (s *stream) countAll(observed []verdict.Finding) {
	for _, f := range observed {
		f.Enforced = false
		s.observed = s.observed || !s.asked.IsZero() // else it is the request's
		s.countFinding(f)
	}
}

func (s *stream) countFinding(f verdict.Finding) {
	mode := policy.Observe
	if f.Enforced && s.enforced {
		mode = policy.Enforce
	}
	s.plugin.metrics.counter(metricDetections, label{"route", s.route.policy.Route}, label{"model", s.version.Model},
		label{"model_version", s.version.Name}, label{"detector", string(f.Detector())}, label{"mode", string(mode)}).add(1)
}

// settle tells the breakers and the control plane how the model did.
func (s *stream) settle(f verdict.Finding, took time.Duration) {
	if s.asked.IsZero() {
		s.countNothing()
		return
	}
	if f.Found() {
		s.permits.Settle(breaker.Failure, f.Dependency, took)
	} else {
		s.permits.Settle(breaker.Success, "", took)
	}
	if s.judged {
		return
	}
	s.judged = true
	switch {
	case f.Found() && f.Enforced:
		s.version.row.bad(f.Detector(), took, s.place(), s.plugin.now())
		s.plugin.reports.hurry(s.version.row)
	case f.Found() || s.observed:
		s.version.row.observed(took, s.sampled())
	default:
		s.version.row.clean(took, s.sampled())
	}
}

// place is where the caller counts.
func (s *stream) place() (at slot.Place) {
	if source, err := proxywasm.GetProperty(propertySource); err == nil {
		at = slot.OfCaller(string(source))
	}
	return at
}

// sampledEvery is of how many clean answers one tells who asked for all of them.
const sampledEvery = 8

// sampled is where a clean answer counts. Who asks is a host call: it is asked for one
// answer in some, drawn by lot so that no rhythm of callers hides one, and the others
// count where that did. In the mean that is right, and a caller's share is a mean.
func (s *stream) sampled() slot.Place {
	w := s.version.row
	if !w.sampled || rand.IntN(sampledEvery) == 0 { //nolint:gosec // a sample, no secret
		w.sample, w.sampled = s.place(), true
	}
	return w.sample
}

// countCallerError counts an answer that blames the caller: it says nothing about the
// model.
func (s *stream) countCallerError() {
	s.permits.Ignore()
	if !s.judged && !s.asked.IsZero() {
		s.version.row.callerError()
	}
	s.judged = true
}

// countNothing keeps what comes of the answer from being held against the model.
func (s *stream) countNothing() {
	s.permits.Ignore()
	s.judged = true
}

// setAside lets an answer go that is not looked at.
func (s *stream) setAside(cause string) {
	if cause == causeResponseOverLimit {
		s.permits.Settle(breaker.Success, "", s.plugin.now().Sub(s.asked))
	} else {
		s.permits.Ignore()
	}
	s.judged = true
	s.leave(cause)
}

func (s *stream) uninspected(cause string) {
	if s.route.policy == nil {
		return // it has been counted as a policy that cannot be used
	}
	c := s.route.uninspected[cause]
	if c == nil {
		c = s.plugin.metrics.counter(metricUninspected, label{"route", s.route.policy.Route}, label{"cause", cause})
		s.route.uninspected[cause] = c
	}
	c.add(1)
}

// causeOf returns the cause that detection gave; false where the answer was judged.
func causeOf(p verdict.Pass) (cause string, left bool) {
	switch p {
	case verdict.Foreign:
		return causeForeign, true
	case verdict.NotInference:
		return causeNotInference, true
	case verdict.ResponseOverLimit:
		return causeResponseOverLimit, true
	case verdict.RequestOverLimit:
		return causeRequestOverLimit, true
	}
	return "", false
}

func (s *stream) countPrimary() { s.version.served.add(1) }

// countServed counts an answer in the place of the model's. model and version are
// what answered, empty for rules and defaults.
func (s *stream) countServed(source local.Source, model, version string) {
	s.plugin.metrics.counter(metricServed, label{"route", s.route.policy.Route}, label{"model", model},
		label{"model_version", version}, label{"source", string(source)}).add(1)
	if source != local.Refused {
		s.version.row.fallback()
	}
}

// countCut counts a stream that failed after its first content.
func (s *stream) countCut(f verdict.Finding) {
	s.countFinding(f)
	s.settle(f, s.plugin.now().Sub(s.asked))
	s.countTokens(true)
	s.plugin.metrics.counter(metricServed, label{"route", s.route.policy.Route}, label{"model", s.version.Model},
		label{"model_version", s.version.Name}, label{"source", sourceCut}).add(1)
}

func (s *stream) countRejected() {
	if s.route.rejected == nil {
		s.route.rejected = s.plugin.metrics.counter(metricRejected, label{"route", s.route.policy.Route})
	}
	s.route.rejected.add(1)
}

func (s *stream) countOverBudget(refused bool) {
	over := "answer"
	if refused {
		over = "refuse"
	}
	s.plugin.metrics.counter(metricBudget, label{"route", s.route.policy.Route}, label{"over", over}).add(1)
}

// countWholeTokens counts what a whole completion says it took.
func (s *stream) countWholeTokens(wasted bool) {
	if prompt, completion, ok := s.route.detector.ChatUsage(s.judge); ok {
		s.tokens(prompt, completion, wasted)
	}
}

// countTokens counts what a stream says it took.
func (s *stream) countTokens(wasted bool) {
	if s.events.judge == nil {
		return
	}
	if prompt, completion, ok := s.events.judge.Usage(); ok {
		s.tokens(prompt, completion, wasted)
	}
}

func (s *stream) tokens(prompt, completion int64, wasted bool) {
	outcome := "served"
	if wasted {
		outcome = "wasted"
	}
	add := func(kind string, n int64) {
		if n > 0 {
			s.plugin.metrics.counter(metricTokens, label{"route", s.route.policy.Route}, label{"model", s.version.Model},
				label{"model_version", s.version.Name}, label{"kind", kind}, label{"outcome", outcome}).add(uint64(n))
		}
	}
	add("prompt", prompt)
	add("completion", completion)
}

// ended counts a stream that Envoy ended before its answer was judged: the caller
// left, the model broke it off, or it was late and Envoy answered by itself. Five
// impatient callers must not take a model away from everybody else.
func (s *stream) ended() {
	s.bound = noTime
	if s.route != nil && s.route.policy != nil && s.route.policy.Host == policy.HostBoth && s.stage == stageAsked {
		s.permits.Ignore() // the processor has not let the answer come: it counts
		return
	}
	if s.judge == nil || s.judged || s.stage != stageAsked && s.stage != stageHeld && s.stage != stageFlowing {
		s.permits.Ignore()
		return
	}
	now := s.plugin.look()
	details, _ := proxywasm.GetProperty(propertyDetails) // the host may know none any more
	p := s.route.policy
	switch {
	case s.events.complete:
		s.settle(verdict.Finding{}, s.events.took)
	case strings.HasPrefix(string(details), policy.DetailsCut) && p.Detect.Broken != nil:
		f := verdict.Finding{Code: verdict.BrokenReset, Detail: string(details), Enforced: p.Detect.Broken.Mode.Enforces()}
		s.countFinding(f)
		s.settle(f, now.Sub(s.asked))
	case s.stage == stageHeld && p.Detect.Late != nil && now.Sub(s.asked) >= p.Deadline.D()-p.Reserve.D():
		f := verdict.Finding{Code: verdict.LateAnswer, Detail: "before the end of the body", Enforced: p.Detect.Late.Mode.Enforces()}
		s.countFinding(f)
		s.settle(f, now.Sub(s.asked))
	default:
		s.permits.Ignore()
		s.judged = true
		s.uninspected(causeAbandoned)
	}
}

// generationOf reads a generation; 0 is none.
func generationOf(text []byte) uint64 {
	n, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil {
		return 0 // it is not the control plane's, and says nothing
	}
	return n
}
