// Package verdict is what detection says of one answer, in words that are the
// same in headers, metrics, logs and docs.
package verdict

import (
	"slices"

	"github.com/safestate/safestate/internal/policy"
)

// Headers that say where an answer came from. All that begin with HeaderPrefix
// are ours alone to write.
const (
	HeaderPrefix  = "x-safestate-"
	HeaderSource  = HeaderPrefix + "source"
	HeaderReason  = HeaderPrefix + "reason"
	HeaderModel   = HeaderPrefix + "model"
	HeaderVersion = HeaderPrefix + "version"
)

// Detector names who found a failure; it is a metric label, so the set is
// closed.
type Detector string

// The detectors.
const (
	NonFinite  Detector = "nonfinite"
	Confidence Detector = "confidence"
	Late       Detector = "late"
	Broken     Detector = "broken"
	Contract   Detector = "contract"
	Constant   Detector = "constant"
	Chat       Detector = "chat"
	CEL        Detector = "cel"
	Dependency Detector = "dependency"
	Request    Detector = "request"
	// Guard is no detector of answers: the model was not asked, because a
	// breaker, a bulkhead or a budget said so, or the cache answered first.
	Guard Detector = "guard"
)

// Detectors lists them all, in the order in which they are documented.
var Detectors = []Detector{NonFinite, Confidence, Late, Broken, Contract, Constant, Chat, CEL, Dependency, Request, Guard}

// Code is the first word of x-safestate-reason. The set is closed: Codes has a
// sentence for each, and docs/reasons.md is held against it.
type Code string

// The codes.
const (
	NonFiniteValue Code = "nonfinite"

	ConfidenceLow      Code = "confidence_low"
	ConfidenceMissing  Code = "confidence_missing"
	ConfidenceNull     Code = "confidence_null"
	ConfidenceSentinel Code = "confidence_sentinel"
	ConfidenceOverOne  Code = "confidence_over_one"

	LateAnswer    Code = "late"
	StreamStalled Code = "stream_stalled"

	BrokenStatus      Code = "broken_status"
	BrokenReset       Code = "broken_reset"
	BrokenRefused     Code = "broken_refused"
	BrokenUnavailable Code = "broken_unavailable"
	BrokenContentType Code = "broken_content_type"
	BrokenEncoding    Code = "broken_encoding"
	BrokenInflate     Code = "broken_inflate"
	BrokenTooLarge    Code = "broken_too_large"
	BrokenEmpty       Code = "broken_empty"
	BrokenTruncated   Code = "broken_truncated"
	BrokenTrailing    Code = "broken_trailing"
	BrokenUTF8        Code = "broken_utf8"
	BrokenSyntax      Code = "broken_syntax"
	BrokenDepth       Code = "broken_depth"
	BrokenNumber      Code = "broken_number"
	BrokenDuplicate   Code = "broken_duplicate_key"
	BrokenErrorObject Code = "broken_error_object"
	BrokenForm        Code = "broken_form"
	BrokenGRPCMessage Code = "broken_grpc_message"

	ContractOutputMissing   Code = "contract_output_missing"
	ContractOutputDuplicate Code = "contract_output_duplicate"
	ContractOutputUnknown   Code = "contract_output_unknown"
	ContractDatatype        Code = "contract_datatype"
	ContractShape           Code = "contract_shape"
	ContractRange           Code = "contract_range"
	ContractLabel           Code = "contract_label"
	ContractID              Code = "contract_id"
	ContractModelName       Code = "contract_model_name"
	ContractModelVersion    Code = "contract_model_version"

	ConstantAnswer Code = "constant"

	ChatRefusal       Code = "chat_refusal"
	ChatContentFilter Code = "chat_content_filter"
	ChatChoices       Code = "chat_choices"
	ChatFormat        Code = "chat_format"

	CELTrue  Code = "cel"
	CELError Code = "cel_error"

	DependencyFailed Code = "dependency"

	RequestMissing    Code = "request_missing"
	RequestNull       Code = "request_null"
	RequestType       Code = "request_type"
	RequestRange      Code = "request_range"
	RequestValue      Code = "request_value"
	RequestEncoding   Code = "request_encoding"
	RequestUnreadable Code = "request_unreadable"
	RequestTooLarge   Code = "request_too_large"

	BreakerOpen     Code = "breaker_open"
	BulkheadFull    Code = "bulkhead_full"
	BudgetExhausted Code = "budget_exhausted"
	MemoryBudget    Code = "memory_budget"
	CacheFirst      Code = "cache_first"
	ProcessorAway   Code = "processor_away"
	Draining        Code = "draining"
	Killed          Code = "killed"
)

// Meaning is one row of the table of reasons.
type Meaning struct {
	Code     Code
	Detector Detector
	Sentence string // what happened, for a person
	Detail   string // what follows the code on the wire; empty: nothing
}

// Codes is the closed table, in documentation order.
var Codes = []Meaning{
	{NonFiniteValue, NonFinite, "A floating-point output is NaN, infinite, null or past its datatype's range.", "the element, then its form: NaN, Infinity, -Infinity, null, string, bits or overflow"},

	{ConfidenceLow, Confidence, "The confidence is under the policy's minimum.", "the path, the confidence, < and the minimum"},
	{ConfidenceMissing, Confidence, "The answer has no confidence where the policy looks for it.", "the path"},
	{ConfidenceNull, Confidence, "The confidence is null or no number.", "the path"},
	{ConfidenceSentinel, Confidence, "The confidence is negative or non-finite, or a log probability is -100 or less: a placeholder, not a probability.", "the path and the value"},
	{ConfidenceOverOne, Confidence, "The confidence is above 1, or a log probability above 0.", "the path and the value"},

	{LateAnswer, Late, "The model did not answer, or its stream not begin, within its share of the deadline.", "Envoy's response code details, or first_token"},
	{StreamStalled, Late, "The stream was silent for longer than the policy allows between two tokens.", "the silence that the policy allows"},

	{BrokenStatus, Broken, "The model answered with a 5xx status, or with one that the policy lists.", "the status"},
	{BrokenReset, Broken, "The connection to the model was reset.", "Envoy's response code details"},
	{BrokenRefused, Broken, "The connection to the model could not be made.", "Envoy's response code details"},
	{BrokenUnavailable, Broken, "The model has no endpoint that could be asked.", "Envoy's response code details"},
	{BrokenContentType, Broken, "The answer's content-type is not the protocol's.", "the content-type"},
	{BrokenEncoding, Broken, "The answer's content-encoding is unknown, though identity was asked for.", "the content-encoding"},
	{BrokenInflate, Broken, "The compressed answer is damaged or passes the caps of size and ratio.", "what failed"},
	{BrokenTooLarge, Broken, "The answer is larger than the policy's limit.", "the size and the limit"},
	{BrokenEmpty, Broken, "The answer is empty, or has no prediction in it.", "what is empty"},
	{BrokenTruncated, Broken, "The answer ends too early.", "the byte offset"},
	{BrokenTrailing, Broken, "Bytes follow the end of the answer.", "the byte offset"},
	{BrokenUTF8, Broken, "The answer is not valid UTF-8.", "the byte offset"},
	{BrokenSyntax, Broken, "The answer is not JSON.", "the byte offset"},
	{BrokenDepth, Broken, "The answer is nested deeper than 64, or has too many parts.", "the byte offset"},
	{BrokenNumber, Broken, "A number in the answer is longer than 64 characters.", "the byte offset"},
	{BrokenDuplicate, Broken, "An inspected key occurs twice, or a second time in another case.", "the key"},
	{BrokenErrorObject, Broken, "The answer is a 200 with an error object inside.", "the key"},
	{BrokenForm, Broken, "The answer is JSON, but not in the protocol's form.", "the place"},
	{BrokenGRPCMessage, Broken, "The gRPC message cannot be read, or contradicts itself.", "what is wrong with it"},

	{ContractOutputMissing, Contract, "A promised output is not in the answer.", "the output"},
	{ContractOutputDuplicate, Contract, "An output occurs twice.", "the output"},
	{ContractOutputUnknown, Contract, "The answer has an output that nobody promised.", "the output"},
	{ContractDatatype, Contract, "An output has another datatype than promised.", "the output, the datatype, want and the promised one"},
	{ContractShape, Contract, "An output has another shape than promised, or than its data.", "the output and its shape"},
	{ContractRange, Contract, "A value is outside its declared bounds.", "the element and the value"},
	{ContractLabel, Contract, "A value is not in its label set.", "the element"},
	{ContractID, Contract, "The answer carries another id than the request.", ""},
	{ContractModelName, Contract, "The answer names another model.", "the name"},
	{ContractModelVersion, Contract, "The answer names another version.", "the version"},

	{ConstantAnswer, Constant, "The model gives the same answer for every input.", "answers and inputs in the window"},

	{ChatRefusal, Chat, "The model declined to answer.", "the place of the refusal"},
	{ChatContentFilter, Chat, "A content filter stopped the answer.", "the place of the finish_reason"},
	{ChatChoices, Chat, "The choices are not those that were asked for: too few, too many, or one of them twice.", "how many there are, want and how many were asked for; or the place of the index"},
	{ChatFormat, Chat, "The content breaks the request's response_format.", "the place of the content, what in it breaks the format, and the schema's keyword; or JSON"},

	{CELTrue, CEL, "A condition of the policy holds.", "the condition's name"},
	{CELError, CEL, "A condition of the policy could not be evaluated on this answer.", "the condition's name"},

	{DependencyFailed, Dependency, "The model failed because of a dependency that the policy names.", "the dependency"},

	{RequestMissing, Request, "A required field of the request is missing.", "the field"},
	{RequestNull, Request, "A field of the request is null.", "the field"},
	{RequestType, Request, "A field of the request has another type.", "the field and the wanted type"},
	{RequestRange, Request, "A number of the request is outside its bounds.", "the field"},
	{RequestValue, Request, "A string of the request is not in its closed set.", "the field"},
	{RequestEncoding, Request, "The request's content-type or content-encoding cannot be read.", "which"},
	{RequestUnreadable, Request, "The request's body is not what the protocol asks for.", "the byte offset"},
	{RequestTooLarge, Request, "The request is larger than the policy's limit.", "the size and the limit"},

	{BreakerOpen, Guard, "The breaker is open: the model was not asked.", "model/version, or the dependency"},
	{BulkheadFull, Guard, "The model's concurrency limit is reached: it was not asked.", "the limit"},
	{BudgetExhausted, Guard, "The route's fallback budget is used up: the ladder was not asked.", "the code of what had failed"},
	{MemoryBudget, Guard, "The bodies in flight used up the processor's memory budget.", ""},
	{CacheFirst, Guard, "The cache answered before the model was asked.", ""},
	{ProcessorAway, Guard, "No processor answered: Envoy alone gave the safe default.", ""},
	{Draining, Guard, "safestate is shutting down: the stream was ended before its end.", ""},
	{Killed, Guard, "A person or a threshold has stopped the version, the model, the route or everything: the model was not asked.", "what is killed; nothing where Envoy alone answered"},
}

// DetectorOf returns the detector that a code belongs to; Broken for a code
// that is not in the table.
func DetectorOf(c Code) Detector {
	for i := range Codes {
		if Codes[i].Code == c {
			return Codes[i].Detector
		}
	}
	return Broken
}

// Finding is one thing that a detector found. The zero value is no finding.
type Finding struct {
	Code   Code
	Detail string
	// Enforced tells a finding that fails the answer from one that is only
	// counted.
	Enforced bool
	// Dependency is the policy's name of the dependency that failed, if any.
	Dependency string
	// Act is what a failed request check asks for; it means something only
	// where the detector is Request.
	Act policy.Act
}

// OpenBreaker is the finding that a model is not asked because of a breaker: the
// version's own, or that of a dependency.
func OpenBreaker(v policy.Version, dependency string) Finding {
	if dependency == "" {
		return Finding{Code: BreakerOpen, Detail: v.Model + "/" + v.Name}
	}
	return Finding{Code: BreakerOpen, Detail: dependency, Dependency: dependency}
}

// Found reports whether there is a finding at all.
func (f Finding) Found() bool { return f.Code != "" }

// Detector returns who found it.
func (f Finding) Detector() Detector { return DetectorOf(f.Code) }

// Reason is the finding as x-safestate-reason has it: at most 256 bytes of
// printable ASCII.
func (f Finding) Reason() string {
	s := string(f.Code)
	if f.Detail != "" {
		s += " " + f.Detail
	}
	return printable(s)
}

const maxReason = 256

// printable makes s safe as a header's value: details can hold a model's own
// text.
func printable(s string) string {
	clean := len(s) <= maxReason
	for i := 0; clean && i < len(s); i++ {
		clean = s[i] >= 0x20 && s[i] < 0x7f
	}
	if clean {
		return s
	}
	if len(s) > maxReason {
		s = s[:maxReason]
	}
	b := []byte(s)
	for i, c := range b {
		if c < 0x20 || c >= 0x7f {
			b[i] = '?'
		}
	}
	return string(b)
}

// Pass says why an answer was left alone instead of judged. The set is closed.
type Pass string

// The reasons to leave an answer alone. The zero value is Judged.
const (
	Judged Pass = ""
	// Foreign is the reply of another filter or of Envoy itself: no answer of
	// the model's, and not ours to touch.
	Foreign Pass = "foreign"
	// CallerError is a 4xx that the policy does not list: it is the caller's.
	CallerError Pass = "caller_error"
	// NotInference is metadata, health, readiness, a CORS preflight.
	NotInference Pass = "not_inference"
	// ResponseOverLimit and RequestOverLimit are bodies that the policy lets
	// pass unread, to be counted.
	ResponseOverLimit Pass = "response_over_limit"
	RequestOverLimit  Pass = "request_over_limit"
)

// Verdict is what detection says of one answer: clean, or failed by the first
// enforced finding. Observed holds the findings of observing detectors, and
// enforced ones after the first.
type Verdict struct {
	Failed   Finding   // zero: clean
	Observed []Finding // nil on a clean answer
	Pass     Pass      // Judged, or why nothing was looked at; then Failed is zero
}

// Clean reports whether no enforced detector found anything.
func (v *Verdict) Clean() bool { return !v.Failed.Found() }

// Add records a finding: the first enforced one fails the answer, later ones
// and observed ones are kept for counting.
func (v *Verdict) Add(f Finding) {
	if f.Found() {
		v.add(&f)
	}
}

//go:noinline // it is rare, and Add is at fifty places
func (v *Verdict) add(f *Finding) {
	if f.Enforced && v.Clean() {
		v.Failed = *f
	} else {
		v.Observed = append(v.Observed, *f)
	}
}

// TooLarge reports whether the verdict is on an answer that nobody read.
func (v *Verdict) TooLarge() bool {
	return v.Failed.Code == BrokenTooLarge || slices.ContainsFunc(v.Observed, func(f Finding) bool { return f.Code == BrokenTooLarge })
}
