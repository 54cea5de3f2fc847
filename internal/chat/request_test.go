package chat

import (
	"testing"

	"github.com/safestate/safestate/internal/scan"
)

func parsed(t testing.TB, text string) scan.Node {
	t.Helper()
	var d scan.Document
	if err := d.Parse([]byte(text), scan.Limits{}); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return d.Root()
}

func TestPaths(t *testing.T) {
	for path, want := range map[string]struct{ inference, legacy bool }{
		"/v1/chat/completions": {true, false},
		"/openai/deployments/x/chat/completions?api-version=2024-10-21": {true, false},
		"/v1/chat/completions/":                    {true, false},
		"/v1/completions":                          {true, true},
		"/v1/completions//#x":                      {true, true},
		"/v1/completions?next=/chat/completions":   {true, true},
		"/v1/embeddings":                           {false, false},
		"/v1/models":                               {false, false},
		"/v1/chat/completions/chatcmpl-1/messages": {false, false},
		"/mycompletions":                           {false, false},
		"":                                         {false, false},
	} {
		if Inference(path) != want.inference || Legacy(path) != want.legacy {
			t.Errorf("%s: inference %v, legacy %v", path, Inference(path), Legacy(path))
		}
	}
}

func TestReadRequest(t *testing.T) {
	const chat, legacy = "/v1/chat/completions", "/v1/completions"
	for name, c := range map[string]struct {
		path, body string
		want       Request
	}{
		"plain":                 {chat, `{"model":"a","messages":[]}`, Request{Known: true, N: 1}},
		"stream":                {chat, `{"stream":true}`, Request{Known: true, Stream: true, N: 1}},
		"stream, loosely":       {chat, `{"stream":"True"}`, Request{Known: true, Stream: true, N: 1}},
		"stream, as a number":   {chat, `{"stream":1}`, Request{Known: true, Stream: true, N: 1}},
		"no stream":             {chat, `{"stream":"no"}`, Request{Known: true, N: 1}},
		"stream null":           {chat, `{"stream":null}`, Request{Known: true, N: 1}},
		"the last one counts":   {chat, `{"stream":true,"stream":false}`, Request{Known: true, N: 1}},
		"usage":                 {chat, `{"stream":true,"stream_options":{"include_usage":true}}`, Request{Known: true, Stream: true, IncludeUsage: true, N: 1}},
		"logprobs":              {chat, `{"logprobs":true}`, Request{Known: true, Logprobs: true, N: 1}},
		"no logprobs":           {chat, `{"logprobs":false,"n":3}`, Request{Known: true, N: 3}},
		"chat logprobs 0":       {chat, `{"logprobs":0}`, Request{Known: true, N: 1}},
		"legacy logprobs 0":     {legacy, `{"logprobs":0,"echo":true}`, Request{Known: true, Logprobs: true, Legacy: true, Echo: true, N: 1}},
		"legacy logprobs null":  {legacy, `{"logprobs":null}`, Request{Known: true, Legacy: true, N: 1}},
		"prompts":               {legacy, `{"prompt":["a","b"],"n":3}`, Request{Known: true, Legacy: true, N: 6}},
		"prompts of tokens":     {legacy, `{"prompt":[[1,2],[3]]}`, Request{Known: true, Legacy: true, N: 2}},
		"one prompt of tokens":  {legacy, `{"prompt":[1,2,3]}`, Request{Known: true, Legacy: true, N: 1}},
		"no prompts":            {legacy, `{"prompt":[]}`, Request{Known: true, Legacy: true, N: 1}},
		"prompts mean no chat":  {chat, `{"prompt":["a","b"]}`, Request{Known: true, N: 1}},
		"n is no count":         {chat, `{"n":"two"}`, Request{Known: true, N: 1}},
		"n below 1":             {chat, `{"n":-4}`, Request{Known: true, N: 1}},
		"n beyond all":          {legacy, `{"n":9223372036854775807,"prompt":["a","b"]}`, Request{Known: true, Legacy: true, N: MaxChoices}},
		"no object":             {legacy, `[1]`, Request{Legacy: true, N: 1}},
		"an escaped name":       {chat, `{"\u0073tream":true}`, Request{Known: true, Stream: true, N: 1}},
		"usage without a wish":  {chat, `{"stream":true,"stream_options":null}`, Request{Known: true, Stream: true, N: 1}},
		"a wish without stream": {chat, `{"stream_options":{"include_usage":true}}`, Request{Known: true, IncludeUsage: true, N: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			got := ReadRequest(parsed(t, c.body), c.path)
			got.Model, got.Format = scan.Node{}, scan.Node{}
			if got != c.want {
				t.Fatalf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
	r := ReadRequest(parsed(t, `{"model":"gpt","response_format":{"type":"json_object"},"stream_options":{"include_usage":true}}`), chat)
	if !r.Model.EqualText("gpt") || !Formatted(r.Format) {
		t.Fatal("model or format not read")
	}
	if got := r.Shape(); got != (Shape{}) {
		t.Fatalf("a whole answer has no usage chunk: %+v", got)
	}
	if r := ReadRequest(scan.Node{}, legacy); r.Known || !r.Legacy || r.N != 1 {
		t.Fatalf("a body that was not seen gave %+v", r)
	}
}
