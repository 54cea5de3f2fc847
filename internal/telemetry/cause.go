package telemetry

import "github.com/safestate/safestate/internal/verdict"

// Cause says why no verdict was given on an answer. The set is closed: Causes
// has a sentence for each.
type Cause int

// The causes.
const (
	CauseNotInference Cause = iota
	CauseForeign
	CauseRequestOverLimit
	CauseResponseOverLimit
	CauseMemory
	CausePolicyUnreadable
	CausePolicyRefused
	CauseProcessorError
	CauseAbandoned
	CauseUnanswered
	causeCount
)

// CauseMeaning is one row of the table of causes.
type CauseMeaning struct {
	Cause    Cause
	Label    string // the value of the label cause
	Sentence string
	// Expected causes are no answer of a model that somebody relies on, and
	// raise no alert.
	Expected bool
	// EndsStream causes make Envoy do what the route says for a processor
	// that is away. Envoy counts it, and the alerts on Envoy's counts stand
	// for them.
	EndsStream bool
}

// Causes is the closed table, in the order of the constants.
var Causes = []CauseMeaning{
	{CauseNotInference, "not_inference", "A call that is no inference: health, readiness, metadata.", true, false},
	{CauseForeign, "foreign", "A reply of another filter or of Envoy itself, which is left alone.", true, false},
	{CauseRequestOverLimit, "request_over_limit", "The request's body is over the limit, and the policy lets it pass unread.", false, false},
	{CauseResponseOverLimit, "response_over_limit", "The answer's body is over the limit, and the policy lets it pass unread.", false, false},
	{CauseMemory, "memory_budget", "The bodies in flight used up the processor's budget, and the policy lets this one pass unread.", false, false},
	{CausePolicyUnreadable, "policy_unreadable", "The route's policy could not be read: Envoy does what the route says for a processor that is away.", false, true},
	{CausePolicyRefused, "policy_refused", "The route's policy is not signed, or not for this route: Envoy does what the route says for a processor that is away. safestate_policies_refused_total says why.", false, true},
	{CauseProcessorError, "processor_error", "The processor gave up on the request: Envoy does what the route says for a processor that is away.", false, true},
	{CauseAbandoned, "abandoned", "The stream ended before the answer was there: the caller left, or Envoy answered by itself.", true, false},
	{CauseUnanswered, "unanswered", "The answer failed in a way that nothing could put another in its place, and the caller got the error: a gRPC call that the ladder's own upstream did not answer either.", false, false},
}

// CauseOf returns the cause that detection gave; false where the answer was
// judged.
func CauseOf(p verdict.Pass) (Cause, bool) {
	switch p {
	case verdict.Foreign:
		return CauseForeign, true
	case verdict.NotInference:
		return CauseNotInference, true
	case verdict.ResponseOverLimit:
		return CauseResponseOverLimit, true
	case verdict.RequestOverLimit:
		return CauseRequestOverLimit, true
	}
	return 0, false
}

// String returns the label value.
func (c Cause) String() string {
	if c < 0 || c >= causeCount {
		return other
	}
	return Causes[c].Label
}

// Phase is a message of the external processing protocol.
type Phase int

// The phases, in the order in which Envoy sends them.
const (
	PhaseRequestHeaders Phase = iota
	PhaseRequestBody
	PhaseRequestTrailers
	PhaseResponseHeaders
	PhaseResponseBody
	PhaseResponseTrailers
	phaseCount
)

var phaseNames = [phaseCount]string{
	"request_headers", "request_body", "request_trailers",
	"response_headers", "response_body", "response_trailers",
}

// String returns the label value.
func (p Phase) String() string {
	if p < 0 || p >= phaseCount {
		return other
	}
	return phaseNames[p]
}
