package detect

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

// chatPolicy enforces everything that a completion can be held to.
func chatPolicy(mode policy.Mode) *policy.Policy {
	return &policy.Policy{
		Protocol: policy.OpenAI, ServedName: "m", Limits: policy.Limits{BodyBytes: 2000},
		Stream: &policy.Stream{HoldBytes: 1000},
		Detect: policy.Detect{
			NonFinite:  &policy.NonFinite{Mode: mode},
			Broken:     &policy.Broken{Mode: mode},
			Contract:   &policy.Contract{Mode: mode, ModelName: true, IDEcho: true},
			Chat:       &policy.Chat{Refusal: mode, ContentFilter: mode, Choices: mode, Format: mode},
			Confidence: []policy.Confidence{{Mode: mode, Value: "logprobs", Aggregate: policy.AggregateMean, Min: 0.5}, {Mode: mode, Value: "logprobs", Min: 0.1}},
		},
		Ladder: []policy.Rung{
			{Fallback: &policy.Fallback{Model: "default/small", ServedName: "small", Protocol: policy.OpenAI, MaxBytes: 2000}},
			{SafeDefault: &policy.SafeDefault{Status: 503}},
		},
	}
}

const (
	chatPath   = "/v1/chat/completions"
	legacyPath = "/v1/completions"
	asked      = `{"model":"m","stream":true}`
)

func chatExchange(path, request string) *Exchange {
	x := &Exchange{Method: "POST", Path: path, Status: 200}
	if request != "" {
		x.RequestBody, x.RequestBodySeen = []byte(request), true
	}
	return x
}

// ran is what became of a stream.
type ran struct {
	pass     string // all of it
	said     string
	observed []string
	content  bool
	finished bool
	usage    string
	complete bool
}

// play feeds a body in pieces of the lengths in cuts, over and over, each
// overwritten afterwards, and then ends it.
func play(t testing.TB, s *Stream, body string, cuts []byte) (r ran) {
	take := func(step Step) bool {
		if len(step.Pass) > 0 && !step.Content {
			t.Fatalf("%q passed before the content", step.Pass)
		}
		if r.content && !step.Content {
			t.Fatal("the content is gone again")
		}
		r.pass += string(step.Pass)
		r.content, r.finished = step.Content, step.Finished
		r.observed = append(r.observed, reasons(step.Verdict.Observed)...)
		r.said = said(step.Verdict)
		if held := len(s.held) + s.split.Held(); !step.Content && held > int(s.hold+s.event)+1 {
			t.Fatalf("%d bytes held", held)
		}
		return step.Finished || !step.Verdict.Clean()
	}
	over := false
	for i := 0; len(body) > 0 && !over; i++ {
		n := len(body)
		if len(cuts) > 0 {
			n = min(int(cuts[i%len(cuts)])+1, n)
		}
		piece := []byte(body[:n])
		body = body[n:]
		over = take(s.Feed(piece))
		for i := range piece {
			piece[i] = '#'
		}
	}
	if !over {
		take(s.End())
	}
	if p, c, ok := s.Usage(); ok {
		r.usage = fmt.Sprint(p, " ", c)
	}
	r.complete = s.Complete()
	return r
}

func events(data ...string) string {
	var b strings.Builder
	for _, d := range data {
		b.WriteString("data: " + d + "\n\n")
	}
	return b.String()
}

// The pieces of streams in the tests below.
const (
	role = `{"id":"c-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`
	hi   = `{"id":"c-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}`
	stop = `{"id":"c-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`
	used = `{"id":"c-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}`
	done = `[DONE]`
)

func with(choice string) string {
	return `{"id":"c-1","model":"m","choices":[{"index":0,` + choice + `}]}`
}

func lp(text string, values ...string) string {
	var list []string
	for _, v := range values {
		list = append(list, `{"token":"t","logprob":`+v+`,"bytes":[116],"top_logprobs":[]}`)
	}
	return with(`"delta":{"content":"` + text + `"},"logprobs":{"content":[` + strings.Join(list, ",") + `],"refusal":null},"finish_reason":null`)
}

var someCuts = [][]byte{nil, {0}, {2, 0, 6}, {96}, {200, 13}}

func TestStream(t *testing.T) {
	good := events(role, hi, stop, done)
	jsonAsked := `{"model":"m","stream":true,"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"object","required":["a"]}}}}`
	probs := `{"model":"m","stream":true,"logprobs":true}`
	for name, c := range map[string]struct {
		path, request string // empty: chat, and asked
		body          string
		want          string // verdict
		pass          string // "all", or what passes
	}{
		"clean":                    {"", "", good, "clean", "all"},
		"nothing":                  {"", "", "", "broken_empty body", ""},
		"comments alone":           {"", "", ": x\n\n", "broken_empty body", ""},
		"no choice at all":         {"", "", events(done), "broken_empty choices", ""},
		"preamble and cut":         {"", "", events(role), "broken_truncated 164", ""},
		"cut after the content":    {"", "", events(role, hi), "broken_truncated " + fmt.Sprint(len(events(role, hi))), "all"},
		"cut inside an event":      {"", "", events(role, hi) + "data: {\"id\"", "broken_truncated " + fmt.Sprint(len(events(role, hi))+11), events(role, hi)},
		"no [DONE]":                {"", "", events(role, hi, stop), "clean", good},
		"half a [DONE]":            {"", "", events(role, hi, stop) + "data: [DO", "clean", good},
		"[DONE] without its line":  {"", "", events(role, hi, stop) + "data: [DONE]", "clean", good},
		"the last line is missing": {"", "", events(role, hi) + "data: " + stop + "\n", "clean", events(role, hi) + "data: " + stop + "\n\n\n" + chat.Done},
		"[DONE] too early":         {"", "", events(role, hi, done), "broken_truncated choices[0].finish_reason", events(role, hi)},
		"what follows [DONE]":      {"", "", good + events(hi, "nonsense"), "clean", good},
		"finished without content": {"", "", events(role, stop, done), "broken_empty choices[0].delta.content", ""},
		"no JSON":                  {"", "", events(role, hi, `{"id":`, hi, stop, done), "broken_syntax 6 of event 3", events(role, hi)},
		"no JSON, first":           {"", "", events(`oops`), "broken_syntax 0 of event 1", ""},
		"JSON and more":            {"", "", events(role, hi+hi), "broken_syntax " + fmt.Sprint(len(hi)) + " of event 2", ""},
		"empty data":               {"", "", events(role, hi, ""), "broken_syntax 0 of event 3", events(role, hi)},
		"no UTF-8":                 {"", "", events(role, strings.Replace(hi, "Hi", "H\xff", 1)), "broken_utf8 112 of event 2", ""},
		"text between events":      {"", "", events(role, hi) + "Internal Server Error\n\n" + events(stop, done), "broken_syntax line of event 3", events(role, hi)},
		"an error":                 {"", "", events(`{"error":{"message":"CUDA","code":500}}`), "broken_error_object error", ""},
		"an error, later":          {"", "", events(role, hi, `{"error":"CUDA"}`, done), "broken_error_object error", events(role, hi)},
		"event: error":             {"", "", events(role, hi) + "event: error\ndata: {\"message\":\"x\"}\n\n", "broken_error_object message", events(role, hi)},
		"event: error, as a chunk": {"", "", events(role, hi) + "event: error\ndata: " + hi + "\n\n", "broken_error_object event", events(role, hi)},
		"vLLM's error":             {"", "", events(`{"object":"error","message":"x","type":"BadRequestError","code":400}`), "broken_error_object object", ""},
		"an error beside a choice": {"", "", events(role, hi, `{"id":"c-1","error":{"code":502},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}`), "broken_error_object error", events(role, hi)},
		"finish_reason error":      {"", "", events(role, hi, with(`"delta":{},"finish_reason":"error"`)), "broken_error_object choices[0].finish_reason", events(role, hi)},
		"finish_reason abort":      {"", "", events(role, hi, with(`"delta":{},"finish_reason":"abort"`)), "broken_error_object choices[0].finish_reason", events(role, hi)},
		"another form":             {"", "", events(`{"fallback":true}`), "broken_form choices", ""},
		"no object":                {"", "", events(`[]`), "broken_form body", ""},
		"a whole message":          {"", "", events(with(`"message":{"content":"Hi"},"finish_reason":"stop"`)), "broken_form choices[0].delta", ""},
		"a legacy chunk to chat":   {"", "", events(with(`"text":"Hi","finish_reason":"stop"`)), "broken_form choices[0].delta", ""},
		"a chat chunk to legacy":   {legacyPath, "", events(hi), "broken_form choices[0].text", ""},
		"an index that is none":    {"", "", events(`{"choices":[{"index":-1,"delta":{"content":"a"}}]}`), "broken_form choices[0].index", ""},
		"content of another kind":  {"", "", events(with(`"delta":{"content":7}`)), "broken_form choices[0].delta.content", ""},
		"two deltas":               {"", "", events(with(`"delta":{"content":"a"},"Delta":{"content":"b"}`)), "broken_duplicate_key choices[0].delta", ""},
		"two contents":             {"", "", events(with(`"delta":{"content":"a","content":"b"}`)), "broken_duplicate_key choices[0].delta.content", ""},
		"two arguments of a call":  {"", "", events(with(`"delta":{"tool_calls":[{"function":{"name":"a","name":"b"}}]}`)), "broken_duplicate_key name", ""},
		"refusal":                  {"", "", events(role, with(`"delta":{"refusal":"I can"}`)), "chat_refusal choices[0].delta.refusal", ""},
		"content filter":           {"", "", events(role, hi, with(`"delta":{},"finish_reason":"content_filter"`), done), "chat_content_filter choices[0].finish_reason", events(role, hi)},
		"filtered at once":         {"", "", events(role, with(`"delta":{},"finish_reason":"content_filter"`), done), "chat_content_filter choices[0].finish_reason", ""},
		"tool call":                {"", "", events(role, with(`"delta":{"tool_calls":[{"index":0,"id":"x","type":"function","function":{"name":"f","arguments":""}}]}`), with(`"delta":{},"finish_reason":"tool_calls"`), done), "clean", "all"},
		"reasoning":                {"", "", events(role, with(`"delta":{"reasoning_content":"hm"}`), with(`"delta":{"content":null},"finish_reason":"length"`), done), "clean", "all"},
		"parts":                    {"", "", events(with(`"delta":{"content":[{"type":"text","text":"a"}]},"finish_reason":"stop"`), done), "clean", "all"},
		"another model":            {"", "", events(strings.Replace(role, `"m"`, `"other"`, 1)), "contract_model_name other", ""},
		"a dated model":            {"", "", strings.ReplaceAll(good, `"m"`, `"m-2024-08-06"`), "clean", "all"},
		"no model":                 {"", "", strings.ReplaceAll(good, `"model":"m",`, ``), "contract_model_name none", ""},
		"the model changes":        {"", "", events(role, hi, strings.Replace(hi, `"m"`, `"m-0613"`, 1)), "contract_model_name m-0613", events(role, hi)},
		"the id changes":           {"", "", events(role, hi, strings.Replace(hi, "c-1", "c-2", 1)), "contract_id", events(role, hi)},
		"a choice nobody asked":    {"", "", events(role, hi, strings.Replace(hi, `"index":0`, `"index":1`, 1)), "chat_choices choices[1].index", events(role, hi)},
		"a choice is missing":      {"", `{"model":"m","stream":true,"n":2}`, good, "chat_choices 1 want 2", events(role, hi, stop)},
		"one choice of two, cut":   {"", `{"model":"m","stream":true,"n":2}`, events(role, hi, stop), "broken_truncated " + fmt.Sprint(len(events(role, hi, stop))), "all"},
		"two choices": {"", `{"model":"m","stream":true,"n":2}`, strings.ReplaceAll(events(role, hi, stop), `"index":0`, `"index":1`) + good,
			"clean", "all"},
		"two choices, one cut": {"", `{"model":"m","stream":true,"n":2}`, strings.ReplaceAll(events(role, hi), `"index":0`, `"index":1`) + good,
			"broken_truncated choices[1].finish_reason", strings.ReplaceAll(events(role, hi), `"index":0`, `"index":1`) + events(role, hi, stop)},
		"preamble over the cap":  {"", "", strings.Repeat(": waiting\n\n", 100), "broken_too_large preamble > 1000", ""},
		"one event over the cap": {"", "", events(role, with(`"delta":{"content":"`+strings.Repeat("x", 1500)+`"}`), stop, done), "clean", "all"},
		"one event over it":      {"", "", events(role, hi, with(`"delta":{"content":"`+strings.Repeat("x", 2000)+`"}`)), "broken_too_large event > 2000", events(role, hi)},

		"NaN somewhere":            {"", "", events(role, with(`"delta":{"content":"a"},"score":NaN`)), "nonfinite choices[0].score NaN", ""},
		"the word NaN":             {"", "", events(role, with(`"delta":{"content":"NaN"}`), stop, done), "clean", "all"},
		"probable":                 {"", probs, events(role, lp("a", "-0.1", "-0.01"), lp("", "0"), stop, done), "clean", "all"},
		"logprob NaN":              {"", probs, events(role, lp("a", "-0.1"), lp("b", "NaN")), "nonfinite choices[0].logprobs.content[0].logprob NaN", events(role, lp("a", "-0.1"))},
		"logprob null":             {"", probs, events(role, lp("a", "null")), "nonfinite choices[0].logprobs.content[0].logprob null", ""},
		"logprob -9999":            {"", probs, events(role, lp("a", "-9999.0")), "confidence_sentinel choices[0].logprobs.content[0].logprob -9999", ""},
		"logprob over 0":           {"", probs, events(role, lp("a", "0.2")), "confidence_over_one choices[0].logprobs.content[0].logprob 0.2", ""},
		"an unlikely token":        {"", probs, events(role, lp("a", "-0.1"), lp("b", "-3")), "confidence_low choices[0].logprobs 0.049787068367863944 < 0.1", events(role, lp("a", "-0.1"))},
		"unlikely on the whole":    {"", probs, events(role, lp("a", "-1"), lp("b", "-1"), stop, done), "confidence_low choices[0].logprobs 0.36787944117144233 < 0.5", events(role, lp("a", "-1"), lp("b", "-1"))},
		"none, though asked for":   {"", probs, good, "confidence_missing choices[0].logprobs", events(role, hi)},
		"unlikely, not asked for":  {"", "", events(role, lp("a", "-3"), stop, done), "clean", "all"},
		"request unseen, unlikely": {"", "unseen", events(role, lp("a", "-3"), stop, done), "confidence_low choices[0].logprobs 0.049787068367863944 < 0.1", ""},

		"legacy": {legacyPath, `{"model":"m","stream":true,"logprobs":1}`, events(
			with(`"text":"Hi","logprobs":{"tokens":["Hi"],"token_logprobs":[-0.1],"top_logprobs":[{"Hi":-0.1}],"text_offset":[0]},"finish_reason":null`), with(`"text":"","logprobs":null,"finish_reason":"stop"`), done), "clean", "all"},
		"legacy, echoed": {legacyPath, `{"model":"m","stream":true,"logprobs":1,"echo":true}`, events(
			with(`"text":"Say","logprobs":{"tokens":["Say"],"token_logprobs":[null]}`), with(`"text":"Hi","logprobs":{"token_logprobs":[-0.1]},"finish_reason":"stop"`), done), "clean", "all"},
		"legacy, null later": {legacyPath, `{"model":"m","stream":true,"logprobs":1,"echo":true}`, events(
			with(`"text":"Say","logprobs":{"token_logprobs":[null,-0.1]}`), with(`"text":"Hi","logprobs":{"token_logprobs":[null]}`)), "nonfinite choices[0].logprobs.token_logprobs[0] null",
			events(with(`"text":"Say","logprobs":{"token_logprobs":[null,-0.1]}`))},
		"legacy, empty": {legacyPath, "", events(with(`"text":"","finish_reason":"stop"`)), "broken_empty choices[0].text", ""},

		"format kept":                    {"", jsonAsked, events(role, with(`"delta":{"content":"{\"a\""}`), with(`"delta":{"content":":1}"}`), stop, done), "clean", "all"},
		"finished twice":                 {"", jsonAsked, events(role, with(`"delta":{"content":"{\"a\":1}"}`), stop, stop, done), "clean", "all"},
		"two texts of a part":            {"", "", events(with(`"delta":{"content":[{"type":"text","text":"a","text":"b"}]}`)), "broken_duplicate_key text", ""},
		"two of a key that nobody reads": {"", "", events(role, with(`"delta":{"content":"a","x":1,"x":2}`), stop, done), "clean", "all"},
		"format broken":                  {"", jsonAsked, events(role, with(`"delta":{"content":"{\"b\":1}"}`), stop, done), "chat_format choices[0].delta.content a required", events(role, with(`"delta":{"content":"{\"b\":1}"}`))},
		"content that is no JSON":        {"", jsonAsked, events(role, hi, stop, done), "chat_format choices[0].delta.content JSON", events(role, hi)},
		"a call instead":                 {"", jsonAsked, events(role, with(`"delta":{"tool_calls":[{"index":0}]}`), with(`"delta":{},"finish_reason":"tool_calls"`), done), "clean", "all"},
		"content over the limit": {"", jsonAsked, events(slices.Repeat([]string{with(`"delta":{"content":"` + strings.Repeat("x", 700) + `"}`)}, 3)...), "broken_too_large content > 2000",
			events(slices.Repeat([]string{with(`"delta":{"content":"` + strings.Repeat("x", 700) + `"}`)}, 2)...)},
	} {
		t.Run(name, func(t *testing.T) {
			d := compiled(t, chatPolicy(policy.Enforce))
			if c.path == "" {
				c.path = chatPath
			}
			switch c.request {
			case "":
				c.request = asked
			case "unseen":
				c.request = ""
			}
			if c.pass == "all" {
				c.pass = c.body
			}
			for _, cuts := range someCuts {
				got := play(t, d.Stream(chatExchange(c.path, c.request)), c.body, cuts)
				if got.said != c.want || got.pass != c.pass {
					t.Fatalf("cuts %v\ngot  %s\nwant %s\npassed %q\nwant   %q", cuts, got.said, c.want, got.pass, c.pass)
				}
				if got.finished != (c.want == "clean") || got.content != (c.pass != "") {
					t.Fatalf("cuts %v: finished %v, content %v", cuts, got.finished, got.content)
				}
			}
		})
	}
}

// What a detector that observes finds is told once, and the stream passes on as
// it is.
func TestStreamObserved(t *testing.T) {
	for name, c := range map[string]struct {
		request, body string
		pass          string // empty: all
		want          []string
	}{
		"no JSON":          {asked, events(role, hi, "oops", "oops", stop, done), "", []string{"broken_syntax 0 of event 3"}},
		"an error":         {asked, events(`{"error":{"message":"x"}}`, done), "", []string{"broken_error_object error", "broken_empty choices"}},
		"cut":              {asked, events(role, hi) + "data: {", "", []string{fmt.Sprint("broken_truncated ", len(events(role, hi))+7)}},
		"cut at once":      {asked, events(role), "", []string{"broken_truncated 164"}},
		"empty":            {asked, events(role, stop, done), "", []string{"broken_empty choices[0].delta.content"}},
		"[DONE] too early": {asked, events(role, hi, done), "", []string{"broken_truncated choices[0].finish_reason"}},
		"long preamble":    {asked, strings.Repeat(": waiting\n\n", 200) + events(hi, stop, done), "", []string{"broken_too_large preamble > 1000"}},
		"a long event":     {asked, events(role, `{"x":"`+strings.Repeat("x", 5000)+`"}`, stop, done), "", []string{"broken_too_large event > 2000", "broken_empty choices[0].delta.content"}},
		"no [DONE]":        {asked, events(role, hi, stop), events(role, hi, stop, done), nil},
		"tokens": {`{"model":"m","logprobs":true}`, events(role, lp("a", "NaN"), lp("b", "NaN"), lp("c", "-3"), stop, done), "",
			[]string{"nonfinite choices[0].logprobs.content[0].logprob NaN", "confidence_sentinel choices[0].logprobs.content[0].logprob NaN"}},
		"unlikely": {`{"model":"m","logprobs":true}`, events(role, lp("a", "-3"), lp("b", "-4"), stop, done), "",
			[]string{"confidence_low choices[0].logprobs 0.049787068367863944 < 0.1"}},
		"refusal": {asked, events(role, with(`"delta":{"refusal":"No"}`), with(`"delta":{"refusal":"."},"finish_reason":"stop"`), done), "", []string{"chat_refusal choices[0].delta.refusal"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := compiled(t, chatPolicy(policy.Observe))
			if c.pass == "" {
				c.pass = c.body
			}
			for _, cuts := range someCuts {
				got := play(t, d.Stream(chatExchange(chatPath, c.request)), c.body, cuts)
				if got.said != "clean" || got.pass != c.pass || !got.finished || !slices.Equal(got.observed, c.want) {
					t.Fatalf("cuts %v\n%s, finished %v\nobserved %q\nwant     %q\npassed %q\nwant   %q", cuts, got.said, got.finished, got.observed, c.want, got.pass, c.pass)
				}
			}
		})
	}
}

// A policy may let pass what is over the limit: the rest is judged as far as it
// can be.
func TestStreamOverPass(t *testing.T) {
	p := chatPolicy(policy.Enforce)
	p.Limits.ResponseOver = policy.OverPass
	body := events(role, with(`"delta":{"content":"`+strings.Repeat("x", 5000)+`"},"finish_reason":"stop"`), done)
	for _, cuts := range someCuts {
		got := play(t, compiled(t, p).Stream(chatExchange(chatPath, asked)), body, cuts)
		if got.said != "clean" || got.pass != body || !slices.Equal(got.observed, []string{"broken_too_large event > 2000"}) {
			t.Fatalf("%s %q, %d bytes of %d", got.said, got.observed, len(got.pass), len(body))
		}
	}
}

// A fallback's stream is judged under its own name, and what makes it unusable
// is enforced whatever the mode for the primary.
func TestFallbackStream(t *testing.T) {
	p := chatPolicy(policy.Observe)
	p.Detect.Contract.Mode = policy.Enforce
	d := compiled(t, p)
	small := strings.ReplaceAll(events(role, hi, stop, done), `"m"`, `"small"`)
	for body, want := range map[string]string{
		small:                               "clean",
		events(role, hi, stop, done):        "contract_model_name m",
		events(`{"error":{"message":"x"}}`): "broken_error_object error",
		events("oops"):                      "broken_syntax 0 of event 1",
		small[:len(small)/2]:                "broken_truncated " + fmt.Sprint(len(small)/2),
		"":                                  "broken_empty body",
	} {
		got := play(t, d.FallbackStream(chatExchange(chatPath, asked), p.Ladder[0].Fallback), body, nil)
		if got.said != want {
			t.Errorf("%q\ngot  %s\nwant %s", body, got.said, want)
		}
	}
}

// An error may be a dependency's.
func TestStreamDependency(t *testing.T) {
	p := chatPolicy(policy.Enforce)
	p.Detect.Dependencies = []policy.Dependency{{Name: "features", Program: policy.Program(`["contains",[".",[".",["response"],"error"],"code"],"FEATURES"]`)}}
	d := compiled(t, p)
	got := play(t, d.Stream(chatExchange(chatPath, asked)), events(role, `{"error":{"code":"FEATURES"}}`), nil)
	if got.said != "dependency features" {
		t.Fatal(got.said)
	}
}

// What is kept of the exchange is a copy.
func TestStreamKeepsNothingOfTheExchange(t *testing.T) {
	d := compiled(t, chatPolicy(policy.Enforce))
	request := []byte(`{"model":"mine","stream":true,"response_format":{"type":"json_object"}}`)
	x := chatExchange(chatPath, string(request))
	x.RequestBody = request
	s := d.Stream(x)
	x.Reset()
	for i := range request {
		request[i] = '#'
	}
	body := strings.ReplaceAll(events(role, with(`"delta":{"content":"{}"}`), stop, done), `"m"`, `"mine"`)
	if got := play(t, s, body, nil); got.said != "clean" {
		t.Fatal(got.said)
	}
}

// Steps after the end say the same again.
func TestStreamStaysOver(t *testing.T) {
	d := compiled(t, chatPolicy(policy.Enforce))
	s := d.Stream(chatExchange(chatPath, asked))
	s.Feed([]byte(events(role, hi, "oops", hi)))
	for _, step := range []Step{s.Feed([]byte(events(hi, stop, done))), s.End()} {
		if len(step.Pass) > 0 || step.Verdict.Failed.Code != verdict.BrokenSyntax || step.Finished || !step.Content {
			t.Fatalf("%+v", step)
		}
	}
	s = d.Stream(chatExchange(chatPath, asked))
	s.Feed([]byte(events(role, hi, stop, done)))
	for _, step := range []Step{s.Feed([]byte(events("oops"))), s.End()} {
		if len(step.Pass) > 0 || !step.Verdict.Clean() || !step.Finished {
			t.Fatalf("%+v", step)
		}
	}
}
