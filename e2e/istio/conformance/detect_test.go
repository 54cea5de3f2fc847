package conformance

import (
	"net/http"
	"strings"

	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// finds is a detector that has a fault answered, for a reason that begins so.
func finds(fault fm.Fault, reason string) func(*check) {
	return func(c *check) {
		c.Helper()
		c.want(question{fault: fault}, "safe_default", reason)
		c.want(question{}, "primary", "")
	}
}

const (
	confidence = "{confidence: {value: 'response.outputs[4].data', aggregate: Min, min: 0.6}}"
	outputs    = "{outputs: [{name: score, datatype: FP32, min: 0, max: 1}], contract: {idEcho: true}}"
	amount     = "field: request.parameters.amount, required: true, type: Number, max: 1000000"
)

var detectors = []feature{
	{name: "nonFinite", route: "nonfinite", policy: spec{"detect": "{nonFinite: {}}"}, run: finds(fm.C01NaNBare, "nonfinite")},
	{name: "broken: a status of 5xx", route: "broken", policy: spec{}, run: finds(fm.S04UnavailableForEver, "broken_status")},
	{name: "broken: a status that the policy names", route: "broken-429", policy: spec{"detect": "{broken: {statuses: [429]}}"}, run: finds(fm.S02RateLimitedForEver, "broken_status 429")},
	{name: "broken: a reset before headers", route: "broken-reset", policy: spec{}, run: finds(fm.S05ResetBeforeHeaders, "broken_reset")},
	{name: "broken: a model that nobody serves", route: "broken-refused", model: "absent", settles: "safe_default", policy: spec{}, run: func(c *check) {
		c.want(question{}, "safe_default", "broken_refused")
	}},
	{name: "broken: no JSON, too deep, an error object", route: "broken-body", policy: spec{}, run: func(c *check) {
		finds(fm.C13TruncatedJSON, "broken_truncated")(c)
		finds(fm.C15Deep, "broken_depth")(c)
		finds(fm.C18ErrorObject, "broken_error_object")(c)
	}},
	{name: "late: no headers", route: "late", policy: spec{"deadline": "400ms"}, run: finds(fm.S06NeverAnswers, "late")},
	{name: "late: a body that stalls", route: "late-body", policy: spec{"deadline": "400ms"}, run: finds(fm.S09BodyStalls, "late")},
	{name: "confidence", route: "confidence", policy: spec{"detect": confidence}, run: finds(fm.C08LowValue, "confidence_low")},
	{name: "contract and outputs", route: "contract", policy: spec{"detect": outputs}, run: func(c *check) {
		finds(fm.C10OverRange, "contract_range")(c)
		finds(fm.C20OtherID, "contract_id")(c)
	}},
	{
		name: "constant", route: "constant", model: "dull", policy: spec{"detect": "{constant: {window: 1m, minRequests: 12, minInputs: 10}}"},
		run: func(c *check) {
			for range 12 {
				c.ask(question{fault: fm.C16Constant})
			}
			c.want(question{fault: fm.C16Constant}, "safe_default", "constant")
		},
	},
	{
		name: "cel", route: "cel", policy: spec{"detect": `{cel: [{name: small, expression: "request.parameters.amount < 10.0 && response.model_name == 'score'"}]}`},
		run: func(c *check) {
			c.want(question{replace: map[string]string{"amount": "5"}}, "safe_default", "cel small")
			c.want(question{}, "primary", "")
		},
	},
	{
		name: "dependencies", route: "dependencies", policy: spec{"detect": `{dependencies: [{name: feature-store, expression: "status == 503"}]}`},
		run: func(c *check) {
			c.want(question{fault: fm.S04UnavailableForEver}, "safe_default", "dependency feature-store")
		},
	},
	{name: "request checks: Answer", route: "request-answer", policy: spec{"detect": "{request: [{" + amount + "}]}"}, run: func(c *check) {
		asked := c.s.v1.Requests()
		c.want(question{replace: map[string]string{"amount": "2000000"}}, "safe_default", "request_")
		if n := c.s.v1.Requests() - asked; n != 0 {
			c.Errorf("the model was asked %d times", n)
		}
		c.want(question{}, "primary", "")
	}},
	{name: "request checks: Reject", route: "request-reject", policy: spec{"detect": "{request: [{" + amount + ", onFail: Reject}]}"}, run: func(c *check) {
		a := c.ask(question{replace: map[string]string{"amount": `"much"`}})
		if a.Status != http.StatusBadRequest || !strings.Contains(string(a.Body), "parameters.amount") {
			c.Errorf("want 400 that names the field; got %s", say(a))
		}
	}},
	{name: "request checks: Pass", route: "request-pass", policy: spec{"detect": "{request: [{" + amount + ", onFail: Pass}]}"}, run: func(c *check) {
		c.want(question{replace: map[string]string{"amount": "2000000"}}, "primary", "")
	}},
}
