package streams

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// reader reads one answer strictly: what a caller's library would take for a
// whole answer, and is none, is wrong.
type reader struct {
	call   *Call
	begun  time.Time
	tokens int
	out    *Outcome
	done   bool // [DONE] was read
}

// readBuffer is small: there are thousands of readers.
const readBuffer = 2 << 10

// stream reads events until the end of the body.
func (r *reader) stream(resp *http.Response) {
	o := r.out
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") {
		o.Wrong = "a stream was asked for, the answer is " + kind
	}
	in := bufio.NewReaderSize(resp.Body, readBuffer)
	var event []byte
	for {
		line, err := in.ReadSlice('\n')
		event = append(event, line...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			r.end(event, err)
			return
		}
		if !bytes.HasSuffix(event, []byte("\n\n")) {
			continue
		}
		r.event(event)
		event = event[:0]
	}
}

func (r *reader) event(event []byte) {
	o := r.out
	data, ok := bytes.CutPrefix(bytes.TrimSpace(event), []byte("data: "))
	switch {
	case !ok:
		o.Wrong = fmt.Sprintf("no event: %.80q", event)
		return
	case r.done || o.Manner == ErrorEvent:
		o.Wrong = fmt.Sprintf("something follows the end: %.80q", event)
		return
	case string(data) == "[DONE]":
		r.done = true
		return
	}
	text, code, failed, err := parse(data)
	switch {
	case err != nil:
		o.Wrong = fmt.Sprintf("%v in %.80q", err, data)
	case failed:
		o.Manner, o.Code = ErrorEvent, code
	case text != "":
		if r.call.said.Add(1) == 1 {
			o.First = time.Since(r.begun)
		}
		o.Text += text
	}
}

// end judges how the body ended; rest is an event that is not whole.
func (r *reader) end(rest []byte, err error) {
	o := r.out
	if o.Wrong != "" {
		return
	}
	switch {
	case !errors.Is(err, io.EOF):
		o.Manner, o.Err = Broken, err
		if r.done {
			o.Wrong = "broken off after [DONE]"
			return
		}
	case o.Manner == ErrorEvent:
	case len(rest) > 0:
		o.Wrong = fmt.Sprintf("a clean end in the middle of an event: %.80q", rest)
		return
	case !r.done:
		o.Wrong = "a clean end without [DONE] and without an error event: silently truncated"
		return
	default:
		r.complete()
		return
	}
	if whose := o.Text; whose != "" && !strings.HasPrefix(Words("w", r.tokens), whose) && !strings.HasPrefix(Words("s", r.tokens), whose) {
		o.Wrong = "the text before the failure is nobody's"
	}
}

// complete names who gave a whole answer.
func (r *reader) complete() {
	o := r.out
	switch {
	case o.Text == "":
		o.Wrong = "complete and empty"
	case o.Source == "primary" && o.Text == Words("w", r.tokens):
		o.Manner = Complete
	case o.Source == "fallback" && o.Text == Words("s", FallbackTokens):
		o.Manner = Fallback
	case o.Source == "safe_default" && o.Text == DefaultText:
		o.Manner = Default
	default:
		o.Wrong = fmt.Sprintf("complete by source %q with %d bytes of text", o.Source, len(o.Text))
	}
}

// whole reads an answer that is one JSON body.
func (r *reader) whole(resp *http.Response) {
	o := r.out
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		o.Manner, o.Err = Broken, err
		return
	}
	text, code, failed, err := parse(body)
	switch {
	case err != nil:
		o.Wrong = fmt.Sprintf("%v in %.80q", err, body)
	case o.Status != http.StatusOK:
		o.Manner, o.Code = Refused, code
		if !failed || code == "" {
			o.Wrong = fmt.Sprintf("status %d without an error object: %.80q", o.Status, body)
		}
	case failed:
		o.Wrong = "an error object with status 200"
	default:
		o.Text, o.First = text, time.Since(r.begun)
		r.complete()
	}
}

// Words are the first n tokens of what a model says: letter w is the primary,
// s the fallback.
func Words(letter string, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s%d", letter, i)
	}
	return b.String()
}
