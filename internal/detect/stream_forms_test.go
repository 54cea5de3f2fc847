package detect

import (
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/policy"
)

// What servers really send, under a policy that enforces everything. All of it
// passes as it came, however it is cut.
func TestStreamForms(t *testing.T) {
	withUsage := `{"model":"m","stream":true,"stream_options":{"include_usage":true}}`
	for name, c := range map[string]struct {
		request string
		body    string
		usage   string
		content string // the first event that has content
	}{
		"OpenAI": {withUsage, events(
			`{"id":"chatcmpl-9","object":"chat.completion.chunk","created":1718345013,"model":"m-2024-08-06","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"x"}`,
			`{"id":"chatcmpl-9","object":"chat.completion.chunk","created":1718345013,"model":"m-2024-08-06","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":"Hé\u00e9llo"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"xyz"}`,
			`{"id":"chatcmpl-9","object":"chat.completion.chunk","created":1718345013,"model":"m-2024-08-06","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null,"obfuscation":""}`,
			`{"id":"chatcmpl-9","object":"chat.completion.chunk","created":1718345013,"model":"m-2024-08-06","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}},"obfuscation":"x"}`,
			"[DONE]"), "19 10", "llo"},
		"OpenAI, logprobs": {`{"model":"m","stream":true,"logprobs":true,"top_logprobs":1}`, events(
			`{"id":"chatcmpl-9","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":{"content":[],"refusal":null},"finish_reason":null}]}`,
			`{"id":"chatcmpl-9","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"logprobs":{"content":[{"token":"Hi","logprob":-0.31725305,"bytes":[72,105],"top_logprobs":[{"token":"Hi","logprob":-0.31725305,"bytes":[72,105]},{"token":"\u0120","logprob":-9999.0,"bytes":null}]}],"refusal":null},"finish_reason":null}]}`,
			`{"id":"chatcmpl-9","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}`,
			"[DONE]"), "", "Hi"},
		"Azure": {asked, events(
			`{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]}`,
			`{"choices":[{"content_filter_results":{},"delta":{"content":"","refusal":null,"role":"assistant"},"finish_reason":null,"index":0,"logprobs":null}],"created":1724174374,"id":"chatcmpl-a","model":"m-2024-05-13","object":"chat.completion.chunk","system_fingerprint":"fp_abc"}`,
			`{"choices":[{"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}},"delta":{"content":"Hi"},"finish_reason":null,"index":0,"logprobs":null}],"created":1724174374,"id":"chatcmpl-a","model":"m-2024-05-13","object":"chat.completion.chunk","system_fingerprint":"fp_abc"}`,
			`{"id":"","object":"","created":0,"model":"","choices":[{"index":0,"finish_reason":null,"content_filter_results":{},"content_filter_offsets":{"check_offset":44,"start_offset":44,"end_offset":198}}]}`,
			`{"choices":[{"content_filter_results":{},"delta":{},"finish_reason":"stop","index":0,"logprobs":null}],"created":1724174374,"id":"chatcmpl-a","model":"m-2024-05-13","object":"chat.completion.chunk","system_fingerprint":"fp_abc"}`,
			"[DONE]"), "", `"Hi"`},
		"vLLM, usage in every chunk": {withUsage, events(
			`{"id":"chatcmpl-v","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":9,"total_tokens":9,"completion_tokens":0}}`,
			`{"id":"chatcmpl-v","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":9,"total_tokens":10,"completion_tokens":1}}`,
			`{"id":"chatcmpl-v","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"stop","stop_reason":null}],"usage":{"prompt_tokens":9,"total_tokens":11,"completion_tokens":2}}`,
			`{"id":"chatcmpl-v","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":9,"total_tokens":11,"completion_tokens":2}}`,
			"[DONE]"), "9 2", "Hi"},
		"vLLM, reasoning": {asked, events(
			`{"id":"chatcmpl-v","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant"},"logprobs":null,"finish_reason":null}],"usage":null}`,
			`{"id":"chatcmpl-v","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"reasoning_content":"Hm"},"logprobs":null,"finish_reason":null}]}`,
			`{"id":"chatcmpl-v","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"logprobs":null,"finish_reason":"length","stop_reason":null}]}`,
			"[DONE]"), "", "Hm"},
		"llama.cpp": {asked, events(
			`{"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"created":1738236,"id":"chatcmpl-l","model":"m","system_fingerprint":"b4589-eb7cf15a","object":"chat.completion.chunk"}`,
			`{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"Hi"}}],"created":1738236,"id":"chatcmpl-l","model":"m","system_fingerprint":"b4589-eb7cf15a","object":"chat.completion.chunk"}`,
			`{"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"created":1738236,"id":"chatcmpl-l","model":"m","system_fingerprint":"b4589-eb7cf15a","object":"chat.completion.chunk","usage":{"completion_tokens":2,"prompt_tokens":33,"total_tokens":35},"timings":{"prompt_n":33,"prompt_ms":64.93,"predicted_per_second":31.5}}`,
			"[DONE]"), "33 2", "Hi"},
		"Ollama": {withUsage, events(
			`{"id":"chatcmpl-461","object":"chat.completion.chunk","created":1716,"model":"m","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":null}]}`,
			`{"id":"chatcmpl-461","object":"chat.completion.chunk","created":1716,"model":"m","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop"}]}`,
			`{"id":"chatcmpl-461","object":"chat.completion.chunk","created":1716,"model":"m","system_fingerprint":"fp_ollama","choices":[],"usage":{"prompt_tokens":26,"completion_tokens":4,"total_tokens":30}}`,
			"[DONE]"), "26 4", "Hi"},
		"SGLang": {asked, events(
			`{"id":"5a1b","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning_content":null,"tool_calls":null},"logprobs":null,"finish_reason":null,"matched_stop":null}],"usage":null}`,
			`{"id":"5a1b","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":null,"content":"Hi","reasoning_content":null,"tool_calls":null},"logprobs":null,"finish_reason":null,"matched_stop":null}],"usage":null}`,
			`{"id":"5a1b","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":null,"content":null,"reasoning_content":null,"tool_calls":null},"logprobs":null,"finish_reason":"stop","matched_stop":151645}],"usage":null}`,
			"[DONE]"), "", "Hi"},
		"OpenRouter": {asked, ": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n" + events(
			`{"id":"gen-1","provider":"Azure","model":"m","object":"chat.completion.chunk","created":1,"choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":null,"native_finish_reason":null,"logprobs":null}]}`) +
			": OPENROUTER PROCESSING\n\n" + events(
			`{"id":"gen-1","provider":"Azure","model":"m","object":"chat.completion.chunk","created":1,"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop","native_finish_reason":"stop","logprobs":null}]}`,
			`{"id":"gen-1","provider":"Azure","model":"m","object":"chat.completion.chunk","created":1,"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null,"native_finish_reason":null,"logprobs":null}],"usage":{"prompt_tokens":18,"completion_tokens":1,"total_tokens":19,"cost":0.0003}}`,
			"[DONE]"), "18 1", "Hi"},
		"tool calls of two": {asked, events(
			`{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":null},"finish_reason":null}]}`,
			`{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"get","arguments":""}}]},"finish_reason":null}]}`,
			`{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":1}"}},{"index":1,"id":"call_2","function":{"name":"get","arguments":"{}"}}]},"finish_reason":null}]}`,
			`{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`,
			"[DONE]"), "", "call_1"},
	} {
		t.Run(name, func(t *testing.T) {
			d := compiled(t, chatPolicy(policy.Enforce))
			for _, body := range []string{
				c.body, strings.ReplaceAll(c.body, "\n", "\r\n"), strings.ReplaceAll(c.body, "\n", "\r"), strings.ReplaceAll(c.body, "data: ", "data:"), "\ufeff" + c.body,
			} {
				for _, cuts := range someCuts {
					got := play(t, d.Stream(chatExchange(chatPath, c.request)), body, cuts)
					if got.said != "clean" || got.pass != body || !got.finished || !got.complete || got.usage != c.usage || got.observed != nil {
						t.Fatalf("cuts %v: %s, finished %v, complete %v, usage %q\npassed %q\nof     %q", cuts, got.said, got.finished, got.complete, got.usage, got.pass, body)
					}
				}
			}
			holdsUntil(t, d.Stream(chatExchange(chatPath, c.request)), c.body, c.content)
		})
	}
}

// holdsUntil feeds events one by one, and looks for the first that passes.
func holdsUntil(t *testing.T, s *Stream, body, content string) {
	t.Helper()
	given := ""
	for _, event := range strings.SplitAfter(body, "\n\n") {
		given += event
		step := s.Feed([]byte(event))
		if !step.Content {
			continue
		}
		if string(step.Pass) != given || !strings.Contains(event, content) {
			t.Errorf("with %q passed %q", event, step.Pass)
		}
		return
	}
	t.Error("no content")
}

// Complete says when only [DONE] is missing, which some servers never send.
func TestStreamComplete(t *testing.T) {
	for name, c := range map[string]struct {
		request string
		body    string
		want    []bool // after each event
	}{
		"plain":            {asked, events(role, hi, stop, done), []bool{false, false, true, true}},
		"usage asked for":  {`{"model":"m","stream_options":{"include_usage":true}}`, events(role, hi, stop, used, done), []bool{false, false, false, true, true}},
		"usage that never": {`{"model":"m","stream_options":{"include_usage":true}}`, events(role, hi, stop, done), []bool{false, false, false, true}},
		"two choices":      {`{"model":"m","n":2}`, events(role, hi, stop) + strings.ReplaceAll(events(hi, stop), `"index":0`, `"index":1`), []bool{false, false, false, false, true}},
		"request unseen":   {"", events(role, hi, stop, used, done), []bool{false, false, false, false, true}},
	} {
		t.Run(name, func(t *testing.T) {
			s := compiled(t, chatPolicy(policy.Enforce)).Stream(chatExchange(chatPath, c.request))
			for i, event := range strings.SplitAfter(strings.TrimSuffix(c.body, "\n\n"), "\n\n") {
				s.Feed([]byte(strings.TrimSuffix(event, "\n\n") + "\n\n"))
				if s.Complete() != c.want[i] {
					t.Fatalf("after %d events: %v", i+1, s.Complete())
				}
			}
			if step := s.End(); !step.Finished || !strings.HasSuffix(c.body+string(step.Pass), chat.Done) {
				t.Fatalf("%+v", step)
			}
		})
	}
}
