package conformance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
	"github.com/safestate/safestate/internal/admin"
)

var kills = []feature{
	{name: "a model, Degrade: the ladder answers, and its proof", route: "kill-degrade", model: "killed", policy: spec{
		"ladder": "[{fallback: {model: small, deadline: 400ms}}, " + safe + tensor("0.5") + "'}}]",
	}, run: func(c *check) {
		c.killed("model/"+c.model(), "degrade", http.StatusOK, "fallback", "killed")
	}},
	{name: "a model, Default: Envoy alone answers", route: "kill-default", model: "killed", policy: spec{
		"ladder": "[{fallback: {model: small, deadline: 400ms}}, " + safe + tensor("0.5") + "'}}]",
	}, run: func(c *check) {
		c.killed("model/"+c.model(), "default", http.StatusOK, "safe_default", "killed")
	}},
	{name: "a model, Blackhole: 503", route: "kill-blackhole", model: "killed", policy: spec{}, run: func(c *check) {
		c.killed("model/"+c.model(), "blackhole", http.StatusServiceUnavailable, "", "killed")
	}},
	{name: "a version", route: "kill-version", model: "kill-version", versions: true, policy: spec{}, run: func(c *check) {
		c.killed("version/"+c.model()+"/v1", "degrade", http.StatusOK, "safe_default", "killed")
	}},
	{name: "a rule of a route", route: "kill-rule", policy: spec{}, run: func(c *check) {
		c.killed("route/"+c.p.namespace+"/kill-rule/rule-0", "degrade", http.StatusOK, "safe_default", "killed")
	}},
	{name: "a model on a route without a policy", route: "kill-bare", model: "bare", versions: true, run: func(c *check) {
		c.eventually("the model answers", func() (bool, dataplane.Answer) { a := c.ask(question{}); return a.Status == http.StatusOK, a })
		c.kill("model/"+c.model(), "degrade")
		c.eventually("it is stopped", func() (bool, dataplane.Answer) {
			a := c.ask(question{})
			return a.Status == http.StatusServiceUnavailable && a.Reason() == "killed" && len(a.Body) == 0, a
		})
		c.revive("model/" + c.model())
		c.eventually("the model answers", func() (bool, dataplane.Answer) { a := c.ask(question{}); return a.Status == http.StatusOK, a })
	}},
	{name: "a revive with a ramp", route: "kill-ramp", model: "kill-ramp", versions: true, policy: unhurried, together: true, run: func(c *check) {
		target := "model/" + c.model()
		c.kill(target, "degrade")
		c.until("it is stopped", question{}, "safe_default", "killed")
		c.revive(target, "--ramp", "6s")
		l := c.load(question{})
		c.share("a share of the answers is v1's", l, "v1", 0.02, 0.9)
		c.share("all answers are v1's", l, "v1", 1, 1)
		l.unharmed(c)
	}},
	{
		name: "with safestate dead, and over its restart", route: "kill-dead", model: "kill-dead", versions: true, when: dead, policy: spec{},
		before: func(c *check) {
			c.kill("model/"+c.model(), "degrade")
			c.until("it is stopped", question{}, "safe_default", "killed")
		},
		run: func(c *check) {
			asked := c.s.v1.Requests()
			for range 10 {
				if a := c.ask(question{}); a.Status != http.StatusOK || a.Source() != "safe_default" {
					c.Errorf("want the safe default; got %s", say(a))
				}
			}
			if n := c.s.v1.Requests() - asked; n != 0 {
				c.Errorf("the model was asked %d times", n)
			}
		},
		after: func(c *check) {
			c.until("the processor is back, and the kill with it", question{}, "safe_default", "killed")
			c.revive("model/" + c.model())
			c.until("the model answers", question{}, "primary", "")
		},
	},
	{
		name: "by itself, by a criterion of the Model's", route: "kill-auto", model: "kill-auto", versions: true, policy: spec{"detect": "{constant: {mode: Disabled}}"},
		kill: "{automatic: {when: [{badPercent: 80, minRequests: 20, within: 30s}]}}", run: func(c *check) {
			c.eventually("it is killed", func() (bool, dataplane.Answer) {
				a := c.ask(question{fault: fm.C01NaNBare})
				return a.Source() == "safe_default" && strings.HasPrefix(a.Reason(), "killed"), a
			})
			c.revive("model/" + c.model())
			c.until("the model answers again", question{}, "primary", "")
		},
	},
	{name: "by a KillSwitch, and back", route: "kill-switch", model: "kill-switch", versions: true, policy: spec{}, run: func(c *check) {
		if !c.p.mesh {
			c.refused(killSwitch, "KillSwitch")
			c.no("a KillSwitch is a kind of the API server's; beside plain Envoy that is `safestate kill`, and a file of this kind is refused")
			return
		}
		c.s.apply(c, c.p, killSwitch)
		c.until("it is stopped", question{}, "safe_default", "killed")
		var generation any
		dataplane.Eventually(c, patience, "its status has the kill's generation", func() bool {
			o, err := c.s.api.Admin.Get(c.Context(), "safestate.dev/v1alpha1 KillSwitch", c.p.namespace, "kill-switch")
			if err != nil {
				c.Fatal(err)
			}
			status, _ := o.Object["status"].(map[string]any)
			generation = status["generation"]
			return generation != nil
		})
		c.s.apply(c, c.p, strings.TrimSuffix(killSwitch, "}\n")+fmt.Sprintf(", revive: {generation: %v, reason: it is mended}}\n", generation))
		c.until("the model answers again", question{}, "primary", "")
	}},
	{name: "everything", route: "kill-all", settles: "-", policy: spec{}, run: func(c *check) {
		// One safestate stops all places that it has: at the first of them, until the last.
		if c.p.first {
			c.until("the policy is at the proxy", question{}, "primary", "")
		}
		c.holds("all", "degrade", http.StatusOK, "safe_default", "killed", c.p.first)
		if c.p.last {
			c.revive("all")
			c.until("the model answers again", question{}, "primary", "")
		}
	}},
}

const killSwitch = `
apiVersion: safestate.dev/v1alpha1
kind: KillSwitch
metadata: {name: kill-switch}
spec: {target: {scope: Model, model: kill-switch}, reason: it is wrong}
`

// killed kills a target, holds what callers get then, without anybody at the model, and
// revives it.
func (c *check) killed(target, mode string, status int, source, reason string) {
	c.Helper()
	c.holds(target, mode, status, source, reason, true)
	c.revive(target)
	c.until("the model answers again", question{}, "primary", "")
}

// holds is killed without the revive, and without the kill where somebody else has
// done that.
func (c *check) holds(target, mode string, status int, source, reason string, kill bool) {
	c.Helper()
	if kill {
		c.kill(target, mode)
	}
	asked := c.s.v1.Requests()
	for range 5 {
		c.wantStatus(question{}, status, source, reason)
	}
	if n := c.s.v1.Requests() - asked; n != 0 {
		c.Errorf("the model was asked %d times", n)
	}
}

// named are the arguments by which a command names a target.
func named(target string) []string {
	if rule, is := strings.CutPrefix(target, "route/"); is {
		return []string{"--route", rule}
	}
	if target == "all" {
		return []string{"--all"}
	}
	return []string{target}
}

// kill kills a target while somebody asks, and waits for its proof.
func (c *check) kill(target, mode string) {
	c.Helper()
	others, interval := c.s.kills, time.Second/2
	if target == "all" {
		others, interval = c.s.features, 2*time.Second
	}
	for _, l := range append(c.neighbours(others, interval), c.load(question{})) {
		defer l.stop()
	}
	began := time.Now()
	defer func() { c.Logf("killed and proven after %s", time.Since(began).Round(time.Millisecond)) }()
	out, err := c.p.safestate.run(c.T, append(append([]string{"kill"}, named(target)...), "--mode", mode, "--reason", "it is wrong", "--wait", "30s")...)
	if err != nil || !strings.Contains(out, "proven") {
		c.Errorf("safestate kill %s: %v\n%s", target, err, out)
	}
}

// neighbours asks on the other routes that kills have concerned: a mesh's proof counts
// these as well, and only requests show what a proxy routes by.
func (c *check) neighbours(others []feature, interval time.Duration) (out []*load) {
	if !c.p.mesh {
		return nil
	}
	for _, p := range c.s.places[1:] {
		for i := range others {
			f := &others[i]
			asks := f.asks
			inside := f.policy["host"] == "WASM" // a filter inside Envoy tells nobody of kills
			if f.policy != nil && !f.grpc && !inside && (f != c.f || p != c.p) {
				asks = append(asks, question{})
			}
			other := &check{T: c.T, s: c.s, p: p, f: f, client: p.client}
			for _, q := range asks {
				out = append(out, other.loadEvery(q, interval))
			}
		}
	}
	return out
}

// revive revives it, by the generation that the status shows.
func (c *check) revive(target string, more ...string) {
	c.Helper()
	var s admin.Status
	if err := json.Unmarshal([]byte(c.safestate("status", "-o", "json")), &s); err != nil {
		c.Fatal(err)
	}
	for _, k := range s.Kills {
		if k.Target == target && k.Killed {
			args := append(append([]string{"revive"}, named(target)...), "--generation", fmt.Sprint(k.Generation), "--reason", "it is mended", "--wait", "0")
			c.safestate(append(args, more...)...)
			return
		}
	}
	c.Fatalf("%s is not killed: %+v", target, s.Kills)
}
