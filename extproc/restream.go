package extproc

import (
	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/inflate"
	"github.com/safestate/safestate/internal/ladder"
	"github.com/safestate/safestate/internal/verdict"
)

// restream makes the stream that was asked for of a whole completion, which
// clients take for a stream without a single event. It returns nil where the
// answer may stay as it is. A completion that cannot be told as a stream fails.
func (d *duplex) restream(v *verdict.Verdict) []byte {
	e := d.exchange
	broken := e.route.policy.Detect.Broken
	if d.kind != wholeAnswer || !e.shape.Stream || !e.enforced || broken == nil || !broken.Mode.Enforces() ||
		e.judge.Status/100 != 2 || !v.Clean() || v.Pass != verdict.Judged {
		return nil
	}
	body, err := inflate.Body(nil, e.respond.text("content-encoding"), d.body)
	if err == nil {
		body, _, err = chat.Reshape(nil, body, e.shape)
	}
	if err != nil {
		v.Add(verdict.Finding{Code: verdict.BrokenForm, Detail: "no stream", Enforced: true})
		return nil
	}
	return body
}

// releaseStream lets the model's answer go as the stream that it is now.
func (d *duplex) releaseStream(events []byte) error {
	e := d.exchange
	d.state, d.body = over, nil
	tags := append([]ladder.Header{{Name: "content-type", Value: chat.TypeStream}}, e.version.tags...)
	strip := append(e.version.foreign(e.respond), verdict.HeaderReason,
		"content-length", "content-encoding", "etag", "digest", "content-digest", "content-md5", "repr-digest")
	if err := e.out.send(beginning(0, tags, strip)); err != nil {
		return err
	}
	if err := e.out.send(piece(events, !d.trailed)); err != nil {
		return err
	}
	return d.releaseTrailers()
}
