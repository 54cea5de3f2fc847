package local

import (
	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/inflate"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
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

// BodyHeaders are headers that say what a body is: of another body they would lie.
var BodyHeaders = []string{"content-length", "content-encoding", "etag", "digest", "content-digest", "content-md5", "repr-digest"}

// Restream makes the stream that was asked for of a whole completion, which clients
// take for a stream without a single event. status, encoding and body are the model's
// answer's, and v the verdict on it. It is nil where the answer may stay as it is; a
// completion that cannot be told as a stream fails: v says so then.
func Restream(p *policy.Policy, shape chat.Shape, status int, encoding string, body []byte, v *verdict.Verdict) []byte {
	broken := p.Detect.Broken
	if !shape.Stream || broken == nil || !broken.Mode.Enforces() || status/100 != 2 || !v.Clean() || v.Pass != verdict.Judged {
		return nil
	}
	whole, err := inflate.Body(nil, encoding, body)
	if err == nil {
		whole, _, err = chat.Reshape(nil, whole, shape)
	}
	if err != nil {
		v.Add(verdict.Finding{Code: verdict.BrokenForm, Detail: "no stream", Enforced: true})
		return nil
	}
	return whole
}
