package ladder

import (
	"net/http"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/inflate"
	"github.com/safestate/safestate/internal/verdict"
)

// shape gives a whole answer of an OpenAI route the form that the request asked
// for: a caller takes JSON for a stream, and a chat for a legacy completion, for
// an answer without content. It reports whether it could. It cannot where nobody
// knows what was asked for. Errors are alike in every form.
func (l *Ladder) shape(a *Answer, x *detect.Exchange) bool {
	if a.Stream != nil || a.Status >= http.StatusMultipleChoices {
		return true
	}
	request := l.detector.ChatRequest(x)
	if !request.Known {
		return false
	}
	body := a.Body
	for i, h := range a.Extra {
		if h.Name != "content-encoding" {
			continue
		}
		inflated, err := inflate.Body(nil, h.Value, body)
		if err != nil {
			return false
		}
		body, a.Extra = inflated, append(a.Extra[:i:i], a.Extra[i+1:]...)
		break
	}
	var err error
	a.Body, a.ContentType, err = chat.Reshape(nil, body, request.Shape())
	return err == nil
}

// codePrefix stands before a verdict's code in errors of the OpenAI API.
const codePrefix = "safestate_"

// unanswerable is the answer of an OpenAI route where not even the safe default
// has the form that was asked for: an error, which every client raises.
func unanswerable(cause verdict.Finding) Answer {
	code := codePrefix + string(cause.Code)
	return Answer{
		Source: SafeDefault, Status: http.StatusServiceUnavailable, ContentType: chat.TypeJSON,
		Body: chat.AppendErrorBody(nil, code, "The model's answer failed, and nothing could answer in its place."),
	}
}
