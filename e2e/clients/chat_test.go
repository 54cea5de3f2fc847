package clients

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

func TestMain(m *testing.M) {
	code := m.Run()
	dataplane.Cleanup()
	os.Exit(code)
}

func model(t *testing.T) *fm.Server {
	t.Helper()
	s, err := fm.Start(fm.Options{FirstToken: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// words are the first n of what the model says.
func words(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " w%d", i)
	}
	return strings.TrimPrefix(b.String(), " ")
}

func TestCleanChat(t *testing.T) {
	s := model(t)
	c := StartOpenAI(t, "http://"+s.Addr()+"/v1")
	for _, stream := range []bool{false, true} {
		for _, legacy := range []bool{false, true} {
			body := map[string]any{"n": 2, "logprobs": true}
			if legacy {
				body["logprobs"] = 1
			}
			if stream {
				body["stream_options"] = map[string]any{"include_usage": true}
			}
			o := c.Ask(t, Chat{Stream: stream, Legacy: legacy, Body: body})
			if o.Raised != nil || len(o.Choices) != 2 || len(o.Models) != 1 || len(o.IDs) != 1 || o.Usage == nil || o.Usage.Completion != 120 {
				t.Fatalf("stream %v, legacy %v: %+v", stream, legacy, o)
			}
			for _, ch := range o.Choices {
				if ch.Text != words(60) || ch.Finish != "stop" || len(ch.Logprobs) != 60 || ch.Logprobs[1] != "-0.02" {
					t.Errorf("stream %v, legacy %v: %+v", stream, legacy, ch)
				}
			}
		}
		tool := map[string]any{
			"tools":       []any{map[string]any{"type": "function", "function": map[string]any{"name": "f", "parameters": map[string]any{"type": "object"}}}},
			"tool_choice": "required",
		}
		o := c.Ask(t, Chat{Stream: stream, Body: tool})
		if o.Raised != nil || len(o.Choices) != 1 || o.Choices[0].Arguments != `{"answer":"w0 w1 w2"}` || !o.Choices[0].Null || o.Finish() != "tool_calls" {
			t.Errorf("a tool call, stream %v: %+v", stream, o)
		}
	}
}

// made is what the openai library makes of an answer that failed. It raises,
// or it takes the answer as if nothing were wrong: that one is silent, and is
// what a caller must never be sent.
type made struct {
	raised  string // empty: silent
	finish  string
	whole   bool // all 60 tokens come; else those before the fault
	held    bool // only the library's timeout ends it
	choices int  // silent, without a single token: how many choices there are
}

const (
	connection = "openai.APIConnectionError"
	timedOut   = "openai.APITimeoutError"
	notJSON    = "json.JSONDecodeError"
)

// ofStreams says, per fault of a stream, what the library makes of it. The cut
// that ends cleanly is why silence at a truncation is the worst of answers: 40
// tokens of 60, no exception, and only a finish_reason that is missing. An
// error event is the one end after content that always raises.
var ofStreams = map[fm.Fault]made{
	fm.S05ResetBeforeHeaders: {raised: connection},
	fm.S06NeverAnswers:       {raised: timedOut, held: true},
	fm.S07FirstTokenLate:     {raised: timedOut, held: true},
	fm.S08StreamReset:        {raised: connection},
	fm.S08StreamFIN:          {raised: connection},
	fm.S08StreamEnd:          {choices: 1}, // silent truncation
	fm.S09StreamStalls:       {raised: timedOut, held: true},
	fm.S10NotJSON:            {raised: notJSON},
	fm.S11NoDoneClosed:       {finish: "stop", whole: true},
	fm.S11NoDoneHeld:         {raised: timedOut, finish: "stop", whole: true, held: true}, // complete, and still it waits
	fm.S12ContextLength:      {raised: "openai.BadRequestError"},
	fm.S04UnavailableForEver: {raised: "openai.InternalServerError"},
	fm.C12EmptyBody:          {},
	fm.C12EmptyContent:       {finish: "stop", choices: 1},
	fm.C12NoChoices:          {},
	fm.C12OnlyDone:           {},
	fm.C13HTML:               {},
	fm.C13PlainForStream:     {}, // a whole answer in the wrong shape is an empty stream
	fm.C18ErrorForStream:     {}, // even an error is
	fm.C18ErrorObject:        {raised: "openai.APIError"},
	fm.C20OtherID:            {finish: "stop", whole: true},
	fm.C19LogprobNaN:         {finish: "stop", whole: true},
}

func TestWhatTheLibraryMakesOfStreams(t *testing.T) {
	s := model(t)
	c := StartOpenAI(t, "http://"+s.Addr()+"/v1")
	for f, want := range ofStreams {
		places := f.Positions(fm.SSE)
		if len(places) == 0 {
			places = []int{-1}
		}
		for _, at := range places {
			t.Run(fmt.Sprintf("%s@%d", f, at), func(t *testing.T) {
				before := s.Count(f)
				s.SetAt(f, at, 0)
				q := Chat{Stream: true, Body: map[string]any{}}
				if f.Logprobs() {
					q.Body["logprobs"] = true
				}
				if want.held {
					q.Seconds = 5
				}
				o := c.Ask(t, q)
				text := words(max(0, at))
				if want.whole {
					text = words(60)
				}
				if o.RaisedType() != want.raised || o.Text() != text || o.Finish() != want.finish {
					t.Errorf("raised %+v after %q, finish_reason %q; want %q after %q, %q", o.Raised, o.Text(), o.Finish(), want.raised, text, want.finish)
				}
				if want.raised == "" && text == "" && len(o.Choices) != want.choices {
					t.Errorf("%d choices, want %d", len(o.Choices), want.choices)
				}
				dataplane.Eventually(t, 30*time.Second, "the fault was there", func() bool { return s.Count(f) == before+1 })
			})
		}
	}
}

// TestWhatTheLibraryMakesOfPlainAnswers: a body of another shape than a
// completion's is a completion without choices, not an exception.
func TestWhatTheLibraryMakesOfPlainAnswers(t *testing.T) {
	s := model(t)
	c := StartOpenAI(t, "http://"+s.Addr()+"/v1")
	for f, want := range map[fm.Fault]made{
		fm.S08BodyCut:           {raised: connection},
		fm.S08BodyCutChunked:    {raised: connection},
		fm.S13ContentPolicy:     {raised: "openai.BadRequestError"},
		fm.C12EmptyBody:         {raised: notJSON},
		fm.C12EmptyObject:       {},
		fm.C12NoChoices:         {},
		fm.C12EmptyContent:      {finish: "stop", choices: 1},
		fm.C13TruncatedJSON:     {raised: notJSON},
		fm.C18ErrorObject:       {},
		fm.C19Refusal:           {finish: "stop", choices: 1},
		fm.C19LogprobNaN:        {finish: "stop", choices: 1, whole: true},
		fm.C19LogprobNegInf:     {finish: "stop", choices: 1, whole: true},
		fm.C14DuplicateKey:      {finish: "stop", choices: 1, whole: true},
		fm.C20OtherModel:        {finish: "stop", choices: 1, whole: true},
		fm.C12OneChoiceEmpty:    {finish: "stop", choices: 2, whole: true},
		fm.C12ChoiceMissing:     {finish: "stop", choices: 1, whole: true},
		fm.C13StreamForPlain:    {raised: "builtins.AttributeError"}, // the library hands out a text
		fm.C09ConfidenceOverOne: {finish: "stop", choices: 1, whole: true},
	} {
		t.Run(f.String(), func(t *testing.T) {
			s.Set(f, 0)
			o := c.Ask(t, Chat{Body: map[string]any{"logprobs": true, "n": f.Choices()}})
			text := ""
			if want.whole {
				text = words(60)
			}
			if o.RaisedType() != want.raised || len(o.Choices) != want.choices || o.Text() != text || o.Finish() != want.finish {
				t.Errorf("raised %+v, %d choices, %q, finish_reason %q; want %+v", o.Raised, len(o.Choices), o.Text(), o.Finish(), want)
			}
			if f == fm.C19LogprobNaN && o.Choices[0].Logprobs[0] != "nan" {
				t.Errorf("the log probabilities are %q", o.Choices[0].Logprobs)
			}
		})
	}
}

// TestErrorEvent: what the library makes of the event with which a committed
// stream ends, its code included; the [DONE] is not waited for.
func TestErrorEvent(t *testing.T) {
	s := model(t)
	c := StartOpenAI(t, "http://"+s.Addr()+"/v1")
	const stream = `data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"chat","choices":[{"index":0,"delta":{"content":"w0"},"finish_reason":null}]}` + "\n\n" +
		`data: {"error":{"message":"The model's answer broke off.","type":"server_error","param":null,"code":"safestate_broken_truncated"}}` + "\n\n"
	s.Can(http.Header{"Content-Type": {"text/event-stream"}}, []byte(stream))
	o := c.Ask(t, Chat{Stream: true})
	if o.RaisedType() != "openai.APIError" || o.Raised.Code != "safestate_broken_truncated" || o.Raised.Message != "The model's answer broke off." || o.Text() != "w0" {
		t.Errorf("%+v after %q", o.Raised, o.Text())
	}
}
