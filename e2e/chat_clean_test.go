package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
)

// Events that are hard to copy, around clean ones: every byte is passed on.
var trickyStreams = map[string]string{
	"lf":          trickyStream("\n"),
	"crlf":        trickyStream("\r\n"),
	"cr":          trickyStream("\r"),
	"byte-order":  "\ufeff" + trickyStream("\n"),
	"no-space":    strings.ReplaceAll(trickyStream("\n"), "data: ", "data:"),
	"empty-lines": strings.ReplaceAll(trickyStream("\n"), "\n\ndata", "\n\n\n\ndata"),
}

// trickyStream is a stream whose lines end by eol.
func trickyStream(eol string) string {
	chunk := func(more, delta, finish string) string {
		return `{"id":"c1","object":"chat.completion.chunk","created":1,"model":"chat",` + more + `"choices":[{"index":0,"delta":` + delta + `,"finish_reason":` + finish + `}]}`
	}
	lines := []string{
		": a comment", "",
		"event: message", "id: 7", "retry: 3000", "data: " + chunk(`"system_fingerprint":null,`, `{"role":"assistant","content":null}`, "null"), "",
		"data: " + chunk(`"x_unknown":{"NaN":"NaN","deep":[[[]]]},`, `{"content":"żółć 模型 🚦 \u0000 \ud83d\udea6 \u2028"}`, "null"), "",
		": keep-alive", "",
		"data: " + chunk("", `{ "content" : "a\/b\\c" }`, "null"), "",
		"data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"chat\",", "data: \"choices\":[{\"index\":0,\"delta\":{\"content\":\"two lines\"},\"finish_reason\":null}]}", "",
		"data: " + chunk(`"usage":null,`, "{}", `"stop"`), "",
		`data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"chat","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"scale":1e308}}`, "",
		"data: [DONE]", "",
	}
	return strings.Join(lines, eol) + eol
}

// TestCleanChatStaysClean compares every clean answer of chat with the one that
// the same request gets from an Envoy without safestate: status, headers in their
// order but for the tags, body. Of a stream the chunks may be cut elsewhere.
func TestCleanChatStaysClean(t *testing.T) {
	s := newChatStand(t)
	plain := dataplane.Plain(t, s.primary.Addr())
	compared := 0
	compare := func(name string, q dataplane.Request, stream, canned bool) {
		compared++
		t.Run(name, func(t *testing.T) {
			if stream {
				sameStream(t, s.plane, plain, q, canned)
			} else {
				same(t, s.plane, plain, q)
			}
		})
	}
	for name, q := range map[string]chatCall{
		"chat": {}, "legacy": {legacy: true}, "choices": {n: 3}, "logprobs": {logprobs: true}, "legacy-logprobs": {legacy: true, logprobs: true, n: 2},
		"schema": {format: answerSchema}, "prefill": {prefill: true}, "long": {ask: strings.Repeat("word ", 44_000)},
	} {
		for _, stream := range []bool{false, true} {
			q.route, q.stream, q.usage = "ladder", stream, stream && len(name)%2 == 0
			compare(fmt.Sprintf("%s/stream-%v", name, stream), q.request(t), stream, false)
		}
	}
	for name, body := range trickyStreams {
		s.primary.Can(http.Header{"Content-Type": {"text/event-stream; charset=utf-8"}, "Cache-Control": {"no-cache"}, "X-Request-Cost": {"0.001"}, "Date": {"Sat, 21 Nov 2026 10:00:00 GMT"}}, []byte(body))
		compare("events/"+name, chatCall{route: "ladder", stream: true}.request(t), true, true)
	}
	for name, member := range trickyMembers {
		if name == "400-digit-integer" || name == "empty-things" {
			continue // no number of a completion is that long; it has an object already
		}
		body := `{"id": "c1", "object": "chat.completion", "created": 1, "model": "chat", ` + member + `, "choices": [{"index": 0, "message": {"role": "assistant", "content": "żółć NaN"}, "finish_reason": "stop"}]}`
		s.primary.Can(http.Header{"Content-Type": {"application/json; charset=utf-8"}, "Etag": {`W/"1"`}, "Set-Cookie": {"a=1", "b=2"}, "Date": {"Sat, 21 Nov 2026 10:00:00 GMT"}}, []byte(body))
		compare("member/"+name, chatCall{route: "ladder"}.request(t), false, true)
	}
	s.primary.Can(nil, nil)
	fmt.Printf("figure clean_chat_answers_compared=%d\n", compared)
}

// sameStream sends one request both ways and compares what came in all chunks
// together. A canned stream promises a length, which is not kept: of a stream
// nobody knows how it ends.
func sameStream(t *testing.T, plane *dataplane.Plane, plain string, q dataplane.Request, canned bool) {
	t.Helper()
	got, want := rawly(t, plane.Traffic, q), rawly(t, plain, q)
	ignored := []string{"x-safestate-", "x-envoy-upstream-service-time:"}
	if canned {
		ignored = append(ignored, "content-length:", "transfer-encoding:")
	} else {
		ignored = append(ignored, "date:")
		want.Body = joined(t, want.Body)
	}
	got.Body = joined(t, got.Body)
	if !slices.ContainsFunc(got.Header, func(l string) bool { return strings.EqualFold(l, "x-safestate-source: primary") }) {
		t.Errorf("not tagged as the model's: %q", got.Header)
	}
	if got.StatusLine != want.StatusLine || !slices.Equal(got.Without(ignored...), want.Without(ignored...)) {
		t.Errorf("with us    %q %q\n without us %q %q", got.StatusLine, got.Without(ignored...), want.StatusLine, want.Without(ignored...))
	}
	if !bytes.Equal(got.Body, want.Body) {
		t.Errorf("the body differs:\n with us    %.900q\n without us %.900q", got.Body, want.Body)
	}
}

// joined takes a chunked body apart, strictly: it has to end by the last chunk.
func joined(t *testing.T, body []byte) []byte {
	t.Helper()
	var out []byte
	for rest := body; ; {
		line, after, found := bytes.Cut(rest, []byte("\r\n"))
		size, err := strconv.ParseInt(string(line), 16, 32)
		if !found || err != nil || len(after) < int(size)+2 {
			t.Fatalf("the body is not whole chunks: %.100q", rest)
		}
		if size == 0 {
			if string(after) != "\r\n" {
				t.Fatalf("behind the last chunk: %q", after)
			}
			return out
		}
		out, rest = append(out, after[:size]...), after[size+2:]
	}
}
