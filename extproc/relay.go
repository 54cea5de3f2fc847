package extproc

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/safestate/safestate/internal/ladder"
	"github.com/safestate/safestate/internal/local"
	"github.com/safestate/safestate/internal/verdict"
)

// replace answers from the ladder in the place of a held answer that failed. A
// whole answer goes out at once and ends the exchange with the model, however
// that stalls; a streamed one is relayed as it comes.
func (d *duplex) replace(f verdict.Finding) error {
	e := d.exchange
	if e.route.grpc() {
		return d.replaceMessage(f)
	}
	a := e.climb(f)
	switch {
	case a.Stream == nil:
		d.state = over
		return e.out.send(e.deliverImmediate(a, f))
	case d.headersOnly:
		return d.gather(a, f)
	case d.pieces > 0:
		return d.relay(a, f)
	}
	d.state, d.waiting = awaiting, &rescue{a, f}
	d.arm(forPiece)
	return nil
}

// forPiece is how long the first piece of a failed answer's body is waited for
// before the other answer is gathered: the body of an error is behind its
// headers, that of a stalled stream may never come.
const forPiece = 50 * time.Millisecond

// rescue is a streamed answer that waits to be relayed. Envoy takes pieces of
// an answer only once it has sent one of the model's.
type rescue struct {
	answer ladder.Answer
	cause  verdict.Finding
}

// relay begins to stream the answer of another model to the caller. It goes on
// on a goroutine of its own, so that messages of the model that failed are
// dropped as they come and the caller's leaving is seen.
func (d *duplex) relay(a ladder.Answer, f verdict.Finding) error {
	e := d.exchange
	d.state = supplanted
	tags := tagsOf(&a, f)
	begun := beginning(a.Status, tags, append(dropped(e.respond, tags), "content-length"))
	if err := e.out.send(dynamic(done(begun.message))); err != nil {
		a.Stream.Close()
		return err
	}
	e.answered = time.Now()
	e.forget()
	d.body, d.stream = nil, nil
	d.modelDone()
	ctx, cancel := e.untilEnding()
	d.cancel, d.relayed = cancel, make(chan struct{})
	go func() {
		defer close(d.relayed)
		defer cancel()
		defer a.Stream.Close()
		defer func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.survive("a relay failed", recover())
		}()
		d.pump(ctx, &a, f)
	}()
	return nil
}

// pump sends on what the other model says until its end. After a failure, which
// comes after the first content, the caller gets an error event.
func (d *duplex) pump(ctx context.Context, a *ladder.Answer, f verdict.Finding) {
	e := d.exchange
	for {
		b, err := a.Stream.Next(ctx)
		ended := err != nil
		if ended && !errors.Is(err, io.EOF) {
			b = local.AppendCut(b, e.server.streamErrorCode(err))
			a.Source = cut
		}
		// An error is the proxy's end of the stream, upon which ctx is done.
		failed := e.out.send(piece(b, ended)) != nil
		if ended || failed {
			break
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	e.finish(a, f)
}

// gather reads the other model's stream to its end and sends it as one body:
// behind a model's answer that ended with its headers Envoy takes no pieces.
func (d *duplex) gather(a ladder.Answer, f verdict.Finding) error {
	e := d.exchange
	defer a.Stream.Close()
	d.state = over
	d.modelDone()
	ctx, cancel := e.untilEnding()
	defer cancel()
	for {
		b, err := a.Stream.Next(ctx)
		if len(a.Body)+len(b) > gatherMost {
			b, err = nil, errGathered
		}
		a.Body = append(a.Body, b...)
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) {
			a.Body = local.AppendCut(a.Body, e.server.streamErrorCode(err))
			a.Source = cut
		}
		return e.out.send(e.deliverImmediate(a, f))
	}
}

// gatherMost is the most that is gathered of another model's stream: some tens
// of thousands of tokens.
const gatherMost = 16 << 20

var errGathered = errors.New("safestate: the stream is too long to be gathered")

// modelDone gives back the place of a model whose answer has ended, though
// another goes out in its place.
func (d *duplex) modelDone() {
	if d.headersOnly || d.closed {
		d.exchange.permits.release()
	}
}

// lastBreath is how long another model's stream may go on that begins while the
// process ends, so that there is time left to tell of its end.
const lastBreath = time.Second

// untilEnding is the exchange's context, which ends with the process as well.
func (e *exchange) untilEnding() (context.Context, context.CancelFunc) {
	if e.server.ending.Err() != nil {
		return context.WithTimeout(e.ctx, lastBreath)
	}
	ctx, cancel := context.WithCancel(e.ctx)
	stop := context.AfterFunc(e.server.ending, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}
