package detect

import (
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/policy"
)

const completion = `{"id":"a","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"Paris."},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}`

func completionPolicy() *policy.Policy {
	return &policy.Policy{
		Protocol: policy.OpenAI, ServedName: "gpt-4o", Limits: policy.Limits{BodyBytes: 1 << 20},
		Detect: policy.Detect{
			Broken:   &policy.Broken{Mode: policy.Enforce},
			Contract: &policy.Contract{Mode: policy.Enforce, ModelName: true},
			Chat:     &policy.Chat{Refusal: policy.Enforce},
		},
		Ladder: []policy.Rung{
			{Fallback: &policy.Fallback{Model: "default/small", ServedName: "small", Protocol: policy.OpenAI, MaxBytes: 4096}},
			{SafeDefault: &policy.SafeDefault{Body: completion}},
		},
	}
}

func TestChatRequest(t *testing.T) {
	d := compiled(t, completionPolicy())
	body := []byte(`{"model":"gpt-4o","stream":true,"n":2}`)
	x := Exchange{Path: chatPath, RequestBody: body, RequestBodySeen: true}
	if r := d.ChatRequest(&x); !r.Known || !r.Stream || r.N != 2 || !r.Model.EqualText("gpt-4o") {
		t.Fatalf("%+v", r)
	}
	x.Reset()
	x.Path, x.RequestBody, x.RequestBodySeen = "/v1/completions", gzipped(t, body), true
	x.RequestHeaders = fields{"content-encoding": "gzip"}
	if r := d.ChatRequest(&x); !r.Stream || !r.Legacy {
		t.Fatalf("compressed: %+v", r)
	}
	for name, x := range map[string]*Exchange{
		"not seen":  {Path: "/v1/completions", RequestBody: body},
		"cut short": {Path: "/v1/completions", RequestBody: body[:20], RequestBodySeen: true},
	} {
		if r := d.ChatRequest(x); r.Known || r.Stream || !r.Legacy || r.N != 1 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if r := compiled(t, fraudPolicy()).ChatRequest(&Exchange{Path: chatPath, RequestBody: body, RequestBodySeen: true}); r.Known || r.N != 0 {
		t.Fatalf("of another protocol: %+v", r)
	}
}

// What the headers leave to the body: a stream that was asked for, whatever
// length it declares, and one to a request that nobody has seen.
func TestChatHeaders(t *testing.T) {
	p := completionPolicy()
	p.Limits.BodyBytes = 100
	d := compiled(t, p)
	for name, c := range map[string]struct {
		request string
		headers fields
		want    string // "": not decided
	}{
		"stream":                      {`{"stream":true}`, fields{"content-type": "text/event-stream"}, ""},
		"stream with parameters":      {`{"stream":true}`, fields{"content-type": "Text/Event-Stream; charset=UTF-8", "content-length": "1000"}, ""},
		"stream to an unseen":         {``, fields{"content-type": "text/event-stream"}, ""},
		"stream that nobody wants":    {`{"stream":false}`, fields{"content-type": "text/event-stream"}, "broken_content_type text/event-stream"},
		"JSON to a stream request":    {`{"stream":true}`, fields{"content-type": "application/json"}, ""},
		"long JSON to a stream":       {`{"stream":true}`, fields{"content-type": "application/json", "content-length": "1000"}, "broken_too_large 1000 > 100"},
		"stream of nothing":           {`{"stream":true}`, fields{"content-type": "text/event-stream", "content-length": "0"}, "broken_empty body"},
		"stream that is compressed":   {`{"stream":true}`, fields{"content-type": "text/event-stream", "content-encoding": "gzip"}, "broken_encoding gzip"},
		"HTML to a stream request":    {`{"stream":true}`, fields{"content-type": "text/html"}, "broken_content_type text/html"},
		"another event stream's name": {`{"stream":true}`, fields{"content-type": "text/event-streams"}, "broken_content_type text/event-streams"},
	} {
		t.Run(name, func(t *testing.T) {
			x := Exchange{Path: chatPath, Status: 200, ResponseHeaders: c.headers, RequestBody: []byte(c.request), RequestBodySeen: c.request != ""}
			v, decided := d.Headers(&x)
			if decided != (c.want != "") || decided && said(v) != c.want {
				t.Fatalf("decided %v: %s, want %q", decided, said(v), c.want)
			}
		})
	}
}

func TestChatUsage(t *testing.T) {
	d := compiled(t, completionPolicy())
	fb := d.policy.Ladder[0].Fallback
	x := Exchange{Path: chatPath, Status: 200, ResponseBody: []byte(strings.Replace(completion, `"content":"Paris."`, `"content":null,"refusal":"No."`, 1))}
	if _, _, ok := d.ChatUsage(&x); ok {
		t.Fatal("usage of an answer that nobody has judged")
	}
	if v := d.Answer(&x); said(v) != "chat_refusal choices[0].message.refusal" {
		t.Fatal(said(v))
	}
	if p, c, ok := d.ChatUsage(&x); !ok || p != 9 || c != 2 {
		t.Fatalf("of a failed answer: %d, %d, %v", p, c, ok)
	}
	small := strings.NewReplacer(`"gpt-4o"`, `"small"`, `"prompt_tokens":9`, `"prompt_tokens":4`).Replace(completion)
	if v := d.Fallback(&x, fb, 200, nil, []byte(small)); !v.Clean() {
		t.Fatal(said(v))
	}
	if p, c, ok := d.FallbackUsage(&x); !ok || p != 4 || c != 2 {
		t.Fatalf("of the fallback: %d, %d, %v", p, c, ok)
	}
	if p, _, _ := d.ChatUsage(&x); p != 9 {
		t.Fatal("the fallback's usage stands for the failed answer's")
	}
	x.Reset()
	if _, _, ok := d.ChatUsage(&x); ok {
		t.Fatal("usage after Reset")
	}
}

// A fallback model answers under its own name; the request's is the primary's.
func TestChatFallback(t *testing.T) {
	d := compiled(t, completionPolicy())
	fb := d.policy.Ladder[0].Fallback
	for body, want := range map[string]string{
		strings.ReplaceAll(completion, `"gpt-4o"`, `"small"`):      "clean",
		strings.ReplaceAll(completion, `"gpt-4o"`, `"small-2024"`): "clean",
		completion:                  "contract_model_name gpt-4o",
		`{"error":{"message":"x"}}`: "broken_error_object error",
		strings.NewReplacer(`"gpt-4o"`, `"small"`, `"content":`, `"refusal":`).Replace(completion): "chat_refusal choices[0].message.refusal",
	} {
		x := Exchange{Path: chatPath, RequestBody: []byte(`{"model":"gpt-4o"}`), RequestBodySeen: true}
		if got := said(d.Fallback(&x, fb, 200, fields{"content-type": "application/json"}, []byte(body))); got != want {
			t.Errorf("got %q, want %q of %s", got, want, body)
		}
	}
}

// A safe default is a whole chat completion, of any model.
func TestChatValidDefault(t *testing.T) {
	d := compiled(t, completionPolicy())
	for _, c := range []struct{ body, want string }{
		{completion, ""},
		{strings.ReplaceAll(completion, "gpt-4o", "safe-default"), ""},
		{`{"choices":[{"message":{"content":"Please try again later."}}]}`, ""},
		{`{"fallback":true}`, "broken_empty choices"},
		{`Sorry`, "broken_syntax 0"},
		{``, "broken_empty body"},
		{strings.ReplaceAll(completion, "Paris.", ""), "broken_empty choices[0].message.content"},
		{`{"error":{"message":"sorry"}}`, "broken_error_object error"},
		{`{"object":"text_completion","choices":[{"index":0,"text":"Sorry"}]}`, "broken_form choices[0].message"},
		{`{"choices":[{"index":0,"message":{"content":"a"}},{"index":0,"message":{"content":"b"}}]}`, "chat_choices choices[1].index"},
		{`{"choices":[{"message":{"content":"a","CONTENT":"b"}}]}`, "broken_duplicate_key choices[0].message.content"},
		{strings.ReplaceAll(completion, `"total_tokens":11`, `"cost":NaN`), "nonfinite usage.cost NaN"},
	} {
		if got := errorText(d.ValidDefault([]byte(c.body))); got != c.want {
			t.Errorf("%s: got %q, want %q", c.body, got, c.want)
		}
	}
}

// A clean completion costs no allocation once the exchange has been used.
func TestChatAllocates(t *testing.T) {
	p := completionPolicy()
	p.Detect.Chat.Format, p.Detect.Chat.Choices, p.Detect.NonFinite = policy.Enforce, policy.Enforce, &policy.NonFinite{Mode: policy.Enforce}
	p.Detect.Confidence = []policy.Confidence{{Mode: policy.Enforce, Value: logprobsValue, Aggregate: policy.AggregateMean, Min: 0.1}}
	d := compiled(t, p)
	request := []byte(`{"model":"gpt-4o","logprobs":true,"response_format":{"type":"json_object"}}`)
	answer := []byte(strings.Replace(strings.Replace(completion, "Paris.", `{\"a\":1}`, 1), `"finish_reason"`, `"logprobs":{"content":[{"token":"a","logprob":-0.1}]},"finish_reason"`, 1))
	h := fields{"content-type": "application/json"}
	var x Exchange
	judge := func() {
		x.Reset()
		x.Path, x.Status, x.RequestBody, x.RequestBodySeen, x.ResponseHeaders, x.ResponseBody = chatPath, 200, request, true, h, answer
		if v := d.Answer(&x); !v.Clean() {
			t.Fatal(said(v))
		}
	}
	if n := testing.AllocsPerRun(100, judge); n > 0 {
		t.Fatalf("%v allocations", n)
	}
}
