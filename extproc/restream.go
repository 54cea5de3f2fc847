package extproc

import (
	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/ladder"
	"github.com/safestate/safestate/internal/local"
	"github.com/safestate/safestate/internal/verdict"
)

// restream makes the stream that was asked for of a whole completion, which
// clients take for a stream without a single event. It returns nil where the
// answer may stay as it is. A completion that cannot be told as a stream fails.
func (d *duplex) restream(v *verdict.Verdict) []byte {
	e := d.exchange
	if d.kind != wholeAnswer || !e.enforced {
		return nil
	}
	return local.Restream(e.route.policy, e.shape, e.judge.Status, e.respond.text("content-encoding"), d.body, v)
}

// releaseStream lets the model's answer go as the stream that it is now.
func (d *duplex) releaseStream(events []byte) error {
	e := d.exchange
	d.state, d.body = over, nil
	tags := append([]ladder.Header{{Name: "content-type", Value: chat.TypeStream}}, e.version.tags...)
	strip := append(append(e.version.foreign(e.respond), verdict.HeaderReason), local.BodyHeaders...)
	if err := e.out.send(beginning(0, tags, strip)); err != nil {
		return err
	}
	if err := e.out.send(piece(events, !d.trailed)); err != nil {
		return err
	}
	return d.releaseTrailers()
}
