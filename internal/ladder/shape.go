package ladder

import (
	"net/http"

	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/inflate"
	"github.com/safestate/safestate/internal/local"
)

// shape gives a whole answer of an OpenAI route the form that the request asked
// for, and reports whether it could. Errors are alike in every form.
func (l *Ladder) shape(a *Answer, x *detect.Exchange) bool {
	if a.Stream != nil || a.Status >= http.StatusMultipleChoices {
		return true
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
	formed, contentType, ok := local.Form(l.detector, x, body)
	if ok {
		a.Body, a.ContentType = formed, contentType
	}
	return ok
}
