package envoy

import (
	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

// metadataForm is the key of a route's metadata that names the form of what
// Envoy alone answers there, where that is not the policy's own default.
const metadataForm = "default_form"

// formError: an error object of the OpenAI API with status 503. Envoy cannot
// know whether a stream was asked for, and clients take a completion in place of
// a stream for an empty stream without error; a 503 with this object is raised
// by all of them.
const (
	formError   = "openai_error"
	statusError = 503
)

// errorMessage is what a caller is told beside the code.
const errorMessage = "safestate: the model gave no answer that may be used, and nothing else was there to answer."

// errorObject is the body for one cause.
func errorObject(code verdict.Code) string {
	return string(chat.AppendErrorBody(nil, "safestate_"+string(code), errorMessage))
}

// answersByError reports whether what Envoy alone answers under a policy is an
// error object.
func answersByError(p *policy.Policy) bool { return p.Protocol == policy.OpenAI }
