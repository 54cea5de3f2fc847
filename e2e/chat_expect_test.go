package e2e

import (
	"strings"

	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// ending is what becomes of a chat answer that failed; several where the wire
// does not tell the cases apart.
type ending uint8

const (
	// ownAnswer: the model's whole answer after all.
	ownAnswer ending = 1 << iota
	// restarted: the whole answer of the fallback model, from its beginning.
	restarted
	// errorEvent: what came before the failure, then an error event.
	errorEvent
	// brokenOff: what came before the failure, then a transfer that is visibly broken.
	// Envoy does it the moment that the model's connection breaks.
	brokenOff
	// lastRung: Envoy's own error object. A connection that breaks between the
	// model's headers and its first content leaves no more.
	lastRung
	// objection: the model's own 400.
	objection
)

var endingNames = map[ending]string{ownAnswer: "own", restarted: "restarted", errorEvent: "error_event", brokenOff: "broken_off", lastRung: "last_rung", objection: "objection"}

// String names the one ending, or all that are right.
func (e ending) String() string {
	var out []string
	for _, one := range []ending{ownAnswer, restarted, errorEvent, brokenOff, lastRung, objection} {
		if e&one != 0 {
			out = append(out, endingNames[one])
		}
	}
	return strings.Join(out, " or ")
}

// chatExpectation is what a caller must see of a fault on OA and SSE.
type chatExpectation struct {
	group string
	// reason lists the codes that are right: the first word of
	// x-safestate-reason, or of an error's code behind safestate_.
	reason []string
	plain  ending // of OA; 0: restarted
	begin  ending // of a stream, at its beginning; 0: restarted
	later  ending // of a stream, after its first content; 0: errorEvent
	// says is what a stream has said before its error event or its breaking off; empty: the tokens
	// before the fault's place.
	says string
	// held: the model does nothing more until its caller leaves.
	held bool
	// ends: the model's stream is over with the fault; others go on.
	ends bool
}

// at is what may become of a stream with the fault before a token. The first
// token and what follows may reach the processor at once.
func (x chatExpectation) at(place int) ending {
	begin, later := x.begin, x.later
	if begin == 0 {
		begin = restarted
	}
	if later == 0 {
		later = errorEvent
	}
	switch {
	case place <= 0:
		return begin
	case place == 1:
		return begin | later
	default:
		return later
	}
}

func (x chatExpectation) onPlain() ending {
	if x.plain == 0 {
		return restarted
	}
	return x.plain
}

var wholeText = words("w", fm.StreamTokens)

// expectedChat has one row a fault; a fault without one fails the table.
var expectedChat = map[fm.Fault]chatExpectation{
	fm.S01RateLimitedRetryAfter:    {group: "main", reason: []string{"broken_status"}},
	fm.S02RateLimitedForEver:       {group: "main", reason: []string{"broken_status"}},
	fm.S03ErrorOnce:                {group: "main", reason: []string{"broken_status"}},
	fm.S04UnavailableForEver:       {group: "main", reason: []string{"broken_status"}},
	fm.S05ResetBeforeHeaders:       {group: "main", reason: []string{"broken_reset"}},
	fm.S06NeverAnswers:             {group: "main", reason: []string{"late"}, held: true},
	fm.S07SlowBody:                 {group: "main", reason: []string{"late"}},
	fm.S07FirstTokenLate:           {group: "main", reason: []string{"late"}, held: true},
	fm.S08BodyCut:                  {group: "main", reason: []string{"broken_reset"}, plain: lastRung},
	fm.S08BodyCutChunked:           {group: "main", reason: []string{"broken_reset"}, plain: lastRung},
	fm.S08StreamReset:              {group: "main", reason: []string{"broken_reset"}, begin: lastRung, later: brokenOff},
	fm.S08StreamFIN:                {group: "main", reason: []string{"broken_reset"}, begin: lastRung, later: brokenOff},
	fm.S08StreamEnd:                {group: "main", reason: []string{"broken_truncated"}, ends: true},
	fm.S09BodyStalls:               {group: "main", reason: []string{"late"}, held: true},
	fm.S09StreamStalls:             {group: "main", reason: []string{"late", "stream_stalled"}, held: true},
	fm.S10NotJSON:                  {group: "main", reason: []string{"broken_syntax"}},
	fm.S11NoDoneClosed:             {group: "main", begin: ownAnswer},
	fm.S11NoDoneHeld:               {group: "main", begin: ownAnswer, held: true},
	fm.S12ContextLength:            {group: "main", plain: objection, begin: objection},
	fm.S13ContentPolicy:            {group: "main", plain: objection, begin: objection},
	fm.S14CutAndRefused:            {group: "main", reason: []string{"broken_reset"}, begin: lastRung, later: brokenOff},
	fm.S15Down:                     {group: "breaker", reason: []string{"broken_refused", "broken_reset", "breaker_open"}},
	fm.S16UnavailableFallbackNamed: {group: "main", reason: []string{"broken_status"}},

	fm.C08LowMeanLogprob:     {group: "mean", reason: []string{"confidence_low"}, begin: errorEvent, says: wholeText},
	fm.C08LowMinLogprob:      {group: "min", reason: []string{"confidence_low"}},
	fm.C09ConfidenceMissing:  {group: "mean", reason: []string{"confidence_missing"}, begin: errorEvent, says: wholeText},
	fm.C09ConfidenceNull:     {group: "mean", reason: []string{"confidence_missing", "confidence_null"}, begin: errorEvent, says: wholeText},
	fm.C09ConfidenceSentinel: {group: "mean", reason: []string{"confidence_sentinel"}},
	fm.C09ConfidenceOverOne:  {group: "mean", reason: []string{"confidence_over_one"}},

	fm.C12EmptyBody:      {group: "main", reason: []string{"broken_empty"}},
	fm.C12EmptyObject:    {group: "main", reason: []string{"broken_empty", "broken_form"}},
	fm.C12EmptyArray:     {group: "main", reason: []string{"broken_empty", "broken_form"}},
	fm.C12HeaderOnly:     {group: "main", reason: []string{"broken_empty"}},
	fm.C12NoChoices:      {group: "main", reason: []string{"broken_empty"}},
	fm.C12EmptyContent:   {group: "main", reason: []string{"broken_empty"}},
	fm.C12NullContent:    {group: "main", reason: []string{"broken_empty"}},
	fm.C12ChoiceMissing:  {group: "main", reason: []string{"chat_choices"}, begin: errorEvent, says: wholeText},
	fm.C12OneChoiceEmpty: {group: "main", reason: []string{"broken_empty"}, begin: errorEvent, says: wholeText},
	fm.C12OnlyDone:       {group: "main", reason: []string{"broken_empty"}},

	fm.C13HTML:           {group: "main", reason: []string{"broken_content_type"}},
	fm.C13TruncatedJSON:  {group: "main", reason: []string{"broken_truncated", "broken_syntax"}},
	fm.C13TrailingBytes:  {group: "main", reason: []string{"broken_trailing", "broken_syntax"}},
	fm.C13WrongCharset:   {group: "main", reason: []string{"broken_content_type"}},
	fm.C13InvalidUTF8:    {group: "main", reason: []string{"broken_utf8"}},
	fm.C13PlainForStream: {group: "main", begin: ownAnswer},
	fm.C13StreamForPlain: {group: "main", reason: []string{"broken_content_type"}},
	fm.C13FormatProse:    {group: "chat", reason: []string{"chat_format"}, begin: errorEvent, says: "Sure! Here is what you asked for."},
	fm.C13FormatSchema:   {group: "chat", reason: []string{"chat_format"}, begin: errorEvent, says: `{"unexpected":[true]}`},

	fm.C14DuplicateKey:     {group: "main", reason: []string{"broken_duplicate_key"}},
	fm.C14KeyInAnotherCase: {group: "main", reason: []string{"broken_duplicate_key"}},
	fm.C14DuplicateChoices: {group: "main", reason: []string{"broken_duplicate_key"}},

	// An event that is deep enough is over the bytes that are held as well.
	fm.C15Deep:            {group: "main", reason: []string{"broken_depth", "broken_too_large"}},
	fm.C15LongNumber:      {group: "main", reason: []string{"broken_number"}},
	fm.C15Huge:            {group: "main", reason: []string{"broken_too_large"}},
	fm.C15Bomb:            {group: "main", reason: []string{"broken_inflate", "broken_encoding"}},
	fm.C15UnknownEncoding: {group: "main", reason: []string{"broken_encoding"}},
	fm.C15EndlessPreamble: {group: "main", reason: []string{"broken_too_large"}},

	fm.C18ErrorObject:    {group: "main", reason: []string{"broken_error_object"}, ends: true},
	fm.C18ErrorForStream: {group: "main", reason: []string{"broken_error_object"}},

	fm.C19LogprobNaN:    {group: "main", reason: []string{"nonfinite"}},
	fm.C19LogprobNegInf: {group: "main", reason: []string{"nonfinite"}},
	fm.C19LogprobNull:   {group: "main", reason: []string{"nonfinite"}},
	fm.C19Refusal:       {group: "chat", reason: []string{"chat_refusal"}},
	fm.C19ContentFilter: {group: "chat", reason: []string{"chat_content_filter"}, ends: true},

	fm.C20OtherID:      {group: "contract", reason: []string{"contract_id"}},
	fm.C20OtherModel:   {group: "contract", reason: []string{"contract_model_name"}},
	fm.C20ModelChanges: {group: "contract", reason: []string{"contract_model_name"}},
}
