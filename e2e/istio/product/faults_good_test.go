package product

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
)

// TestBadEdits: what one object says holds up nobody else, and what it said when it was
// good holds on, over a restart as well.
func TestBadEdits(t *testing.T) {
	s := newStand(t)
	s.guarded()
	// A default that is none of the protocol's: only who knows the Model can tell.
	s.apply(strings.Replace(policy, `"outputs":`, `"output":`, 1))
	s.says("FailSafePolicy", "fraud", "Accepted", "False Invalid")
	s.v1.nan.Store(true)
	s.until("the policy's last good state holds", func(a answer) bool { return a.source == "safe_default" })
	dataplane.Eventually(t, patience, "it is kept", func() bool { return s.stored("good/FailSafePolicy/models/fraud") != nil })
	s.safestate.Kill()
	s.serve()
	s.says("FailSafePolicy", "fraud", "Accepted", "False Invalid")
	s.lasting(8*time.Second, "it holds after a restart", func() bool { return s.infer().source == "safe_default" && s.filters()[routeFilter] != nil })

	// Somebody else's route is called as this one is, of another kind: nobody's mistake
	// but of who has a policy for it.
	s.apply(`
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: fraud, namespace: models}
spec:
  parentRefs: [{name: public}]
  hostnames: [grpc.example.com]
  rules: [{backendRefs: [{name: fraud-v1, port: OUT_PORT}]}]
`)
	// Somebody else's policy for the same route comes later, by a name that comes first.
	_, fsp, _ := strings.Cut(policy, "---\n")
	s.apply(strings.Replace(fsp, "name: fraud, namespace: models}\nspec:\n  targetRefs", "name: aaa, namespace: models}\nspec:\n  targetRefs", 1))
	s.mentions("FailSafePolicy", "aaa", "Accepted", "has FailSafePolicy models/fraud already")
	s.apply(strings.Replace(policy, "[0.0]", "[0.25]", 1))
	s.until("a new policy is taken", func(a answer) bool { return strings.Contains(a.body, "0.25") })
	s.says("FailSafePolicy", "fraud", "Accepted", "True")
}

// TestRuleOfAnothersName: whoever makes a route later takes nothing from one that is
// there, whatever its rules are called.
func TestRuleOfAnothersName(t *testing.T) {
	s := newStand(t)
	s.apply(strings.Replace(services, "  rules:\n  - matches", "  rules:\n  - name: score\n    matches", 1))
	s.guarded()
	s.v1.nan.Store(true)
	s.until("the policy holds", func(a answer) bool { return a.source == "safe_default" })
	s.apply(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: later, namespace: models}
spec:
  parentRefs: [{name: public}]
  hostnames: [fraud.example.com]
  rules:
  - name: score
    matches: [{path: {type: PathPrefix, value: /later}}]
    backendRefs: [{name: fraud-v2, port: OUT_PORT}]
---
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: later, namespace: models}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: later}]
  deadline: 2s
  ladder:
  - safeDefault: {body: '{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.5]}]}'}
`)
	s.mentions("FailSafePolicy", "later", "Programmed", "which is older")
	s.lasting(5*time.Second, "the older route keeps its policy", func() bool { return s.infer().source == "safe_default" })
}

// mentions waits until a condition has a text.
func (s *stand) mentions(kind, name, typ, text string) {
	s.t.Helper()
	last := ""
	defer func() { s.t.Logf("%s %s: %s: %s", kind, name, typ, last) }()
	dataplane.Eventually(s.t, patience, fmt.Sprintf("%s of %s %s mentions %s", typ, kind, name, text), func() bool {
		last = s.condition(kind, name, typ)
		return strings.Contains(last, text)
	})
}

// TestEditUnderAKill: who may write a Model, and no KillSwitch, gives no traffic to what
// is killed.
func TestEditUnderAKill(t *testing.T) {
	s := newStand(t)
	s.guarded()
	s.kill("version/models/fraud/v1")
	s.until("the version is killed", func(a answer) bool { return strings.HasPrefix(a.reason, "killed") })
	asked := s.v1.asked.Load()
	renamed := strings.Replace(policy, "{name: v1, backendRef", "{name: v1b, backendRef", 1)
	s.apply(renamed)
	s.mentions("Model", "fraud", "Accepted", "would take version v1 away")
	s.lasting(5*time.Second, "it stays killed", func() bool { return strings.HasPrefix(s.infer().reason, "killed") })
	s.api.Admin.Delete(t, `
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: fraud, namespace: models}
`)
	s.lasting(5*time.Second, "it stays killed without its Model", func() bool { return strings.HasPrefix(s.infer().reason, "killed") })
	s.safestate.Kill()
	s.serve()
	s.lasting(8*time.Second, "and after a restart", func() bool { return s.infer().source != "primary" })
	// Another Model takes the killed version's Service, by a name that comes first.
	s.apply(strings.Replace(policy, "metadata: {name: fraud, namespace: models}\nspec:\n  protocol", "metadata: {name: aaa, namespace: models}\nspec:\n  protocol", 1))
	s.mentions("Model", "aaa", "Accepted", "with it Model models/fraud")
	s.lasting(5*time.Second, "and beside another Model", func() bool { return s.infer().source != "primary" })
	s.api.Admin.Delete(t, `
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: aaa, namespace: models}
`)
	if now := s.v1.asked.Load(); now != asked {
		t.Errorf("the killed version was asked %d times", now-asked)
	}
	s.apply(renamed)
	s.revive("version/models/fraud/v1")
	dataplane.Eventually(t, patience, "the edit counts after the revive", func() bool {
		return strings.HasPrefix(s.condition("Model", "fraud", "Accepted"), "True") && s.infer().source == "primary"
	})
}

// TestEditInARollout: a version that a rollout brings in is not left a share that nobody
// counts.
func TestEditInARollout(t *testing.T) {
	s := newStand(t)
	s.guarded()
	s.rollout("50,10m,1000000", "100")
	s.routed("fraud-v2", 50)
	var without []string
	for line := range strings.Lines(policy) {
		if !strings.Contains(line, "name: v2") {
			without = append(without, line)
		}
	}
	s.apply(strings.Join(without, ""))
	s.mentions("Model", "fraud", "Accepted", "would take version v2 away")
	s.routed("fraud-v2", 50)
	s.command("rollout", "abort", "models/fraud", "--reason", "not wanted")
	s.routed("fraud-v2", 0)
	s.says("Model", "fraud", "Accepted", "True")
}
