package conformance

import (
	"bytes"
	"net/http"
	"strings"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

var exchanges = []feature{
	{name: "answers carry source, version and reason", route: "tags", policy: spec{}, run: func(c *check) {
		if a := c.want(question{}, "primary", ""); a.Header.Get("X-Safestate-Version") != "v1" {
			c.Errorf("want the version v1; got %s", say(a))
		}
		a := c.want(question{fault: fm.C01NaNBare}, "safe_default", "nonfinite")
		if a.Header.Get("Cache-Control") != "no-store" {
			c.Errorf("cache-control is %q", a.Header.Get("Cache-Control"))
		}
	}},
	{name: "callers' own x-safestate headers are dropped", route: "headers", policy: spec{}, run: func(c *check) {
		a := c.ask(question{header: map[string]string{"X-Safestate-Answer": "1", "X-Safestate-Digest": "0", "X-Safestate-Source": "x", "X-Envoy-Upstream-Rq-Timeout-Ms": "1"}})
		c.is(a, http.StatusOK, "primary", "")
	}},
	{name: "metrics by route and source", route: "metrics", policy: spec{}, run: func(c *check) {
		c.want(question{fault: fm.C01NaNBare}, "safe_default", "nonfinite")
		want := `safestate_prediction_served_total{model="",model_version="",route="` + c.p.namespace + `/metrics/rule-0",source="safe_default"}`
		dataplane.Eventually(c, patience, want, func() bool { return strings.Contains(dataplane.Get("http://"+c.p.safestate.http+"/metrics"), want) })
	}},
	{name: "calls that ask for no prediction are not touched", route: "metadata", policy: spec{}, run: func(c *check) {
		a := c.ask(question{method: http.MethodGet, path: "/v2/models/score"})
		if a.Status != http.StatusOK || a.Source() != "" || !strings.Contains(string(a.Body), "samplemodel") {
			c.Errorf("want the model's own; got %s", say(a))
		}
	}},
	{
		name: "a named rule of a route at a gateway and for a Service", route: "both",
		parents: `[{name: public, namespace: gateway}, {group: "", kind: Service, name: both}]`,
		rules:   "  - name: shared\n    backendRefs: [{name: score-v1, port: SERVICE_PORT}]\n", policy: spec{}, run: finds(fm.C01NaNBare, "nonfinite"),
	},
	{
		name: "three rules, three policies, named and unnamed", route: "three", rules: `
  - name: first
    matches: [{path: {type: PathPrefix, value: /v2}, headers: [{name: x-rule, value: first}]}]
    backendRefs: [{name: score-v1, port: SERVICE_PORT}]
  - matches: [{path: {type: PathPrefix, value: /v2}, headers: [{name: x-rule, value: second}]}]
    backendRefs: [{name: score-v1, port: SERVICE_PORT}]
  - name: third
    matches: [{path: {type: PathPrefix, value: /}}, {path: {type: PathPrefix, value: /v2}}]
    backendRefs: [{name: score-v1, port: SERVICE_PORT}]
`,
		extra: saying("0.1").text("three-first", "three", "first") + saying("0.2").text("three-second", "three", "rule-1") +
			saying("0.3").text("three-third", "three", "third"),
		asks: []question{byRule("first"), byRule("second"), byRule("other")},
		run: func(c *check) {
			for rule, score := range map[string]string{"first": "0.1", "second": "0.2", "other": "0.3"} {
				q := byRule(rule)
				q.fault = fm.C01NaNBare
				c.eventually("the rule "+rule+" has its own policy", func() (bool, dataplane.Answer) {
					a := c.ask(q)
					return a.Source() == "safe_default" && string(a.Body) == tensor(score), a
				})
			}
		},
	},
}

func byRule(name string) question { return question{header: map[string]string{"X-Rule": name}} }

var protocols = []feature{
	{name: "OpenInferenceV1", route: "one", model: "one", policy: spec{"ladder": rows}, run: finds(fm.C01NaNBare, "nonfinite")},
	{name: "OpenInferenceV2", route: "two", policy: spec{}, run: finds(fm.C02NaNNull, "nonfinite")},
	{name: "OpenInferenceV2, binary tensors", route: "two-binary", policy: spec{}, run: func(c *check) {
		c.want(question{protocol: fm.V2B, fault: fm.C04NaNBitsFP32}, "safe_default", "nonfinite")
		c.want(question{protocol: fm.V2B}, "primary", "")
	}},
	{name: "TensorFlowServing", route: "tf", model: "tf", policy: spec{"ladder": rows}, run: finds(fm.C01NaNBare, "nonfinite")},
	{name: "MLflow", route: "ml", model: "ml", policy: spec{"ladder": rows}, run: finds(fm.C01NaNBare, "nonfinite")},
	{name: "JSON", route: "json", model: "json", policy: spec{"detect": "{nonFinite: {paths: [response.score]}}", "ladder": `[{safeDefault: {body: '{"score": 0.5}'}}]`}, run: finds(fm.C01NaNBare, "nonfinite")},
	{name: "OpenAI: JSON", route: "chat", model: "chat", policy: spec{"ladder": completion}, run: func(c *check) {
		a := c.want(question{fault: fm.S04UnavailableForEver}, "safe_default", "broken_status")
		if !strings.Contains(string(a.Body), "Not now.") {
			c.Errorf("want the default; got %s", say(a))
		}
		c.want(question{fault: fm.C12EmptyContent}, "safe_default", "")
		c.want(question{}, "primary", "")
	}},
	{name: "OpenAI: a stream that fails before its first content", route: "stream", model: "chat", policy: spec{"ladder": completion}, run: func(c *check) {
		a := c.want(question{protocol: fm.SSE, fault: fm.S04UnavailableForEver}, "safe_default", "broken_status")
		if !strings.HasPrefix(a.Header.Get("Content-Type"), "text/event-stream") || !bytes.Contains(a.Body, []byte("Not now.")) || !bytes.Contains(a.Body, []byte("[DONE]")) {
			c.Errorf("want the default as a stream; got %s", say(a))
		}
		if a := c.want(question{protocol: fm.SSE}, "primary", ""); !bytes.Contains(a.Body, []byte("[DONE]")) {
			c.Errorf("want a whole stream; got %s", say(a))
		}
	}},
	{name: "OpenAI: a stream that fails in the middle", route: "stream-later", model: "chat", policy: spec{"ladder": completion}, run: func(c *check) {
		a := c.want(question{protocol: fm.SSE, fault: fm.S10NotJSON, at: 20}, "primary", "")
		if !bytes.Contains(a.Body, []byte(`"code":"safestate_`)) || bytes.Contains(a.Body, []byte("[DONE]")) {
			c.Errorf("want an error event at its end; got %s", say(a))
		}
	}},
}

var chats = []feature{
	{name: "OpenAI: a refusal", route: "chat-refusal", model: "chat", policy: spec{"ladder": completion, "detect": "{chat: {refusal: {}}}"}, run: func(c *check) {
		c.want(question{fault: fm.C19Refusal}, "safe_default", "chat_refusal")
		c.want(question{}, "primary", "")
	}},
	{name: "OpenAI: a stream without a first token", route: "stream-first", model: "chat", policy: spec{"ladder": completion, "stream": "{firstToken: 300ms}"}, run: func(c *check) {
		c.want(question{protocol: fm.SSE, fault: fm.S07FirstTokenLate}, "safe_default", "late")
	}},
	{name: "OpenAI: a stream that stalls", route: "stream-stalls", model: "chat", policy: spec{"ladder": completion, "stream": "{betweenTokens: 300ms}"}, run: func(c *check) {
		a := c.want(question{protocol: fm.SSE, fault: fm.S09StreamStalls, at: 20}, "primary", "")
		if !bytes.Contains(a.Body, []byte(`"code":"safestate_stream_stalled"`)) {
			c.Errorf("want an error event at its end; got %s", say(a))
		}
	}},
}

const (
	rows       = `[{safeDefault: {body: '{"predictions": [{"score": 0.5}]}'}}]`
	completion = `[{safeDefault: {body: '{"id": "x", "object": "chat.completion", "created": 1, "model": "chat", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Not now."}, "finish_reason": "stop"}]}'}}]`
)
