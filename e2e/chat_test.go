package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// Times of the policies of chat. A stream of the model's takes 60 tokens of 2
// ms, its usual pace, which none of them bounds.
const (
	usualPace        = 2 * time.Millisecond
	chatDeadline     = time.Second
	firstToken       = 600 * time.Millisecond
	betweenTokens    = 400 * time.Millisecond
	fallbackDeadline = 300 * time.Millisecond
)

const chatDefault = `{"id": "safe-default", "object": "chat.completion", "created": 0, "model": "safe-default", "choices": [{"index": 0, ` +
	`"message": {"role": "assistant", "content": "` + defaultText + `"}, "finish_reason": "stop"}], ` +
	`"usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}`

const defaultText = "Please try again in a few minutes."

// chatGroups are what groups are to tensors: sets of detectors that leave a
// reason one cause.
var chatGroups = []struct{ name, detect, breaker string }{
	{name: "main", detect: "    broken: {statuses: [429]}\n    late: {}\n    nonFinite: {}"},
	{name: "breaker", detect: "    broken: {}", breaker: "{failures: 3, recovery: 1s, halfOpenRequests: 1, ramp: 1ms}"},
	{name: "mean", detect: "    nonFinite: {mode: Disabled}\n    confidence: {value: logprobs, aggregate: Mean, min: 0.5}"},
	{name: "min", detect: "    nonFinite: {mode: Disabled}\n    confidence: {value: logprobs, aggregate: Min, min: 0.01}"},
	{name: "chat", detect: "    chat: {refusal: {}, contentFilter: {}, format: {}}"},
	{name: "contract", detect: "    contract: {modelName: true}"},
}

// chatPlane is a data plane with a route of every group to every lane's model,
// all with the same fallback and a policy's host; empty: the processor.
func chatPlane(t *testing.T, host string, in []*lane) (*dataplane.Plane, *fm.Server) {
	t.Helper()
	fallback, err := fm.Start(fm.Options{Version: "small"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fallback.Close)
	dir := t.TempDir()
	for _, l := range in {
		for _, g := range chatGroups {
			route := chatRoute(l, g.name)
			text := fill(t, "chat-route.yaml.tmpl", map[string]any{
				"Host": host, "Route": route, "PrimaryPort": l.model.Port(), "FallbackPort": fallback.Port(),
				"Deadline": chatDeadline, "FirstToken": firstToken, "BetweenTokens": betweenTokens, "FallbackDeadline": fallbackDeadline,
				"Detect": g.detect, "Default": chatDefault, "Breaker": orElse(g.breaker, patient),
			})
			if err := os.WriteFile(filepath.Join(dir, route+".yaml"), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	var module []string
	if host != "" {
		module = []string{"--wasm-module", dataplane.Module(t)}
	}
	return dataplane.Start(t, dataplane.Options{Config: dir, Serve: module, Render: module}), fallback
}

// chatRoute is the name of a route, and of the model that it leads to.
func chatRoute(l *lane, group string) string { return "chat-" + group + "-" + l.name }

// chatCall is one request for a completion.
type chatCall struct {
	route    string
	stream   bool
	legacy   bool
	usage    bool // of a stream
	logprobs bool
	n        int
	format   any  // response_format
	prefill  bool // the last message is the assistant's own
	ask      string
}

// arguments are the request's members, the stream flag left out.
func (q chatCall) arguments() map[string]any {
	said := orElse(q.ask, fmt.Sprint("hi ", serial.Add(1)))
	out := map[string]any{"model": q.route}
	switch {
	case q.legacy:
		out["prompt"] = said
	case q.prefill:
		out["messages"] = []any{map[string]any{"role": "user", "content": said}, map[string]any{"role": "assistant", "content": "Well,"}}
	default:
		out["messages"] = []any{map[string]any{"role": "user", "content": said}}
	}
	if q.n > 1 {
		out["n"] = q.n
	}
	if q.logprobs {
		out["logprobs"] = true
		if q.legacy {
			out["logprobs"] = 1
		}
	}
	if q.format != nil {
		out["response_format"] = q.format
	}
	if q.stream && q.usage {
		out["stream_options"] = map[string]any{"include_usage": true}
	}
	return out
}

// request is the call as bytes.
func (q chatCall) request(t *testing.T) dataplane.Request {
	t.Helper()
	args := q.arguments()
	if q.stream {
		args["stream"] = true
	}
	body, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	path := fm.OA.Path(q.route)
	if q.legacy {
		path = strings.Replace(path, "/chat/completions", "/completions", 1)
	}
	return dataplane.Request{Path: path, Body: body}
}

// words are the first n tokens of what a model says: letter w is the primary,
// s the fallback.
func words(letter string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " %s%d", letter, i)
	}
	return strings.TrimPrefix(b.String(), " ")
}
