package local

import (
	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/detect"
)

// Form gives a completion the form that x's request asked for: a caller takes JSON
// for a stream, and a chat for a legacy completion, for an answer without content.
// body is in identity encoding. ok is false where it cannot be done, which is so
// where nobody knows what was asked for. An error (status 300 and more) is alike in
// every form: who has one does not ask.
func Form(d *detect.Detector, x *detect.Exchange, body []byte) (formed []byte, contentType string, ok bool) {
	request := d.ChatRequest(x)
	if !request.Known {
		return nil, "", false
	}
	formed, contentType, err := chat.Reshape(nil, body, request.Shape())
	return formed, contentType, err == nil
}

// Formed is a with the form that x's request asked for.
func (a Answer) Formed(d *detect.Detector, x *detect.Exchange) (Answer, bool) {
	if a.Status >= 300 {
		return a, true
	}
	body, contentType, ok := Form(d, x, a.Body)
	a.Body, a.ContentType = body, contentType
	return a, ok
}
