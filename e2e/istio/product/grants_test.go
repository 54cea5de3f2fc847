package product

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/safestate/safestate/e2e/dataplane"
)

// teamA has routes of its own to the model of namespace models: at the gateway of that,
// and at one of Istio's own kind.
const teamA = `
apiVersion: v1
kind: Namespace
metadata: {name: team-a}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: fraud, namespace: team-a}
spec:
  parentRefs: [{name: public, namespace: models}]
  hostnames: [route.example.com]
  rules:
  - name: score-a
    matches: [{path: {type: PathPrefix, value: /v2/models/fraud}}]
    backendRefs:
    - {name: fraud-v1, namespace: models, port: OUT_PORT, weight: 100}
    - {name: fraud-v2, namespace: models, port: OUT_PORT, weight: 0}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: classic, namespace: team-a}
spec:
  selector: {app: gw}
  servers:
  - {port: {number: CLASSIC_PORT, name: http, protocol: HTTP}, bind: 127.0.0.1, hosts: [service.example.com]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: fraud, namespace: team-a}
spec:
  hosts: [service.example.com]
  gateways: [classic]
  http:
  - name: rank-a
    match: [{uri: {prefix: /v2/models/fraud}}]
    route:
    - {destination: {host: fraud-v1.models.svc.cluster.local, port: {number: OUT_PORT}}, weight: 100}
    - {destination: {host: fraud-v2.models.svc.cluster.local, port: {number: OUT_PORT}}, weight: 0}
---
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: route, namespace: team-a}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: fraud}]
  mode: Enforce
  deadline: 2s
  detect: {nonFinite: {}, broken: {}, late: {}}
  breaker: {disabled: true}
  ladder:
  - safeDefault: {body: '{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.5]}]}'}
---
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: service, namespace: team-a}
spec:
  targetRefs: [{group: networking.istio.io, kind: VirtualService, name: fraud}]
  mode: Enforce
  deadline: 2s
  detect: {nonFinite: {}, broken: {}, late: {}}
  breaker: {disabled: true}
  ladder:
  - safeDefault: {body: '{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.75]}]}'}
`

const teamAMay = `
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: team-a, namespace: models}
spec:
  from:
  - {group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: team-a}
  - {group: networking.istio.io, kind: VirtualService, namespace: team-a}
  to: [{group: "", kind: Service}]
`

const killOfV1 = `
apiVersion: safestate.dev/v1alpha1
kind: KillSwitch
metadata: {name: v1, namespace: models}
spec: {target: {scope: Version, model: fraud, version: v1}, reason: scores are wrong`

const killAgain = `
apiVersion: safestate.dev/v1alpha1
kind: KillSwitch
metadata: {name: again, namespace: models}
spec: {target: {scope: Version, model: fraud, version: v1}, reason: scores are wrong again}
`

// TestGrants: whose model a route may name is said by ReferenceGrants. With one, the
// model is what it is to routes of its own namespace: judged, released, killed. Without
// one it is none of theirs, and that is said.
func TestGrants(t *testing.T) {
	s := newStand(t)
	s.guarded()
	s.apply(teamA)
	load := s.load(50) // the model's own route notices nothing of all this
	s.ungranted()

	s.apply(teamAMay)
	s.guards()
	s.saysIn("FailSafePolicy", "route", "Programmed", "True ")
	s.saysIn("FailSafePolicy", "service", "Programmed", "True ")

	// A release moves the weights of all three, and takes them back.
	s.rollout("50,10m", "100")
	s.weighs("v2 has its share", func(w []int64) bool { return w[1] > 0 })
	s.v2.nan.Store(true)
	s.weighs("the weights are back", func(w []int64) bool { return w[1] == 0 })
	s.v2.nan.Store(false)

	s.apply(killOfV1 + "}\n")
	s.kills()
	generation := int64(0)
	dataplane.Eventually(t, patience, "the KillSwitch says at which generation", func() bool {
		generation, _, _ = unstructured.NestedInt64(s.object("safestate.dev/v1alpha1 KillSwitch", "v1").Object, "status", "generation")
		return generation > 0
	})
	s.apply(killOfV1 + fmt.Sprintf(", revive: {generation: %d, reason: the feed is back}}\n", generation))
	s.guards()

	s.api.Admin.Delete(t, teamAMay)
	s.ungranted()

	// Without a grant a kill does not hold either, and does not claim to.
	s.apply(killAgain)
	s.until("it is killed on the model's own route", func(a answer) bool { return strings.HasPrefix(a.reason, "killed") })
	s.says("KillSwitch", "again", "Applied", "False OutOfReach ")
	s.ungranted()
	s.apply(teamAMay)
	s.kills()
	s.unharmed(load)
}

// kills: what is killed is answered by the last rung of the policy whose route was
// asked for.
func (s *stand) kills() {
	s.t.Helper()
	for at, body := range s.asTeamA() {
		s.untilAt(at, "what is killed is killed here", func(a answer) bool {
			return a.source == "safe_default" && strings.Contains(a.body, body) && strings.HasPrefix(a.reason, "killed")
		})
	}
}

// TestGrantsNotInstalled: a cluster without ReferenceGrants is served, and takes them
// when they come.
func TestGrantsNotInstalled(t *testing.T) {
	s := newStand(t)
	s.apply(teamA)
	d := s.deleteKind("referencegrants.gateway.networking.k8s.io")
	s.guarded()
	s.applyKind(d)
	s.apply(teamAMay)
	s.untilAt(at{s.classic, "service.example.com"}, "the grant is taken", func(a answer) bool { return a.source == "primary" })
}

// at is where a route is asked for.
type at struct {
	port int
	host string
}

// asTeamA is where team-a's routes are asked for, and the score by which each policy's
// last rung is told.
func (s *stand) asTeamA() map[at]string {
	return map[at]string{{s.port, "route.example.com"}: "[0.5]", {s.classic, "service.example.com"}: "[0.75]"}
}

func (s *stand) untilAt(of at, what string, holds func(answer) bool) {
	s.t.Helper()
	var last answer
	defer func() { s.t.Logf("%s: %s", of.host, last) }()
	dataplane.Eventually(s.t, patience, of.host+": "+what, func() bool {
		last = infer(of.port, of.host)
		return holds(last)
	})
}

// ungranted: istiod refuses the HTTPRoute's backends, and takes the VirtualService's
// without asking; the conditions say what is missing.
func (s *stand) ungranted() {
	s.t.Helper()
	s.untilAt(at{s.port, "route.example.com"}, "istiod refuses it", func(a answer) bool { return a.status == 500 && a.source == "" })
	s.untilAt(at{s.classic, "service.example.com"}, "its traffic flows as Istio has it", func(a answer) bool { return a.status == 200 && a.source == "" })
	s.saysIn("FailSafePolicy", "route", "Accepted", "True ")
	s.saysIn("FailSafePolicy", "route", "Programmed", "False RefNotPermitted rule score-a names Service models/fraud-v1 and Service models/fraud-v2; want a ReferenceGrant in models for HTTPRoutes of team-a")
	s.saysIn("FailSafePolicy", "service", "Programmed", "False RefNotPermitted rule rank-a names Service models/fraud-v1 and Service models/fraud-v2; want a ReferenceGrant in models for VirtualServices of team-a")
	s.says("Model", "fraud", "Accepted", "True Accepted it is in use; its policies, releases and kills do not reach VirtualService team-a/fraud, which names Service models/fraud-v1 and Service models/fraud-v2; want a ReferenceGrant")
}

// guards: a bad answer of the model is replaced by the last rung of the policy whose
// route was asked for.
func (s *stand) guards() {
	s.t.Helper()
	for at, body := range s.asTeamA() {
		s.untilAt(at, "it is inspected", func(a answer) bool { return a.source == "primary" && a.version == "v1" })
		s.v1.nan.Store(true)
		if a := infer(at.port, at.host); a.nan() || a.source != "safe_default" || !strings.Contains(a.body, body) {
			s.t.Errorf("%s: a NaN: %s", at.host, a)
		}
		s.v1.nan.Store(false)
	}
}

// saysIn is says of an object of team-a.
func (s *stand) saysIn(kind, name, typ, text string) {
	s.t.Helper()
	last := ""
	defer func() { s.t.Logf("%s team-a/%s: %s: %s", kind, name, typ, last) }()
	dataplane.Eventually(s.t, patience, fmt.Sprintf("%s of %s team-a/%s is %s", typ, kind, name, text), func() bool {
		last = s.conditionIn("team-a", kind, name, typ)
		return strings.HasPrefix(last, text)
	})
}

// weighs waits until the weights in all routes to the model are as a condition wants
// them, while team-a asks and never sees a NaN.
func (s *stand) weighs(what string, holds func([]int64) bool) {
	s.t.Helper()
	all := [][]int64{}
	defer func() { s.t.Logf("%s: %v", what, all) }()
	dataplane.Eventually(s.t, patience, what, func() bool {
		for at := range s.asTeamA() {
			if a := infer(at.port, at.host); a.nan() || a.status != 200 {
				s.t.Errorf("%s: %s", at.host, a)
			}
		}
		all = [][]int64{s.weights(), s.weightsOf("gateway.networking.k8s.io/v1 HTTPRoute", "rules", "backendRefs"), s.weightsOf("networking.istio.io/v1 VirtualService", "http", "route")}
		return !slices.ContainsFunc(all, func(w []int64) bool { return len(w) != 2 || !holds(w) })
	})
}

// weightsOf are those of the first rule of team-a's route of a kind.
func (s *stand) weightsOf(kind, rules, list string) (out []int64) {
	s.t.Helper()
	o, err := s.api.Admin.Get(s.t.Context(), kind, "team-a", "fraud")
	if err != nil {
		s.t.Fatal(err)
	}
	all, _, _ := unstructured.NestedSlice(o.Object, "spec", rules)
	to, _, _ := unstructured.NestedSlice(all[0].(map[string]any), list)
	for _, d := range to {
		w, _, _ := unstructured.NestedInt64(d.(map[string]any), "weight")
		out = append(out, w)
	}
	return out
}
