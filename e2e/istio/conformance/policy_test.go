package conformance

import (
	"regexp"
	"strings"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// saying is a policy whose default has a score.
func saying(score string) spec {
	return spec{"ladder": "[" + safe + tensor(score) + "'}}]"}
}

var policies = []feature{
	{name: "a change arrives, and its rollback", route: "changed", policy: saying("0.5"), run: func(c *check) {
		c.says("0.5")
		c.change(saying("0.75"))
		c.says("0.75")
		out := ""
		defer func() { c.Log(out) }()
		dataplane.Eventually(c, patience, "the policy is taken back, once its change is in the history", func() bool {
			var err error
			out, err = c.p.safestate.run(c.T, "rollback", "policy", c.p.namespace+"/changed", "--reason", "the old default was right")
			return err == nil
		})
		c.says("0.5")
	}},
	{name: "a mistake leaves the last good policy", route: "mistaken", policy: saying("0.5"), run: func(c *check) {
		c.says("0.5")
		c.change(spec{"detect": `{cel: [{name: x, expression: "response."}]}`, "ladder": saying("0.75")["ladder"]})
		c.eventually("somebody says that it is one", func() (bool, dataplane.Answer) {
			if c.p.mesh {
				reason, _, ok := c.s.condition(c, c.p, "mistaken")
				return ok && reason == "Invalid", dataplane.Answer{}
			}
			return strings.Contains(dataplane.Get("http://"+c.p.safestate.http+"/readyz"), "expression"), dataplane.Answer{}
		})
		c.says("0.5")
		c.change(saying("0.25"))
		c.says("0.25")
	}},
	{name: "policies are signed, and their key rotates", route: "signed", policy: spec{}, run: func(c *check) {
		old := c.keys()
		if len(old) != 1 {
			c.Fatalf("want policies that are signed by one key; the proxy has %v", old)
		}
		c.safestate("keys", "rotate", "--reason", "to see it", "--after", "1ms", "--overlap", "1ms")
		dataplane.Eventually(c, patience, "the proxy has policies that another key has signed, and no others", func() bool {
			now := c.keys()
			return len(now) == 1 && now[0] != old[0]
		})
		c.want(question{fault: fm.C01NaNBare}, "safe_default", "nonfinite")
		dataplane.Eventually(c, patience, "the old key is given up", func() bool { return !strings.Contains(c.safestate("keys", "list"), old[0]) })
		c.want(question{}, "primary", "")
	}},
}

// says waits until a NaN is answered by a default with a score.
func (c *check) says(score string) {
	c.Helper()
	c.eventually("the default says "+score, func() (bool, dataplane.Answer) {
		a := c.ask(question{fault: fm.C01NaNBare})
		return a.Source() == "safe_default" && strings.Contains(string(a.Body), score), a
	})
}

// change writes the feature's objects with another policy.
func (c *check) change(p spec) {
	c.Helper()
	f := *c.f
	f.policy = p
	c.s.put(c, c.p, f.route, f.objects(c.p))
}

var signature = regexp.MustCompile(`"policy_signature": "1:([0-9a-f]{16}):`)

// keys are those that have signed what the proxy has.
func (c *check) keys() (out []string) {
	seen := map[string]bool{}
	for _, m := range signature.FindAllStringSubmatch(dataplane.Get("http://"+c.p.admin+"/config_dump?resource=dynamic_route_configs"), -1) {
		if !seen[m[1]] {
			seen[m[1]] = true
			out = append(out, m[1])
		}
	}
	return out
}
