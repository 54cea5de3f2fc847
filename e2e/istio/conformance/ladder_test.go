package conformance

import (
	"net/http"
	"strings"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

var modes = []feature{
	{name: "Observe", route: "observe", policy: spec{"mode": "Observe"}, run: func(c *check) {
		a := c.ask(question{fault: fm.C01NaNBare})
		if a.Status != http.StatusOK || a.Source() != "primary" || !strings.Contains(string(a.Body), "NaN") {
			c.Errorf("want the model's own answer; got %s", say(a))
		}
	}},
	{name: "Observe of one detector", route: "observe-one", policy: spec{"detect": "{nonFinite: {mode: Observe}}"}, run: func(c *check) {
		if a := c.ask(question{fault: fm.C01NaNBare}); a.Source() != "primary" || !strings.Contains(string(a.Body), "NaN") {
			c.Errorf("want the model's own answer; got %s", say(a))
		}
		c.want(question{fault: fm.S04UnavailableForEver}, "safe_default", "broken_status")
	}},
	{name: "enforcePercent", route: "percent", policy: spec{"enforcePercent": "50"}, run: func(c *check) {
		by := map[string]int{}
		for range 60 {
			by[c.ask(question{fault: fm.C01NaNBare}).Source()]++
		}
		if by["primary"] < 10 || by["safe_default"] < 10 {
			c.Errorf("60 answers are by %v; want about half by the ladder", by)
		}
	}},
}

const safe = "{safeDefault: {body: '"

var rungs = []feature{
	{name: "cache", route: "cache", policy: spec{"ladder": "[{cache: {ttl: 5m}}, " + safe + tensor("0.5") + "'}}]"}, run: func(c *check) {
		q := question{body: bodyOf(fm.V2, "score", nil)}
		first := c.want(q, "primary", "")
		c.s.v1.Set(fm.C01NaNBare, 0)
		defer c.s.v1.Set(fm.None, 0)
		if a := c.want(q, "cache", "nonfinite"); string(a.Body) != string(first.Body) {
			c.Errorf("the cache has %s, the model said %s", a.Body, first.Body)
		}
		c.want(question{}, "safe_default", "nonfinite")
	}},
	{name: "fallback model", route: "fallback", policy: spec{"ladder": "[{fallback: {model: small, deadline: 400ms}}, " + safe + tensor("0.5") + "'}}]"}, run: func(c *check) {
		if a := c.want(question{fault: fm.S06NeverAnswers}, "fallback", "late"); !strings.Contains(string(a.Body), `"small"`) {
			c.Errorf("want an answer of small; got %s", say(a))
		}
	}},
	{name: "rules", route: "rules", policy: spec{
		"ladder": "[{rules: {score: [{when: 'request.parameters.amount > 5000.0', add: 0.25, reason: high_amount}], template: '" +
			strings.TrimSuffix(tensor("{{score}}"), "}") + `, "parameters": {"reasons": {{reasons}}}}'}}, ` + safe + tensor("0.5") + "'}}]",
	}, run: func(c *check) {
		a := c.want(question{fault: fm.C01NaNBare, replace: map[string]string{"amount": "9000"}}, "rules", "nonfinite")
		if !strings.Contains(string(a.Body), "0.25") || !strings.Contains(string(a.Body), "high_amount") {
			c.Errorf("want a score of 0.25 because of high_amount; got %s", say(a))
		}
	}},
	{name: "safeDefault", route: "default", policy: spec{"ladder": "[{safeDefault: {status: 203, contentType: application/vnd.safe+json, body: '" + tensor("0.125") + "'}}]"}, run: func(c *check) {
		a := c.ask(question{fault: fm.C01NaNBare})
		c.is(a, http.StatusNonAuthoritativeInfo, "safe_default", "nonfinite")
		if string(a.Body) != tensor("0.125") || a.Header.Get("Content-Type") != "application/vnd.safe+json" {
			c.Errorf("want the policy's default; got %s as %s", a.Body, a.Header.Get("Content-Type"))
		}
	}},
	{name: "safeDefault by template", route: "template", policy: spec{
		"ladder": "[{safeDefault: {body: '" + tensor("0.5") + "', template: '" + tensor("{{request.parameters.account_age_days}}") + "'}}]",
	}, run: func(c *check) {
		if a := c.want(question{fault: fm.C01NaNBare, replace: map[string]string{"account_age_days": "77"}}, "safe_default", "nonfinite"); !strings.Contains(string(a.Body), "[77]") {
			c.Errorf("want what the request says; got %s", say(a))
		}
	}},
	{name: "safeDefault with refresh", route: "refresh", policy: spec{"ladder": "[{safeDefault: {body: '" + tensor("0.5") + "', refresh: {url: FEED, interval: 1s}}}]"}, run: func(c *check) {
		c.eventually("the default is the one that was read", func() (bool, dataplane.Answer) {
			a := c.ask(question{fault: fm.C01NaNBare})
			return a.Source() == "safe_default" && strings.Contains(string(a.Body), "0.875"), a
		})
	}},
}

var limits = []feature{
	{name: "budget: Refuse", route: "budget", policy: spec{"budget": "{fallbackPercent: 1, minRequests: 10, over: Refuse}"}, run: func(c *check) {
		c.eventually("the budget is used up", func() (bool, dataplane.Answer) {
			a := c.ask(question{fault: fm.C01NaNBare})
			return a.Status == http.StatusServiceUnavailable && strings.HasPrefix(a.Reason(), "budget"), a
		})
	}},
	{
		name: "breaker opens and recovers", route: "breaker", model: "fragile",
		policy: spec{"breaker": "{failures: 3, recovery: 1s, halfOpenRequests: 1, ramp: 1ms}"},
		run: func(c *check) {
			c.until("the breaker is open", question{fault: fm.S04UnavailableForEver}, "safe_default", "breaker_open")
			asked := c.s.v1.Requests()
			c.want(question{}, "safe_default", "breaker_open")
			if n := c.s.v1.Requests() - asked; n != 0 {
				c.Errorf("the model was asked %d times past an open breaker", n)
			}
			began := time.Now()
			c.until("the model answers again", question{}, "primary", "")
			c.Log("recovered after", time.Since(began))
		},
	},
	{name: "maxConcurrent", route: "crowded", model: "crowded", policy: spec{"maxConcurrent": "1", "deadline": "500ms"}, run: func(c *check) {
		over := false
		dataplane.Eventually(c, patience, "one of several requests at a time is over it", func() bool {
			for _, a := range c.together(question{fault: fm.S06NeverAnswers}, 4) {
				over = over || a.Source() == "safe_default" && strings.HasPrefix(a.Reason(), "bulkhead_full")
			}
			return over
		})
	}},
	{name: "bodyLimit: an answer over it", route: "limit-answer", policy: spec{"bodyLimit": "{bytes: 65536}"}, run: finds(fm.C15Huge, "broken_too_large")},
	{name: "bodyLimit: an answer over it passes", route: "limit-pass", policy: spec{"bodyLimit": "{bytes: 1024, responseOver: Pass}", "deadline": "5s"}, run: func(c *check) {
		if a := c.ask(question{fault: fm.C15Huge}); a.Status != http.StatusOK || a.Source() != "" || len(a.Body) < 1<<20 {
			c.Errorf("want the whole answer; got %d bytes, %d from %q because of %q, err %v", len(a.Body), a.Status, a.Source(), a.Reason(), a.Err)
		}
	}},
	{name: "bodyLimit: a request over it", route: "limit-request", policy: spec{"bodyLimit": "{bytes: 1024, requestOver: Reject}", "detect": "{request: [{" + amount + "}]}"}, run: func(c *check) {
		a := c.ask(question{body: strings.Replace(bodyOf(fm.V2, "score", nil), `"id"`, `"pad": "`+strings.Repeat("x", 4096)+`", "id"`, 1)})
		if a.Status != http.StatusBadRequest {
			c.Errorf("want 400; got %s", say(a))
		}
	}},
}
