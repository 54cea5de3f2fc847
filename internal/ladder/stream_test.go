package ladder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

// chunk is one event of a stream of small's.
func chunk(delta, finish string) string {
	return `data: {"id":"c1","object":"chat.completion.chunk","created":2,"model":"small","choices":[{"index":0,"delta":` + delta + `,"finish_reason":` + finish + "}]}\n\n"
}

func token(text string) string { return chunk(`{"content":"`+text+`"}`, "null") }

var (
	role   = chunk(`{"role":"assistant","content":""}`, "null")
	finish = chunk(`{}`, `"stop"`)
	usage  = `data: {"id":"c1","object":"chat.completion.chunk","created":2,"model":"small","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}` + "\n\n"
)

const done = "data: [DONE]\n\n"

// streams is a model that answers with pieces, each flushed, and then does what
// end does.
func streams(end http.HandlerFunc, pieces ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", eventStream)
		w.(http.Flusher).Flush()
		for _, p := range pieces {
			_, _ = io.WriteString(w, p)
			w.(http.Flusher).Flush()
		}
		if end != nil {
			end(w, r)
		}
	}
}

func aborts(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func stalls(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// read reads a stream to its end.
func read(t *testing.T, s *Stream) (string, error) {
	t.Helper()
	text := ""
	for {
		b, err := s.Next(t.Context())
		text += string(b)
		if err != nil {
			if again, same := s.Next(t.Context()); len(again) > 0 || !errors.Is(same, err) {
				t.Errorf("after its end: %q %v, was %v", again, same, err)
			}
			return text, err
		}
		if len(b) == 0 {
			t.Fatal("neither bytes nor an error")
		}
	}
}

func stateOf(t *testing.T, s *State) breaker.State {
	t.Helper()
	b, ok := s.Breakers.Lookup(BreakerKeyRung("default/small"))
	if !ok {
		t.Fatal("no breaker")
	}
	return b.Snapshot().State
}

// Until its first content nothing of a stream reaches anybody, whatever comes.
func TestAStreamThatFailsBeforeItsFirstContent(t *testing.T) {
	for name, c := range map[string]struct {
		model     http.HandlerFunc
		detection string
		breaker   breaker.State
	}{
		"400":                       {says(400, `{"error":{"code":"context_length_exceeded"}}`), "", breaker.Closed},
		"503":                       {says(503, ""), "", breaker.Open},
		"silent":                    {hangs(nil), "", breaker.Open},
		"headers, then silent":      {streams(stalls), "", breaker.Open},
		"a preamble, then silent":   {streams(stalls, role), "", breaker.Open},
		"a preamble, then cut":      {streams(aborts, role), "", breaker.Open},
		"a preamble, then its end":  {streams(nil, role), "broken_truncated", breaker.Open},
		"nothing":                   {streams(nil), "broken_empty", breaker.Open},
		"finished without content":  {streams(nil, role, finish, done), "broken_empty", breaker.Open},
		"done at once":              {streams(nil, done), "broken_empty", breaker.Open},
		"an error event":            {streams(nil, role, `data: {"error":{"message":"secret"}}`+"\n\n"), "broken_error_object", breaker.Open},
		"content and then an error": {streams(nil, role+token("He")+`data: {"error":{"message":"secret"}}`+"\n\n"), "broken_error_object", breaker.Open},
		"not JSON":                  {streams(nil, "data: <html>\n\n"), "broken_syntax", breaker.Open},
		"a preamble without end":    {streams(stalls, strings.Repeat(": waiting\n\n", 1000)), "broken_too_large", breaker.Open},
		"HTML":                      {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, "broken_syntax default/small/v7 broken_content_type", breaker.Open},
		"a whole error object":      {says(200, `{"error":{"message":"secret"}}`), "broken_error_object", breaker.Open},
		"a whole answer, cut":       {cuts, "", breaker.Open},
	} {
		t.Run(name, func(t *testing.T) {
			e, asked := server(t, c.model)
			s, _ := newState(t)
			quick := func(f *policy.Fallback) {
				f.MaxConcurrent = 1
				if strings.HasSuffix(name, "silent") {
					f.Deadline = policy.Duration(2 * time.Second)
				}
			}
			l, rec := newLadder(t, s, assistant(gpt(e, withBreaker(1), quick), rulesRungOf(chatRules)))
			a := l.Answer(t.Context(), chatting(chatPath, streamAsk))
			if a.Source != Rules || a.Stream != nil || said(t, a) != "By the rules." {
				t.Fatalf("%s answered %s", a.Source, a.Body)
			}
			if got := rec.took(); got != "fallback failed, rules answered" || asked.Load() != 1 {
				t.Errorf("%s, asked %d times", got, asked.Load())
			}
			want := ""
			if c.detection != "" {
				want = "default/small/v7 " + c.detection
			}
			if got := strings.Join(rec.detections, " "); got != want {
				t.Errorf("detections %s, want %s", got, want)
			}
			if got := stateOf(t, s); got != c.breaker {
				t.Errorf("the breaker is %v, want %v", got, c.breaker)
			}
			if n := s.Bulkheads.Get("rung/default/small", 1).InFlight(); n != 0 {
				t.Errorf("%d places are still taken", n)
			}
		})
	}
}

// drips sends bytes of an event that never ends.
func drips(w http.ResponseWriter, r *http.Request) {
	for tick := time.NewTicker(10 * time.Millisecond); r.Context().Err() == nil; {
		_, _ = io.WriteString(w, "x")
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
		case <-tick.C:
		}
	}
}

// From its first content on a stream ends well or with the reason why not. What
// follows that content is sent once the answer has begun.
func TestACommittedStream(t *testing.T) {
	const (
		broken  = "data: {\n\n"
		failure = `data: {"error":{"message":"secret"}}` + "\n\n"
	)
	quick := func(s *policy.Stream) { s.BetweenTokens = policy.Duration(100 * time.Millisecond) }
	short := func(s *policy.Stream) { s.MaxDuration = policy.Duration(3 * time.Second) }
	hello := role + token("Hello")
	for name, c := range map[string]struct {
		pieces  []string // after hello
		end     http.HandlerFunc
		change  func(*policy.Stream)
		want    string       // after hello
		finding verdict.Code // empty: complete
	}{
		"complete":           {[]string{token(" there"), finish, done}, nil, nil, token(" there") + finish + done, ""},
		"byte by byte":       {strings.Split(token(" there")+finish+done, ""), nil, nil, token(" there") + finish + done, ""},
		"without DONE":       {[]string{finish}, nil, nil, finish + done, ""},
		"open without DONE":  {[]string{finish}, stalls, nil, finish + done, ""},
		"open after DONE":    {[]string{finish, done}, stalls, nil, finish + done, ""},
		"cut before DONE":    {[]string{finish}, aborts, nil, finish + done, ""},
		"cut in DONE":        {[]string{finish, "data: [DO"}, aborts, nil, finish + done, ""},
		"cut":                {[]string{token(" there")}, aborts, nil, token(" there"), verdict.BrokenTruncated},
		"cut in an event":    {[]string{finish[:20]}, aborts, nil, "", verdict.BrokenTruncated},
		"its end too early":  {nil, nil, nil, "", verdict.BrokenTruncated},
		"DONE too early":     {[]string{done}, nil, nil, "", verdict.BrokenTruncated},
		"silent":             {nil, stalls, quick, "", verdict.StreamStalled},
		"silent in an event": {[]string{finish[:20]}, stalls, quick, "", verdict.StreamStalled},
		"drips of an event":  {[]string{"data: "}, drips, quick, "", verdict.StreamStalled},
		"too long":           {nil, stalls, short, "", verdict.LateAnswer},
		"not JSON":           {[]string{broken, finish, done}, nil, nil, "", verdict.BrokenSyntax},
		"an error event":     {[]string{failure}, nil, nil, "", verdict.BrokenErrorObject},
		"an error after all": {[]string{finish, broken}, nil, nil, finish, verdict.BrokenSyntax},
		"clean, then broken": {[]string{token(" there") + broken + finish}, nil, nil, token(" there"), verdict.BrokenSyntax},
	} {
		t.Run(name, func(t *testing.T) {
			begun, left := make(chan struct{}), make(chan struct{})
			e, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
				defer close(left)
				streams(func(http.ResponseWriter, *http.Request) { <-begun }, role, token("Hello"))(w, r)
				streams(c.end, c.pieces...)(w, r)
			})
			s, _ := newState(t)
			p := assistant(gpt(e, withBreaker(1), func(f *policy.Fallback) { f.MaxConcurrent = 1 }), rulesRungOf(chatRules))
			if c.change != nil {
				c.change(p.Stream)
			}
			l, rec := newLadder(t, s, p)
			ask := chatting(chatPath, streamAsk)
			ask.Deadline = time.Now().Add(p.Deadline.D())
			a := l.Answer(t.Context(), ask)
			close(begun)
			if a.Source != Fallback || a.Stream == nil || a.Status != 200 || a.ContentType != eventStream || a.Model != "default/small" || a.Version != "v7" {
				t.Fatalf("%s %d %s answered %s (%s)", a.Source, a.Status, a.ContentType, a.Body, rec.took())
			}
			defer a.Stream.Close()
			bulkhead := s.Bulkheads.Get("rung/default/small", 1)
			if bulkhead.InFlight() != 1 {
				t.Error("the stream has no place in the bulkhead")
			}
			started := time.Now()
			text, err := read(t, a.Stream)
			if took := time.Since(started); took > 20*time.Second {
				t.Errorf("over after %s", took)
			}
			if want := hello + c.want; text != want {
				t.Errorf("got  %q\nwant %q", text, want)
			}
			wantState := breaker.Closed
			if c.finding == "" {
				if !errors.Is(err, io.EOF) || len(rec.detections) != 0 {
					t.Errorf("%v, detections %v", err, rec.detections)
				}
			} else {
				wantState = breaker.Open
				var failed *StreamError
				if !errors.As(err, &failed) || failed.Finding.Code != c.finding || !failed.Finding.Enforced {
					t.Errorf("%v, want %s", err, c.finding)
				}
				if want := "default/small/v7 " + string(c.finding); !slices.Equal(rec.detections, []string{want}) {
					t.Errorf("detections %v, want %s", rec.detections, want)
				}
			}
			if got := stateOf(t, s); got != wantState || bulkhead.InFlight() != 0 {
				t.Errorf("the breaker is %v, want %v; %d places taken", got, wantState, bulkhead.InFlight())
			}
			<-left // the model has seen the end, before Close
		})
	}
}

// What comes in one piece is judged in one piece.
func TestAStreamInOnePiece(t *testing.T) {
	e, _ := server(t, streams(nil, role+token("Hello")+finish+done))
	s, _ := newState(t)
	l, _ := newLadder(t, s, assistant(gpt(e, withBreaker(1))))
	a := l.Answer(t.Context(), chatting(chatPath, streamAsk))
	if a.Stream == nil {
		t.Fatalf("%s answered", a.Source)
	}
	defer a.Stream.Close()
	b, err := a.Stream.Next(t.Context())
	if err != nil || string(b) != role+token("Hello")+finish+done {
		t.Errorf("%q %v", b, err)
	}
	if b, err = a.Stream.Next(t.Context()); len(b) != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("%q %v", b, err)
	}
}

func TestTheUsageOfAStream(t *testing.T) {
	e, _ := server(t, streams(nil, role, token("Hello"), finish, usage, done))
	s, _ := newState(t)
	l, _ := newLadder(t, s, assistant(gpt(e)))
	a := l.Answer(t.Context(), chatting(chatPath, usageAsk))
	if _, err := read(t, a.Stream); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	a.Stream.Close()
	if p, c, ok := a.Stream.Usage(); p != 5 || c != 2 || !ok {
		t.Errorf("%d %d %v", p, c, ok)
	}
}

// The rungs' time and the context of those who asked end with the answer; the
// stream does not.
func TestAStreamOutlivesTheAsking(t *testing.T) {
	more := make(chan struct{})
	e, _ := server(t, streams(func(w http.ResponseWriter, r *http.Request) {
		<-more
		_, _ = io.WriteString(w, token(" there")+finish+done)
	}, role, token("Hello")))
	s, _ := newState(t)
	l, _ := newLadder(t, s, assistant(gpt(e)))
	ctx, cancel := context.WithCancel(t.Context())
	ask := chatting(chatPath, streamAsk)
	ask.Deadline = time.Now().Add(4 * time.Second)
	a := l.Answer(ctx, ask)
	if a.Stream == nil {
		t.Fatalf("%s answered", a.Source)
	}
	cancel()
	ask.Exchange.Reset() // as its host does: the request is let go of
	ask.Exchange.RequestBody = nil
	<-time.After(time.Until(ask.Deadline))
	close(more)
	if text, err := read(t, a.Stream); text != role+token("Hello")+token(" there")+finish+done || !errors.Is(err, io.EOF) {
		t.Errorf("%q %v", text, err)
	}
	a.Stream.Close()
	l.Close()
}

// A caller who leaves is nobody's failure, and the model sees it.
func TestWhoLeavesAStream(t *testing.T) {
	for name, leave := range map[string]func(*Stream, context.CancelFunc) error{
		"closed":              func(s *Stream, _ context.CancelFunc) error { s.Close(); s.Close(); return ErrStreamClosed },
		"the context's end":   func(_ *Stream, cancel context.CancelFunc) error { cancel(); return context.Canceled },
		"an end already over": nil,
	} {
		t.Run(name, func(t *testing.T) {
			left := make(chan struct{})
			e, _ := server(t, streams(func(w http.ResponseWriter, r *http.Request) { stalls(w, r); close(left) }, role, token("Hello")))
			s, _ := newState(t)
			l, rec := newLadder(t, s, assistant(gpt(e, withBreaker(1), func(f *policy.Fallback) { f.MaxConcurrent = 1 })))
			a := l.Answer(t.Context(), chatting(chatPath, streamAsk))
			if b, err := a.Stream.Next(t.Context()); err != nil || string(b) != role+token("Hello") {
				t.Fatalf("%q %v", b, err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			want := context.Canceled
			if leave == nil {
				cancel()
			}
			got := make(chan error)
			go func() {
				_, err := a.Stream.Next(ctx)
				got <- err
			}()
			if leave != nil {
				want = leave(a.Stream, cancel)
			}
			if err := <-got; !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
			<-left
			a.Stream.Close()
			if n := s.Bulkheads.Get("rung/default/small", 1).InFlight(); n != 0 || stateOf(t, s) != breaker.Closed || len(rec.detections) != 0 {
				t.Errorf("%d places taken, the breaker is %v, detections %v", n, stateOf(t, s), rec.detections)
			}
		})
	}
}

// A slow caller is not a slow model.
func TestTheSilenceIsTheModels(t *testing.T) {
	e, _ := server(t, streams(nil, role, token("Hello"), token(" there"), finish, done))
	s, _ := newState(t)
	p := assistant(gpt(e))
	p.Stream.BetweenTokens = policy.Duration(2 * time.Second)
	l, _ := newLadder(t, s, p)
	a := l.Answer(t.Context(), chatting(chatPath, streamAsk))
	defer a.Stream.Close()
	text := ""
	for {
		<-time.After(2500 * time.Millisecond) // the caller's
		b, err := a.Stream.Next(t.Context())
		text += string(b)
		if err != nil {
			if !errors.Is(err, io.EOF) || !strings.HasSuffix(text, done) {
				t.Errorf("%q %v", text, err)
			}
			return
		}
	}
}

// A fallback that refuses does not hide the first failure: the next one is
// asked, and one that answers is begun anew.
func TestTheNextFallbackStartsAfresh(t *testing.T) {
	first, _ := server(t, streams(aborts, role))
	second, _ := server(t, says(400, `{"error":{"message":"prefill"}}`))
	third, _ := server(t, streams(nil, role, token("Hello"), finish, done))
	s, _ := newState(t)
	named := func(name string) func(*policy.Fallback) { return func(f *policy.Fallback) { f.Model = name } }
	l, rec := newLadder(t, s, assistant(gpt(first, named("default/a")), gpt(second, named("default/b")), gpt(third, named("default/c"))))
	a := l.Answer(t.Context(), chatting(chatPath, streamAsk))
	if got := rec.took(); a.Stream == nil || a.Model != "default/c" || got != "fallback failed, fallback failed, fallback answered" {
		t.Fatalf("%s of %s: %s", a.Source, a.Model, got)
	}
	defer a.Stream.Close()
	if text, err := read(t, a.Stream); text != role+token("Hello")+finish+done || !errors.Is(err, io.EOF) {
		t.Errorf("%q %v", text, err)
	}
}

// The end of the connection's body may come after that of the answer.
func TestStreamsKeepTheirConnections(t *testing.T) {
	var opened atomic.Int64
	seen := make(chan struct{})
	srv := httptest.NewUnstartedServer(streams(func(http.ResponseWriter, *http.Request) { <-seen }, role, token("Hello"), finish, done))
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	s, _ := newState(t)
	l, _ := newLadder(t, s, assistant(gpt(endpointOf(t, srv.Listener.Addr().String()))))
	for range 5 {
		a := l.Answer(t.Context(), chatting(chatPath, streamAsk))
		for text := ""; !strings.HasSuffix(text, done); {
			b, err := a.Stream.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			text += string(b)
		}
		seen <- struct{}{}
		if b, err := a.Stream.Next(t.Context()); len(b) != 0 || !errors.Is(err, io.EOF) {
			t.Fatalf("%q %v", b, err)
		}
		a.Stream.Close()
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections for five streams", n)
	}
}

func TestManyStreamsAtOnce(t *testing.T) {
	e, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		pieces := []string{role}
		for i := range 50 {
			pieces = append(pieces, token(fmt.Sprint(" ", i)))
		}
		streams(nil, append(pieces, finish, done)...)(w, r)
	})
	s, _ := newState(t)
	l, _ := newLadder(t, s, assistant(gpt(e, withBreaker(1))))
	results := make(chan string)
	for i := range 32 {
		go func() {
			a := l.Answer(t.Context(), chatting(chatPath, streamAsk))
			if a.Stream == nil {
				results <- "no stream"
				return
			}
			defer a.Stream.Close()
			size := 0
			for {
				b, err := a.Stream.Next(t.Context())
				size += len(b)
				if i%4 == 3 && size > 1000 { // leaves
					results <- ""
					return
				}
				if errors.Is(err, io.EOF) {
					results <- ""
					return
				}
				if err != nil {
					results <- err.Error()
					return
				}
			}
		}()
	}
	for range 32 {
		if r := <-results; r != "" {
			t.Error(r)
		}
	}
	if got := stateOf(t, s); got != breaker.Closed {
		t.Errorf("the breaker is %v", got)
	}
}
