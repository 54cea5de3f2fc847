package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"time"
)

// Anchor keeps signed heads where whoever can change the chain cannot. Its
// methods need not be safe for concurrent use; one that does not answer holds up
// no entry and no other anchor.
type Anchor interface {
	// Keep takes a head; heads come in their order, and some are left out where
	// keeping them takes long. One that does not heed ctx is waited for no longer.
	Keep(ctx context.Context, head Witness) error
	// String names the anchor in messages, without secrets.
	String() string
}

// FileAnchor appends heads to a file, a line each: on another machine's disk, or
// in a folder that only appends.
type FileAnchor struct{ Path string }

func (a FileAnchor) String() string { return "the file " + a.Path }

// Keep implements Anchor.
func (a FileAnchor) Keep(_ context.Context, head Witness) error {
	f, err := os.OpenFile(a.Path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(head.Line(), '\n'))
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	return err
}

// WebhookAnchor posts heads as JSON, as [Witness.Line] writes them. Every status
// of 2xx means that the head is kept; redirects are not followed.
type WebhookAnchor struct {
	URL string
	// Authorization is the header's value; empty: none.
	Authorization string
	// Transport; nil: http.DefaultTransport.
	Transport http.RoundTripper
}

func (a WebhookAnchor) String() string {
	if u, err := url.Parse(a.URL); err == nil { // a path may hold a secret
		return "the webhook at " + u.Host
	}
	return "the webhook"
}

// Keep implements Anchor.
func (a WebhookAnchor) Keep(ctx context.Context, head Witness) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.URL, bytes.NewReader(head.Line()))
	if err != nil {
		return withoutURL(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if a.Authorization != "" {
		request.Header.Set("Authorization", a.Authorization)
	}
	client := http.Client{
		Transport:     a.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := client.Do(request)
	if err != nil {
		return withoutURL(err)
	}
	_, _ = io.CopyN(io.Discard, answer.Body, 4<<10) // so that the connection is used again
	if err := answer.Body.Close(); err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("status %s", clip(answer.Status))
	}
	return nil
}

// withoutURL leaves out the address, which may hold a secret.
func withoutURL(err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// How often an anchor is asked to keep one head, and for how long each time.
const (
	anchorTries   = 5
	anchorTimeout = 10 * time.Second
	anchorLast    = 5 * time.Second // when the log is closed
)

// box hands heads to one anchor: the newest alone.
type box struct {
	anchor Anchor
	heads  chan Witness       // 1
	ending <-chan struct{}    // closed when no more heads come
	end    context.CancelFunc // closes it
	over   context.Context    // ended anchorLast after that
	idle   chan struct{}      // 1: the anchor keeps nothing now
}

func newBox(a Anchor) *box {
	ending, end := context.WithCancel(context.Background())
	over, cancel := context.WithCancel(context.Background())
	context.AfterFunc(ending, func() { time.AfterFunc(anchorLast, cancel) })
	b := &box{anchor: a, heads: make(chan Witness, 1), ending: ending.Done(), end: end, over: over, idle: make(chan struct{}, 1)}
	b.idle <- struct{}{}
	return b
}

func (b *box) put(head Witness) {
	for {
		select {
		case b.heads <- head:
			return
		default:
		}
		select {
		case <-b.heads: // it gives way
		default:
		}
	}
}

// run keeps heads until no more come, and then the last one that is there.
func (b *box) run(done func(Head), failed func(error)) {
	for {
		select {
		case head := <-b.heads:
			b.keep(head, done, failed)
			continue
		case <-b.ending:
		}
		select {
		case head := <-b.heads:
			b.try(head, done, failed)
		default:
		}
		return
	}
}

// keep tries to keep a head, or a newer one that comes meanwhile, some times.
func (b *box) keep(head Witness, done func(Head), failed func(error)) {
	for try := range anchorTries {
		if b.try(head, done, failed) {
			return
		}
		wait := time.NewTimer(time.Second<<try/2 + rand.N(time.Second<<try/2))
		select {
		case <-wait.C:
		case <-b.ending: // at once, and then no more
			try = anchorTries
		}
		wait.Stop()
		select {
		case head = <-b.heads:
		default:
		}
		if try == anchorTries {
			b.try(head, done, failed)
			return
		}
	}
}

func (b *box) try(head Witness, done func(Head), failed func(error)) bool {
	ctx, cancel := context.WithTimeout(b.over, anchorTimeout)
	defer cancel()
	if err := b.ask(ctx, head); err != nil {
		failed(err)
		return false
	}
	done(head.Head)
	return true
}

// ask has the anchor keep a head, and waits for that no longer than ctx: a write to a
// file on another machine heeds none. One that hangs is not asked again before it is
// back.
func (b *box) ask(ctx context.Context, head Witness) error {
	select {
	case <-b.idle:
	case <-ctx.Done():
		return fmt.Errorf("it does not answer: %w", ctx.Err())
	}
	kept := make(chan error, 1)
	go func() {
		kept <- b.anchor.Keep(ctx, head)
		b.idle <- struct{}{}
	}()
	select {
	case err := <-kept:
		return err
	case <-ctx.Done():
		return fmt.Errorf("it does not answer: %w", ctx.Err())
	}
}
