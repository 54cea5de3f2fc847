package chat

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/safestate/safestate/internal/scan"
)

const wholeChat = `{ "id":"chatcmpl-1","object":"chat.completion","created":17,"model":"m","system_fingerprint":"fp",
 "choices":[{"index":0,"message":{"role":"assistant","content":"a\u00e9\"\n"},"finish_reason":"length","logprobs":{ "content":[ {"token":"a","logprob":-0.5} ] }}],
 "usage":{ "prompt_tokens":3, "completion_tokens":1 } }`

const wholeLegacy = `{"id":"cmpl-1","object":"text_completion","created":17,"model":"m","choices":[{"index":0,"text":"hi","logprobs":{"token_logprobs":[-1]},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}`

// events splits a stream that has been written by Reshape, strictly.
func events(t testing.TB, stream string) []string {
	t.Helper()
	var out []string
	for _, event := range strings.SplitAfter(stream, "\n\n") {
		if event == "" {
			continue
		}
		data, begun := strings.CutPrefix(event, "data: ")
		data, ended := strings.CutSuffix(data, "\n\n")
		if !begun || !ended || strings.ContainsAny(data, "\r\n") {
			t.Fatalf("%q is no event of one line", event)
		}
		out = append(out, data)
	}
	return out
}

func TestReshape(t *testing.T) {
	head := `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":17,"model":"m","system_fingerprint":"fp","choices":[`
	lhead := `{"id":"cmpl-1","object":"text_completion","created":17,"model":"m","choices":[`
	bare := `{"id":"safestate","object":"chat.completion.chunk","created":0,"model":"safestate","choices":[`
	for name, c := range map[string]struct {
		body string
		to   Shape
		want []string // events, or the one body
	}{
		"whole as it is": {wholeChat, Shape{}, []string{wholeChat}},
		"stream": {wholeChat, Shape{Stream: true}, []string{
			head + `{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}`,
			head + `{"index":0,"delta":{"content":"a\u00e9\"\n"},"logprobs":{"content":[{"token":"a","logprob":-0.5}]},"finish_reason":null}]}`,
			head + `{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}]}`,
			`[DONE]`}},
		"stream with usage": {wholeChat, Shape{Stream: true, IncludeUsage: true}, []string{
			head + `{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}`,
			head + `{"index":0,"delta":{"content":"a\u00e9\"\n"},"logprobs":{"content":[{"token":"a","logprob":-0.5}]},"finish_reason":null}],"usage":null}`,
			head + `{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}],"usage":null}`,
			head + `],"usage":{"prompt_tokens":3,"completion_tokens":1}}`,
			`[DONE]`}},
		"legacy": {wholeChat, Shape{Legacy: true}, []string{
			`{"id":"chatcmpl-1","object":"text_completion","created":17,"model":"m","system_fingerprint":"fp","choices":[{"index":0,"text":"a\u00e9\"\n","logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}`}},
		"legacy stream": {wholeLegacy, Shape{Legacy: true, Stream: true, IncludeUsage: true}, []string{
			lhead + `{"index":0,"text":"hi","logprobs":{"token_logprobs":[-1]},"finish_reason":null}],"usage":null}`,
			lhead + `{"index":0,"text":"","logprobs":null,"finish_reason":"stop"}],"usage":null}`,
			lhead + `],"usage":{"prompt_tokens":3,"completion_tokens":1}}`,
			`[DONE]`}},
		"legacy to chat": {wholeLegacy, Shape{}, []string{
			`{"id":"cmpl-1","object":"chat.completion","created":17,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}`}},
		"what is lacking": {`{"choices":[{"message":{"content":"a"}},{"message":{"role":"assistant","content":"b"},"index":1,"finish_reason":null}]}`, Shape{}, []string{
			`{"id":"safestate","object":"chat.completion","created":0,"model":"safestate","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"a"}},{"message":{"role":"assistant","content":"b"},"index":1,"finish_reason":null}]}`}},
		"tool call": {`{"choices":[{"message":{"content":null,"tool_calls":[{"id":"c","index":7,"type":"function","function":{"name":"f","arguments":"{\n}"}},{"id":"d"}]}}]}`, Shape{Stream: true}, []string{
			bare + `{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}`,
			bare + `{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"{\n}"}}]},"logprobs":null,"finish_reason":null}]}`,
			bare + `{"index":0,"delta":{"tool_calls":[{"index":1,"id":"d"}]},"logprobs":null,"finish_reason":null}]}`,
			bare + `{"index":0,"delta":{},"logprobs":null,"finish_reason":"tool_calls"}]}`,
			`[DONE]`}},
		"all else, two choices, no usage": {`{"choices":[{"index":1,"message":{"content":"a","reasoning":"r","refusal":"no","audio":{"id": 1}}},{"index":0,"message":{"function_call":{"name":"f"}}}]}`, Shape{Stream: true, IncludeUsage: true}, []string{
			bare + `{"index":1,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}`,
			bare + `{"index":1,"delta":{"reasoning_content":"r"},"logprobs":null,"finish_reason":null}],"usage":null}`,
			bare + `{"index":1,"delta":{"content":"a"},"logprobs":null,"finish_reason":null}],"usage":null}`,
			bare + `{"index":1,"delta":{"refusal":"no"},"logprobs":null,"finish_reason":null}],"usage":null}`,
			bare + `{"index":1,"delta":{"audio":{"id":1}},"logprobs":null,"finish_reason":null}],"usage":null}`,
			bare + `{"index":1,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}`,
			bare + `{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}`,
			bare + `{"index":0,"delta":{"function_call":{"name":"f"}},"logprobs":null,"finish_reason":null}],"usage":null}`,
			bare + `{"index":0,"delta":{},"logprobs":null,"finish_reason":"function_call"}],"usage":null}`,
			bare + `],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}`,
			`[DONE]`}},
		"a refusal in legacy form": {`{"id":"a","created":1,"model":"m","choices":[{"index":0,"message":{"content":null,"refusal":"no"}}]}`, Shape{Legacy: true}, []string{
			`{"id":"a","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":"no","logprobs":null,"finish_reason":"stop"}]}`}},
		"parts in legacy form": {`{"id":"a","created":1,"model":"m","choices":[{"index":0,"message":{"content":[{"text":"x"},{"text":"y"}]}}]}`, Shape{Legacy: true}, []string{
			`{"id":"a","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":"xy","logprobs":null,"finish_reason":"stop"}]}`}},
	} {
		t.Run(name, func(t *testing.T) {
			out, kind, err := Reshape([]byte("before"), []byte(c.body), c.to)
			if err != nil {
				t.Fatal(err)
			}
			text, ok := strings.CutPrefix(string(out), "before")
			if !ok {
				t.Fatal("what stood in dst is gone")
			}
			got, want := []string{text}, TypeJSON
			if c.to.Stream {
				got, want = events(t, text), TypeStream
			}
			if kind != want {
				t.Errorf("content-type %s", kind)
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

func TestReshapeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		to   Shape
	}{
		"no JSON":                    {`x`, Shape{}},
		"no completion":              {`{"fallback":true}`, Shape{Stream: true}},
		"an error":                   {`{"error":{"message":"x"}}`, Shape{Stream: true}},
		"nothing said":               {`{"choices":[{"message":{"content":""}}]}`, Shape{}},
		"a bare token":               {`{"choices":[{"message":{"content":"a"},"logprobs":NaN}]}`, Shape{Stream: true}},
		"a tool call in legacy form": {`{"choices":[{"message":{"content":"a","tool_calls":[{"id":"c"}]}}]}`, Shape{Legacy: true}},
		"reasoning in legacy form":   {`{"choices":[{"message":{"reasoning":"a"}}]}`, Shape{Legacy: true, Stream: true}},
	} {
		out, kind, err := Reshape([]byte("x"), []byte(c.body), c.to)
		var syntax *scan.Error
		if err == nil || out != nil || kind != "" || !errors.Is(err, ErrShape) && !errors.As(err, &syntax) {
			t.Errorf("%s: %q, %q, %v", name, out, kind, err)
		}
	}
}

// A long text comes in pieces that are whole characters and add up.
func TestReshapeLongText(t *testing.T) {
	for _, unit := range []string{"a", "é", `\u00e9`, `\ud83d\ude00`, "😀", `\n`, `\\`, `ab\ud83d\ude00é`} {
		escaped := strings.Repeat(unit, 3*pieceBytes/len(unit))
		var want string
		if err := json.Unmarshal([]byte(`"`+escaped+`"`), &want); err != nil {
			t.Fatal(err)
		}
		for shape, body := range map[Shape]string{
			{Stream: true}:               `{"choices":[{"message":{"content":"` + escaped + `"}}]}`,
			{Stream: true, Legacy: true}: `{"choices":[{"text":"` + escaped + `"}]}`,
		} {
			out, _, err := Reshape(nil, []byte(body), shape)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			pieces := 0
			for _, data := range events(t, string(out)) {
				if data == "[DONE]" {
					continue
				}
				if len(data) > pieceBytes+512 || !utf8.ValidString(data) {
					t.Fatalf("an event of %d bytes", len(data))
				}
				var chunk struct {
					Choices []struct {
						Delta struct{ Content string }
						Text  string
					}
				}
				if err := json.Unmarshal([]byte(data), &chunk); err != nil {
					t.Fatalf("%v in %s", err, data)
				}
				piece := chunk.Choices[0].Delta.Content + chunk.Choices[0].Text
				if strings.ContainsRune(piece, utf8.RuneError) {
					t.Fatalf("half a character of %s", unit)
				}
				if piece != "" {
					pieces++
				}
				got.WriteString(piece)
			}
			if got.String() != want || pieces < 3 {
				t.Fatalf("%s: %d pieces, %d of %d bytes", unit, pieces, got.Len(), len(want))
			}
		}
	}
}
