package conformance

import (
	"net/http"
	"strings"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// pass is a policy under which the model answers while the processor is away.
func pass(more spec) spec {
	out := spec{"whenProcessorAway": "Pass"}
	for k, v := range more {
		out[k] = v
	}
	return out
}

// lastRungs are what Envoy does alone: all run while no safestate does.
var lastRungs = []feature{
	{name: "the safe default", route: "away", when: dead, policy: spec{"ladder": "[{safeDefault: {body: '" + tensor("0.125") + "'}}]"}, run: func(c *check) {
		asked := c.s.v1.Requests()
		if a := c.want(question{}, "safe_default", "processor_away"); string(a.Body) != tensor("0.125") {
			c.Errorf("want the policy's default; got %s", say(a))
		}
		if n := c.s.v1.Requests() - asked; n != 0 {
			c.Errorf("the model was asked %d times", n)
		}
	}},
	{name: "the safe default, of a processor that hangs", route: "hung", when: hung, policy: spec{}, run: func(c *check) {
		c.want(question{}, "safe_default", "")
	}},
	{name: "Observe: the model answers", route: "away-observe", when: dead, policy: spec{"mode": "Observe"}, run: func(c *check) { c.modelAnswers(question{}) }},
	{name: "Pass: the model answers", route: "away-pass", when: dead, policy: pass(nil), run: func(c *check) { c.modelAnswers(question{}) }},
	{name: "Pass: a model that resets", route: "away-reset", when: dead, policy: pass(nil), run: func(c *check) {
		c.want(question{fault: fm.S05ResetBeforeHeaders}, "safe_default", "broken_reset")
	}},
	{name: "Pass: a model that is late", route: "away-late", when: dead, policy: pass(spec{"deadline": "400ms"}), run: func(c *check) {
		c.want(question{fault: fm.S06NeverAnswers}, "safe_default", "late")
	}},
	{name: "Pass: a model that nobody serves", route: "away-refused", model: "absent", when: dead, settles: "safe_default", policy: pass(nil), run: func(c *check) {
		c.want(question{}, "safe_default", "broken_refused")
	}},
	{name: "Pass: a model's own 5xx", route: "away-status", when: dead, policy: pass(nil), run: func(c *check) {
		c.want(question{fault: fm.S04UnavailableForEver}, "safe_default", "broken_status")
		a := c.ask(question{method: http.MethodGet, path: "/v2/models/score"})
		c.is(a, http.StatusOK, "", "")
	}},
	{name: "OpenAI: an error object", route: "away-chat", model: "chat", when: dead, policy: spec{"ladder": completion}, run: func(c *check) {
		a := c.ask(question{})
		c.is(a, http.StatusServiceUnavailable, "safe_default", "processor_away")
		if !strings.Contains(string(a.Body), `"code":"safestate_processor_away"`) {
			c.Errorf("want an error object; got %s", say(a))
		}
	}},
	{name: "Envoy counts what it answers alone", route: "away-count", when: dead, policy: spec{}, run: func(c *check) {
		c.want(question{}, "safe_default", "processor_away")
		dataplane.Eventually(c, patience, "Envoy's counter", func() bool {
			return strings.Contains(dataplane.Get("http://"+c.p.admin+"/stats/prometheus?usedonly"), `envoy_safestate_last_rung{route="`+c.p.namespace+`/away-count/rule-0",reason="processor_away"}`)
		})
	}},
	{name: "calls that ask for no prediction are not touched", route: "away-metadata", when: dead, policy: spec{}, run: func(c *check) {
		a := c.ask(question{method: http.MethodGet, path: "/v2/models/score"})
		c.is(a, http.StatusOK, "", "")
	}},
}

// modelAnswers holds where the model's own answer passes, unread.
func (c *check) modelAnswers(q question) {
	c.Helper()
	if a := c.want(q, "", ""); !strings.Contains(string(a.Body), `"model_version":"v1"`) {
		c.Errorf("want the model's own answer; got %s", say(a))
	}
}
