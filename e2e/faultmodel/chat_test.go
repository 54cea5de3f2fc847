package faultmodel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// chatText is a request that shows a fault.
func chatText(p Protocol, f Fault, more string) string {
	if f.Logprobs() {
		more += `,"logprobs":true`
	}
	if f.Format() {
		more += `,"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"object","properties":{"answer":{"type":"string"}}}}}`
	}
	if n := f.Choices(); n > 1 {
		more += fmt.Sprintf(`,"n":%d`, n)
	}
	return fmt.Sprintf(`{"model":"chat","stream":%v,"messages":[{"role":"user","content":"hi"}]%s}`, p == SSE, more)
}

// talk sends a chat request and reads what comes; the body holds what was read
// before an error.
func talk(s *Server, path, text string, wait time.Duration) (int, http.Header, []byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	return talkUntil(ctx, s, path, text)
}

// talkUntil is talk that leaves with the end of a context.
func talkUntil(ctx context.Context, s *Server, path, text string) (int, http.Header, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.Addr()+path, strings.NewReader(text))
	if err != nil {
		return 0, nil, nil, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	resp, err := client.Do(r)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, body, err
}

// chunk is the part of an event that the tests read.
type chunk struct {
	ID      string `json:"id"`
	Model   string `json:"model"`
	Choices []struct {
		Index int    `json:"index"`
		Text  string `json:"text"`
		Delta struct {
			Role, Content, Refusal string
			ToolCalls              []struct {
				Function struct{ Name, Arguments string }
			} `json:"tool_calls"`
		} `json:"delta"`
		Message struct {
			Content   *string
			ToolCalls []struct {
				Function struct{ Name, Arguments string }
			} `json:"tool_calls"`
		} `json:"message"`
		Logprobs     json.RawMessage `json:"logprobs"`
		FinishReason *string         `json:"finish_reason"`
	} `json:"choices"`
	Usage *struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
	} `json:"usage"`
}

// told is what a stream said.
type told struct {
	tokens int // events with content of choice 0
	text   string
	finish string
	done   bool
	usage  bool
	other  int // events that are no chunk
}

func readStream(body []byte) (out told) {
	for _, line := range strings.Split(string(body), "\n\n") {
		data, found := strings.CutPrefix(line, "data: ")
		if !found {
			continue
		}
		if data == "[DONE]" {
			out.done = true
			continue
		}
		var c chunk
		if json.Unmarshal([]byte(data), &c) != nil || c.ID == "" {
			out.other++
			continue
		}
		out.usage = out.usage || c.Usage != nil
		for _, ch := range c.Choices {
			if ch.Index != 0 {
				continue
			}
			said := ch.Text + ch.Delta.Content + ch.Delta.Refusal
			for _, call := range ch.Delta.ToolCalls {
				said += call.Function.Arguments
			}
			if said != "" {
				out.tokens++
			}
			out.text += said
			if ch.FinishReason != nil {
				out.finish = *ch.FinishReason
			}
		}
	}
	return out
}

// sixty is what version v1 says.
var sixty = strings.Join(words("v1", 60), "")

func start(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestCompletion(t *testing.T) {
	s := start(t, Options{Pace: -1})
	for name, c := range map[string]struct{ path, more, text, finish string }{
		"plain":  {chatPath, "", sixty, "stop"},
		"prefix": {OA.Path("anything"), "", sixty, "stop"},
		"limit":  {chatPath, `,"max_tokens":3`, "w0 w1 w2", "length"},
		"tool":   {chatPath, `,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"required"`, `{"answer":"w0 w1 w2"}`, "tool_calls"},
		"object": {chatPath, `,"response_format":{"type":"json_object"}`, `{"answer":"` + sixty + `"}`, "stop"},
		"schema": {chatPath, `,"response_format":{"type":"json_schema","json_schema":{"schema":{"properties":{"b":{"type":"boolean"},"a":{"enum":["x"]},"c":{"type":"array","items":{"type":"integer"}}}}}}`, `{"a":"x","b":true,"c":[1]}`, "stop"},
		"legacy": {legacyPath, "", sixty, "stop"},
	} {
		t.Run(name, func(t *testing.T) {
			status, header, body, err := talk(s, c.path, chatText(OA, None, c.more), 20*time.Second)
			var whole chunk
			if err != nil || status != http.StatusOK || header.Get("Content-Type") != "application/json" || json.Unmarshal(body, &whole) != nil || len(whole.Choices) != 1 {
				t.Fatalf("plain: %d %v %s", status, err, body)
			}
			ch := whole.Choices[0]
			text := ch.Text
			if ch.Message.Content != nil {
				text = *ch.Message.Content
			}
			for _, call := range ch.Message.ToolCalls {
				text += call.Function.Arguments
			}
			if text != c.text || *ch.FinishReason != c.finish || whole.Model != "chat" || whole.Usage == nil || whole.Usage.Completion == 0 {
				t.Errorf("plain: %s", body)
			}
			status, header, body, err = talk(s, c.path, chatText(SSE, None, c.more+`,"stream_options":{"include_usage":true}`), 20*time.Second)
			got := readStream(body)
			if err != nil || status != http.StatusOK || !strings.HasPrefix(header.Get("Content-Type"), "text/event-stream") {
				t.Fatalf("stream: %d %v %s", status, err, body)
			}
			if got.text != c.text || got.finish != c.finish || !got.done || !got.usage || got.other != 0 {
				t.Errorf("stream: %+v", got)
			}
			// Every chunk but the last says that it has no usage.
			if chunks, nulls := bytes.Count(body, []byte("data: {")), bytes.Count(body, []byte(`"usage":null`)); nulls != chunks-1 {
				t.Errorf("%d of %d chunks have no usage", nulls, chunks)
			}
		})
	}
}

func TestChoicesAndLogprobs(t *testing.T) {
	s := start(t, Options{Pace: -1})
	for _, path := range []string{chatPath, legacyPath} {
		_, _, body, _ := talk(s, path, chatText(OA, None, `,"n":3,"logprobs":true`), patience)
		var whole chunk
		if err := json.Unmarshal(body, &whole); err != nil || len(whole.Choices) != 3 {
			t.Fatalf("%v: %s", err, body)
		}
		var probs struct {
			Content []struct{ Logprob float64 } `json:"content"`
			Legacy  []float64                   `json:"token_logprobs"`
			Offsets []int                       `json:"text_offset"`
		}
		if err := json.Unmarshal(whole.Choices[2].Logprobs, &probs); err != nil || len(probs.Content)+len(probs.Legacy) != 60 {
			t.Errorf("%v: %s", err, whole.Choices[2].Logprobs)
		}
		if path == legacyPath && (len(probs.Offsets) != 60 || probs.Offsets[2] != len("w0 w1")) {
			t.Errorf("offsets %v", probs.Offsets)
		}
	}
}

// TestEveryChatFaultIsServed asks with each fault, at each of its places: what
// comes differs from the clean answer and the counter says that it went out.
func TestEveryChatFaultIsServed(t *testing.T) {
	s := start(t, Options{FirstToken: time.Minute, Pace: -1})
	for _, p := range []Protocol{OA, SSE} {
		for _, f := range Faults(p) {
			places := f.Positions(p)
			if len(places) == 0 {
				places = []int{-1}
			}
			for _, at := range places {
				t.Run(fmt.Sprintf("%s/%s@%d", f, p, at), func(t *testing.T) {
					s.Set(None, 0)
					text := chatText(p, f, "")
					_, _, clean, err := talk(s, chatPath, text, patience)
					if err != nil || len(clean) == 0 {
						t.Fatalf("clean: %q, %v", clean, err)
					}
					before := s.Count(f)
					s.SetAt(f, at, 0)
					ctx := t.Context()
					switch f {
					case S06NeverAnswers, S07SlowBody, S07FirstTokenLate, S09BodyStalls, S09StreamStalls, S11NoDoneHeld:
						ctx = once(t, func() bool { return s.Count(f) > before }) // they end when the caller leaves
					}
					status, header, got, err := talkUntil(ctx, s, chatPath, text)
					if err == nil && status == http.StatusOK && bytes.Equal(got, clean) && header.Get("Content-Encoding") == "" && !strings.Contains(header.Get("Content-Type"), "utf-16") {
						t.Errorf("the answer is the clean one: %s", got)
					}
					if !eventually(func() bool { return s.Count(f) == before+1 }) {
						t.Errorf("the fault was counted %d times", s.Count(f)-before)
					}
					s.Set(None, 0)
					if _, _, again, err := talk(s, chatPath, text, patience); err != nil || !bytes.Equal(again, clean) {
						t.Errorf("clean does not follow: %q, %v", again, err)
					}
				})
			}
		}
	}
}

// TestStreamBreaks: what a caller gets of the stream, and how it ends.
func TestStreamBreaks(t *testing.T) {
	s := start(t, Options{})
	timeout := func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }
	for f, c := range map[Fault]struct {
		ends     func(error) bool
		last     bool // tokens after the place come as well
		finish   string
		done     bool
		other    int
		unplaced int // tokens where the fault has no place
	}{
		S08StreamReset:    {ends: func(err error) bool { return errors.Is(err, syscall.ECONNRESET) }},
		S08StreamFIN:      {ends: func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		S14CutAndRefused:  {ends: func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		S08StreamEnd:      {ends: func(err error) bool { return err == nil }},
		S09StreamStalls:   {ends: timeout},
		S10NotJSON:        {ends: func(err error) bool { return err == nil }, last: true, finish: "stop", done: true, other: 1},
		C18ErrorObject:    {ends: func(err error) bool { return err == nil }, done: true, other: 1},
		S07FirstTokenLate: {ends: timeout},
		S11NoDoneClosed:   {ends: func(err error) bool { return err == nil }, finish: "stop", unplaced: 60},
		S11NoDoneHeld:     {ends: timeout, finish: "stop", unplaced: 60},
	} {
		places := f.Positions(SSE)
		if len(places) == 0 {
			places = []int{-1}
		}
		for _, at := range places {
			t.Run(fmt.Sprintf("%s@%d", f, at), func(t *testing.T) {
				want := told{tokens: at, finish: c.finish, done: c.done, other: c.other}
				if c.last {
					want.tokens = 59
				}
				if at < 0 {
					want.tokens = c.unplaced
				}
				s.SetAt(f, at, 0)
				// On a busy machine the reset takes back what was not read in time,
				// and a stream that is held has not come to where it stops.
				var got told
				var err error
				for wait := 300 * time.Millisecond; wait < 20*time.Second; wait *= 4 {
					var body []byte
					_, _, body, err = talk(s, chatPath, chatText(SSE, None, ""), wait)
					got = readStream(body)
					got.text = ""
					if c.ends(err) && got == want {
						return
					}
				}
				t.Errorf("the stream told %+v and ended with %v, want %+v", got, err, want)
			})
		}
	}
}

func TestACallerThatLeavesIsNoticed(t *testing.T) {
	s := start(t, Options{Pace: time.Millisecond, Tokens: 100_000})
	for i, f := range []Fault{None, S09StreamStalls, S11NoDoneHeld, S07FirstTokenLate, S06NeverAnswers} {
		if f == S11NoDoneHeld {
			s.SetPace(0)
		}
		s.SetAt(f, -1, 0)
		there := once(t, func() bool { return s.Count(f) > 0 || (f == None || f == S11NoDoneHeld) && s.Open() > 0 })
		if _, _, _, err := talkUntil(there, s, chatPath, chatText(SSE, None, "")); err == nil {
			t.Errorf("%s: the stream ended by itself", f)
		}
		if !eventually(func() bool { return s.Cancelled() == i+1 && s.Open() == 0 }) {
			t.Errorf("%s: %d callers left, want %d; %d streams are open", f, s.Cancelled(), i+1, s.Open())
		}
	}
}

// TestAFaultCountsOnceItIsOut: a caller that leaves at the sight of it has had
// it all the same.
func TestAFaultCountsOnceItIsOut(t *testing.T) {
	s := start(t, Options{Pace: time.Second}) // each caller leaves before the token that follows
	for f, sign := range map[Fault]string{C18ErrorObject: "CUDA", S10NotJSON: "hiccup", C20OtherID: "somebody", C13TrailingBytes: "score"} {
		s.SetAt(f, 0, 0)
		resp, err := http.Post("http://"+s.Addr()+chatPath, "application/json", strings.NewReader(chatText(SSE, f, "")))
		if err != nil {
			t.Fatal(err)
		}
		gone, buf := s.Cancelled(), make([]byte, 0, 1<<16)
		for err == nil && !bytes.Contains(buf, []byte(sign)) {
			var n int
			n, err = resp.Body.Read(buf[len(buf):cap(buf)])
			buf = buf[:len(buf)+n]
		}
		_ = resp.Body.Close()
		if !eventually(func() bool { return s.Count(f) == 1 && s.Cancelled() == gone+1 }) {
			t.Errorf("%s: counted %d times, %d callers left, read %q %v", f, s.Count(f), s.Cancelled()-gone, buf, err)
		}
	}
}

// TestFaultsNeedTheirRequest: a fault of something that was not asked for is
// not served, and not counted.
func TestFaultsNeedTheirRequest(t *testing.T) {
	s := start(t, Options{Pace: -1})
	for _, f := range []Fault{C19LogprobNaN, C12ChoiceMissing, C13FormatProse} {
		s.Set(f, 0)
		for _, p := range []Protocol{OA, SSE} {
			if status, _, body, err := talk(s, chatPath, chatText(p, None, ""), patience); err != nil || status != http.StatusOK || !bytes.Contains(body, []byte("w59")) {
				t.Errorf("%s on %s: %d %v %s", f, p, status, err, body)
			}
		}
		if s.Count(f) != 0 {
			t.Errorf("%s was counted", f)
		}
	}
}

func TestModelsAndRefusals(t *testing.T) {
	s := start(t, Options{Version: "small"})
	resp, err := http.Get("http://" + s.Addr() + modelsPath)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if list, err := io.ReadAll(resp.Body); err != nil || !bytes.Contains(list, []byte(`"id":"small"`)) {
		t.Errorf("models: %s %v", list, err)
	}
	prefilled := `{"model":"chat","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"w0"}]}`
	if status, _, body, _ := talk(s, chatPath, prefilled, patience); status != http.StatusBadRequest || !bytes.Contains(body, []byte("prefill_not_supported")) {
		t.Errorf("a prefilled turn: %d %s", status, body)
	}
	if status, _, body, _ := talk(s, chatPath, "{", patience); status != http.StatusBadRequest || !bytes.Contains(body, []byte("invalid_request_error")) {
		t.Errorf("no JSON: %d %s", status, body)
	}
	if _, _, body, _ := talk(s, chatPath, chatText(OA, None, ""), patience); !bytes.Contains(body, []byte("s0 s1 s2")) {
		t.Errorf("the small model says %s", body)
	}
}
