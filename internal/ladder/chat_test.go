package ladder

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

const (
	chatDefault = `{"id":"safe","object":"chat.completion","created":1,"model":"assistant","choices":[{"index":0,"message":{"role":"assistant","content":"Not now."},"finish_reason":"stop"}]}`
	chatRules   = `{"id":"rules","object":"chat.completion","created":1,"model":"assistant","choices":[{"index":0,"message":{"role":"assistant","content":"By the rules."},"finish_reason":"stop"}]}`
	smallChat   = `{"id":"c1","object":"chat.completion","created":2,"model":"small","choices":[{"index":0,"message":{"role":"assistant","content":"Hello there"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}`
	smallLegacy = `{"id":"c1","object":"text_completion","created":2,"model":"small","choices":[{"index":0,"text":"Hello there","finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}`

	chatPath    = "/v1/chat/completions"
	legacyPath  = "/v1/completions"
	plainAsk    = `{"model":"big","messages":[{"role":"user","content":"Hi"}]}`
	streamAsk   = `{"model":"big","stream":true,"messages":[{"role":"user","content":"Hi"}]}`
	usageAsk    = `{"model":"big","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"Hi"}]}`
	legacyAsk   = `{"model":"big","prompt":"Hi"}`
	eventStream = "text/event-stream"
)

// assistant is a policy of an OpenAI route with the given rungs above its safe
// default.
func assistant(rungs ...policy.Rung) *policy.Policy {
	p := fraud(rungs...)
	p.Name, p.Route, p.Protocol, p.Model, p.ServedName = "default/assistant", "default/assistant/chat", policy.OpenAI, "default/big", "big"
	p.Versions = map[string]policy.Version{"default/big/v1": {Name: "v1"}}
	p.Stream = &policy.Stream{
		FirstToken: policy.Duration(time.Second), BetweenTokens: policy.Duration(30 * time.Second),
		MaxDuration: policy.Duration(time.Minute), HoldBytes: 4096,
	}
	p.Ladder[len(p.Ladder)-1].SafeDefault.Body = chatDefault
	return p
}

// gpt is a fallback model of an OpenAI route.
func gpt(e policy.Endpoint, change ...func(*policy.Fallback)) policy.Rung {
	return small(e, append([]func(*policy.Fallback){func(f *policy.Fallback) { f.Protocol = policy.OpenAI }}, change...)...)
}

// chatting is a request on an OpenAI route.
func chatting(path, body string) *Ask {
	ask := asking(body, nil)
	ask.Exchange.Path = path
	return ask
}

// said reads the text of a completion, or of a stream of one.
func said(t *testing.T, a Answer) string {
	t.Helper()
	type choice struct {
		Message, Delta struct{ Content string }
		Text           string
	}
	var all struct{ Choices []choice }
	if a.ContentType != eventStream {
		if err := json.Unmarshal(a.Body, &all); err != nil || len(all.Choices) == 0 {
			t.Fatalf("%s: %v", a.Body, err)
		}
		return all.Choices[0].Message.Content + all.Choices[0].Text
	}
	text := ""
	rest, done := strings.CutSuffix(string(a.Body), "data: [DONE]\n\n")
	if !done {
		t.Fatalf("a stream without an end: %s", a.Body)
	}
	for event := range strings.SplitSeq(strings.TrimSuffix(rest, "\n\n"), "\n\n") {
		all.Choices = nil
		if err := json.Unmarshal([]byte(strings.TrimPrefix(event, "data: ")), &all); err != nil {
			t.Fatalf("%s: %v", event, err)
		}
		for _, c := range all.Choices {
			text += c.Delta.Content + c.Text
		}
	}
	return text
}

// Whatever answers, the caller gets the form that it asked for.
func TestAnswersHaveTheFormThatWasAskedFor(t *testing.T) {
	answers := func(w http.ResponseWriter, r *http.Request) {
		body := smallChat
		if r.URL.Path == legacyPath {
			body = smallLegacy
		}
		says(200, body)(w, r)
	}
	e, _ := server(t, answers)
	s, _ := newState(t)
	for source, want := range map[Source]struct {
		rungs []policy.Rung
		text  string
	}{
		SafeDefault: {nil, "Not now."},
		Rules:       {[]policy.Rung{rulesRungOf(chatRules)}, "By the rules."},
		Fallback:    {[]policy.Rung{gpt(e)}, "Hello there"},
		Cache:       {[]policy.Rung{cached(policy.OnFailure)}, "Hello there"},
	} {
		l, _ := newLadder(t, s, assistant(want.rungs...))
		for _, c := range []struct{ path, ask, keep, kept, kind string }{
			{chatPath, plainAsk, plainAsk, smallChat, "application/json"},
			{chatPath, streamAsk, plainAsk, smallChat, eventStream},
			{chatPath, usageAsk, plainAsk, smallChat, eventStream},
			{legacyPath, legacyAsk, legacyAsk, smallLegacy, "application/json"},
			{legacyPath, legacyAsk[:1] + `"stream":true,` + legacyAsk[1:], legacyAsk, smallLegacy, eventStream},
		} {
			if source == Cache {
				keep := answered(c.keep, nil, c.kept, nil)
				keep.Exchange.Path = c.path
				l.Clean(keep.Exchange, keep.Version, true)
			}
			a := l.Answer(t.Context(), chatting(c.path, c.ask))
			if a.Source != source || a.ContentType != c.kind || a.Status != 200 || a.Stream != nil {
				t.Fatalf("%s %s: %s answered %d %s %s", source, c.ask, a.Source, a.Status, a.ContentType, a.Body)
			}
			if got := said(t, a); got != want.text {
				t.Errorf("%s %s: %q, want %q", source, c.ask, got, want.text)
			}
			if legacy := bytes.Contains(a.Body, []byte(`"text_completion"`)); legacy != (c.path == legacyPath) {
				t.Errorf("%s %s: %s", source, c.path, a.Body)
			}
			if usage := bytes.Contains(a.Body, []byte(`"usage":{`)); c.ask == usageAsk && !usage || c.ask == streamAsk && usage {
				t.Errorf("%s %s: usage is not as asked: %s", source, c.ask, a.Body)
			}
			if a.Source == Fallback && (a.UsagePrompt != 5 || a.UsageCompletion != 2 || a.Model != "default/small") {
				t.Errorf("the fallback counts %d and %d tokens", a.UsagePrompt, a.UsageCompletion)
			}
		}
	}
}

func TestABodyThatCannotTakeTheFormIsNoAnswer(t *testing.T) {
	calls := strings.Replace(chatRules, `"content":"By the rules."`, `"content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]`, 1)
	s, _ := newState(t)
	l, rec := newLadder(t, s, assistant(rulesRungOf(calls)))
	a := l.Answer(t.Context(), chatting(legacyPath, legacyAsk))
	if said(t, a) != "Not now." || rec.took() != "rules failed, safe_default answered" {
		t.Errorf("%s answered %s", a.Source, a.Body)
	}
	// Not even the default: an error, which every client raises.
	p := assistant()
	p.Ladder[0].SafeDefault.Body = `{"fallback":true}`
	none, rec := newLadder(t, s, p)
	for name, l := range map[string]*Ladder{"a default that is none": none, "a request that nobody read": l} {
		ask := chatting(chatPath, streamAsk)
		if l != none {
			ask.Exchange.RequestBodySeen = false
		}
		a := l.Answer(t.Context(), ask)
		var got struct {
			Error struct{ Code, Message, Type string }
		}
		if err := json.Unmarshal(a.Body, &got); err != nil || a.Status != 503 || a.ContentType != "application/json" || a.Source != SafeDefault ||
			got.Error.Code != "safestate_broken_status" || got.Error.Message == "" || got.Error.Type != "server_error" {
			t.Errorf("%s: %d %s %s", name, a.Status, a.ContentType, a.Body)
		}
	}
	if got := rec.took(); got != "safe_default failed" {
		t.Errorf("rungs: %s", got)
	}
}

func TestADefaultThatIsAnErrorStaysOne(t *testing.T) {
	const body = `{"error":{"message":"Not now.","type":"server_error","param":null,"code":null}}`
	s, _ := newState(t)
	p := assistant()
	p.Ladder[0].SafeDefault.Body, p.Ladder[0].SafeDefault.Status = body, 503
	l, _ := newLadder(t, s, p)
	wantAnswer(t, l.Answer(t.Context(), chatting(chatPath, streamAsk)), SafeDefault, body)
}

func TestTheRefusalOfAChatIsAnError(t *testing.T) {
	s, _ := newState(t)
	p := assistant()
	p.Budget = &policy.Budget{FallbackPercent: 1, Window: policy.Duration(time.Hour), MinRequests: 1, Refuse: true}
	l, _ := newLadder(t, s, p)
	l.Answer(t.Context(), chatting(chatPath, plainAsk))
	a := l.Answer(t.Context(), chatting(chatPath, streamAsk))
	var got struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal(a.Body, &got); err != nil || a.Source != Refused || a.Status != 503 || got.Error.Code != "safestate_"+string(verdict.BudgetExhausted) {
		t.Errorf("%d %s", a.Status, a.Body)
	}
}

func TestWhatAFallbackOfAChatIsAsked(t *testing.T) {
	var got atomic.Value
	e, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got.Store(r.URL.Path + " " + r.Header.Get("Content-Encoding") + " " + string(b))
		says(200, smallChat)(w, r)
	})
	s, _ := newState(t)
	l, rec := newLadder(t, s, assistant(gpt(e)))
	ask := chatting("/team"+chatPath+"?x=1", plainAsk)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, plainAsk)
	_ = z.Close()
	ask.Exchange.RequestBody = packed.Bytes()
	ask.Exchange.RequestHeaders = headers{"content-type": "application/json", "content-encoding": "gzip"}
	if a := l.Answer(t.Context(), ask); a.Source != Fallback {
		t.Fatalf("%s answered %s (%s)", a.Source, a.Body, rec.took())
	}
	if want := chatPath + "  " + strings.Replace(plainAsk, `"big"`, `"small"`, 1); got.Load() != want {
		t.Errorf("asked %s\nwant %s", got.Load(), want)
	}
	rec.took()
	if a := l.Answer(t.Context(), chatting(chatPath, `{"messages":`)); a.Status != 503 || rec.took() != "fallback missed, safe_default failed" {
		t.Errorf("a request that is no JSON: %d %s", a.Status, a.Body)
	}
}

// A fallback that compresses although identity was asked for is read all the
// same.
func TestACompressedFallbackIsReshaped(t *testing.T) {
	e, _ := server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, smallChat)
		_ = z.Close()
	})
	s, _ := newState(t)
	l, rec := newLadder(t, s, assistant(gpt(e)))
	a := l.Answer(t.Context(), chatting(chatPath, streamAsk))
	if a.Source != Fallback || said(t, a) != "Hello there" || len(a.Extra) != 0 {
		t.Errorf("%s answered %q with %v (%s)", a.Source, a.Body, a.Extra, rec.took())
	}
}

// Streams are answered from entries of whole answers, and only those are kept.
func TestTheCacheOfAChat(t *testing.T) {
	s, _ := newState(t)
	l, rec := newLadder(t, s, assistant(cached(policy.OnFailure)))
	stream := answered(streamAsk, nil, "data: [DONE]\n\n", headers{"content-type": eventStream})
	stream.Exchange.Path = chatPath
	l.Clean(stream.Exchange, stream.Version, true)
	if rec.written() != 0 {
		t.Error("a stream was kept")
	}
	// A model may answer a stream request with a whole answer.
	keep := answered(streamAsk, nil, smallChat, nil)
	keep.Exchange.Path = chatPath
	l.Clean(keep.Exchange, keep.Version, true)
	for ask, want := range map[string]Source{
		plainAsk: Cache, streamAsk: Cache, usageAsk: Cache,
		strings.Replace(plainAsk, "{", `{"stream":false,`, 1):              Cache,
		strings.Replace(plainAsk, "{", `{"temperature":0.5,`, 1):           SafeDefault,
		strings.Replace(plainAsk, "{", `{"n":2,`, 1):                       SafeDefault,
		strings.Replace(plainAsk, "big", "bigger", 1):                      SafeDefault,
		strings.Replace(plainAsk, "{", `{"stream":true,"stream":true,`, 1): SafeDefault,
	} {
		if a := l.Answer(t.Context(), chatting(chatPath, ask)); a.Source != want {
			t.Errorf("%s: %s, want %s", ask, a.Source, want)
		}
	}
}

// A stale entry that answers a stream is asked for anew as a whole answer.
func TestAStaleEntryOfAStream(t *testing.T) {
	var body atomic.Value
	e, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		body.Store(string(b))
		says(200, strings.Replace(smallChat, "there", "again", 1))(w, r)
	})
	rung := firstFrom(e)
	rung.Cache.Origin.Protocol, rung.Cache.Origin.ServedName = policy.OpenAI, "big"
	s, store := newState(t)
	l, rec := newLadder(t, s, assistant(rung))
	keep := answered(plainAsk, nil, smallChat, nil)
	keep.Exchange.Path = chatPath
	l.Clean(keep.Exchange, keep.Version, true)
	store.by.Store(int64(2 * time.Minute))
	a, ok := l.First(t.Context(), chatting(chatPath, usageAsk))
	if !ok || said(t, a) != "Hello there" {
		t.Fatalf("%v %s", ok, a.Body)
	}
	until(t, "the new answer to be kept", func() bool { return rec.written() == 2 })
	want := strings.NewReplacer(`"stream":true`, `"stream":false`, `{"include_usage":true}`, `null`).Replace(usageAsk)
	if body.Load() != want {
		t.Errorf("asked %s\nwant %s", body.Load(), want)
	}
	store.by.Store(0)
	if a, ok := l.First(t.Context(), chatting(chatPath, streamAsk)); !ok || said(t, a) != "Hello again" {
		t.Errorf("%v %s", ok, a.Body)
	}
}

func TestAPolicyWithoutBoundsOnItsStreams(t *testing.T) {
	p := assistant()
	p.Stream = nil
	s, _ := newState(t)
	if l, err := New(p, nil, s, &recorder{}); err == nil {
		l.Close()
		t.Error("was built")
	}
}
