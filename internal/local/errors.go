package local

import (
	"slices"
	"strconv"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

// ErrorCode names a finding in errors of the OpenAI API.
func ErrorCode(f verdict.Finding) string { return "safestate_" + string(f.Code) }

// Unanswerable is the answer of an OpenAI route where not even the safe default
// has the form that was asked for: an error, which every client raises.
func Unanswerable(cause verdict.Finding) Answer {
	return Answer{
		Source: SafeDefault, Status: statusUnavailable, ContentType: chat.TypeJSON,
		Body: chat.AppendErrorBody(nil, ErrorCode(cause), "The model's answer failed, and nothing could answer in its place."),
	}
}

// Refusal is what a caller gets once the fallback budget is used up and the policy
// refuses.
func Refusal(p *policy.Policy) Answer {
	a := Answer{
		Source: Refused, Status: statusUnavailable, ContentType: TypeJSON,
		Body: []byte(`{"error":"the fallback budget of this route is used up"}`),
	}
	if p.Protocol == policy.OpenAI {
		f := verdict.Finding{Code: verdict.BudgetExhausted}
		a.Body = chat.AppendErrorBody(nil, ErrorCode(f), "The fallback budget of this route is used up.")
	}
	return a
}

// Rejection is the body of a 400 that names the field of a request check that
// failed: the caller's error, said to the caller.
func Rejection(p policy.Protocol, f verdict.Finding) []byte {
	if p == policy.OpenAI {
		return chat.AppendErrorBody(nil, ErrorCode(f), f.Reason())
	}
	body := strconv.AppendQuote([]byte(`{"error":`), f.Reason())
	return append(body, '}')
}

// cutMessage is what a caller is told in an error event; the code says why.
const cutMessage = "The answer failed while it was being streamed. What came before is not the whole answer."

// AppendCut returns the last of a stream that failed after its commit: what of it
// is clean, and the error event. clean may be shared, and stays as it is.
func AppendCut(clean []byte, code string) []byte {
	return chat.AppendErrorEvent(slices.Clip(clean), code, cutMessage)
}
