package detect

import (
	"reflect"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/policy"
)

// FuzzStream: however a body is cut, the same of it passes and the same is said
// of it; what passes is its beginning, but for the [DONE] that it lacks.
// Where which has the bit 32, the bytes of the body stand for whole fragments,
// so that streams that get far are met as well.
func FuzzStream(f *testing.F) {
	enforced, observed := compiled(f, chatPolicy(policy.Enforce)), compiled(f, chatPolicy(policy.Observe))
	requests := []string{"", asked, `{"model":"m","n":2,"stream_options":{"include_usage":true}}`, `{"model":"m","logprobs":true,"response_format":{"type":"json_object"}}`}
	for i, body := range []string{
		events(role, hi, stop, used, done),
		strings.ReplaceAll(events(role, hi, stop), "\n", "\r\n"),
		": OPENROUTER PROCESSING\r\r" + events(lp("{}", "-0.1", "NaN"), stop),
		events(role, lp("é", "-0.1"), `{"error":{}}`, `{"error":{"code":1}}`, strings.Repeat("x", 1200), done),
		events(with(`"text":"a","logprobs":{"token_logprobs":[null,-100]}`), with(`"text":"","finish_reason":"stop"`)) + "data: [DONE]",
	} {
		f.Add([]byte(body), []byte{7, 0, 120}, uint8(i))
	}
	for i, body := range [][]byte{{0, 1, 2, 3, 4}, {0, 1, 5, 6, 2, 4}, {7, 8, 9, 1, 10}, {0, 11, 12, 2, 4}, {13, 14, 15, 16, 17, 18}, {0, 19, 20, 21, 22, 23, 24, 2, 4}} {
		f.Add(body, []byte{30, 1}, uint8(32|i))
	}
	f.Fuzz(func(t *testing.T, body, cuts []byte, which uint8) {
		if which&32 != 0 {
			body = assemble(body)
		}
		path := chatPath
		if which&8 != 0 {
			path = legacyPath
		}
		d := enforced
		if which&16 != 0 {
			d = observed
		}
		request := requests[which&3]
		whole := play(t, d.Stream(chatExchange(path, request)), string(body), nil)
		got := play(t, d.Stream(chatExchange(path, request)), string(body), cuts)
		if !reflect.DeepEqual(got, whole) {
			t.Fatalf("cuts %v\ngot  %+v\nwant %+v", cuts, got, whole)
		}
		given := strings.TrimSuffix(strings.TrimSuffix(got.pass, chat.Done), "\n\n")
		if !strings.HasPrefix(string(body), given) {
			t.Fatalf("%q is not of %q", got.pass, body)
		}
		if d == observed && got.said != "clean" {
			t.Fatal(got.said)
		}
	})
}

// assemble puts a stream together of the fragments that bytes name.
func assemble(names []byte) []byte {
	fragments := []string{
		events(role), events(hi), events(stop), events(used), events(done),
		events(strings.ReplaceAll(hi, `"index":0`, `"index":1`)), events(strings.ReplaceAll(stop, `"index":0`, `"index":1`)),
		": comment\n\n", "\r\n\r\n", "\r", "data: ", "data: [DONE]", events(lp("{}", "-0.1")), events(lp("a", "-0.1", "null")),
		events(with(`"delta":{"refusal":"No"}`)), events(with(`"delta":{"tool_calls":[{"index":0}]},"finish_reason":"tool_calls"`)),
		events(with(`"text":"a"`)), events(with(`"text":"","finish_reason":"stop"`)), events(`{"error":{"code":1}}`), "event: error\n",
		events(strings.Replace(hi, "c-1", "c-2", 1)), events(with(`"delta":{"content":"` + strings.Repeat("x", 900) + `"}`)), "stray\n\n",
		events(with(`"delta":{},"finish_reason":"content_filter"`)), events(with(`"delta":{"content":"NaN"},"x":-Infinity`)), "\n", "data: {\n",
	}
	var body []byte
	for _, name := range names {
		body = append(body, fragments[int(name)%len(fragments)]...)
	}
	return body
}
