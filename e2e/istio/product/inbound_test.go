package product

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/e2e/istio/cluster"
	"github.com/safestate/safestate/internal/porttest"
)

// atModel has the workloads of v1 behind a sidecar, which calls models as well. Nothing
// intercepts connections here, so its port is the one that everybody asks.
const atModel = `
apiVersion: v1
kind: Service
metadata: {name: fraud-v1, namespace: models}
spec: {selector: {model: fraud, version: v1}, ports: [{name: http, port: OUT_PORT, targetPort: IN_PORT}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: v1, namespace: models}
spec: {address: 127.0.0.1, labels: {model: fraud, version: v1}, ports: {http: IN_PORT}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: fraud-v1, namespace: models}
spec:
  workloadSelector: {labels: {model: fraud, version: v1}}
  ingress:
  - {bind: 127.0.0.1, captureMode: NONE, port: {number: IN_PORT, protocol: HTTP, name: http}, defaultEndpoint: "127.0.0.1:V1_PORT"}
  egress:
  - {bind: 127.0.0.1, captureMode: NONE, port: {number: OUT_PORT, protocol: HTTP, name: http}, hosts: ["*/*"]}
---
`

const besideModel = ", {group: safestate.dev, kind: Model, name: fraud, sectionName: v1}]"

// TestInbound: a policy that names the Model as well holds at the model's own sidecar,
// for whoever comes there by no proxy with a policy, and for nobody else.
func TestInbound(t *testing.T) {
	s := newStand(t)
	in := porttest.Free(t)
	s.serve()
	s.apply(strings.ReplaceAll(atModel, "IN_PORT", fmt.Sprint(in)))
	both := strings.Replace(policy, "name: fraud}]", "name: fraud}"+besideModel, 1)
	s.apply(both)
	_, routes, _ := strings.Cut(sidecar, "---") // for callers: without their Sidecar
	s.apply(routes)
	own := s.istiod.Sidecar(t, cluster.Workload{Namespace: "models", Name: "fraud-v1", Labels: map[string]string{"model": "fraud", "version": "v1"}})
	outside := func() answer { return infer(in, "outside.example.com") }
	var last answer
	defer func() {
		if t.Failed() {
			t.Logf("the last answer: %s", last)
			t.Logf("safestate: %s", s.safestate.Log())
			t.Logf("the model's sidecar: %s", own.Dump(t, "resource=dynamic_listeners"))
		}
	}()
	dataplane.Eventually(t, patience, "the policy is at the model", func() bool { last = outside(); return last.source == "primary" && last.version == "v1" })
	s.until("the policy is at the gateway", func(a answer) bool { return a.source == "primary" })
	callers := func() answer { return infer(s.out, "fraud.models.svc.cluster.local") }
	dataplane.Eventually(t, patience, "the policy is at the callers' sidecars", func() bool { last = callers(); return last.source == "primary" })
	if last = call(http.MethodGet, in, "outside.example.com", "/v2/models/fraud", ""); last.status != 200 || last.source != "" {
		t.Errorf("metadata: %s", last)
	}

	s.v1.nan.Store(true)
	if last = outside(); last.nan() || last.source != "safe_default" {
		t.Errorf("a NaN for a caller outside: %s", last)
	}
	judged := s.judgedInbound()
	for _, ask := range []func() answer{s.infer, callers} {
		if last = ask(); last.nan() || last.source != "safe_default" {
			t.Errorf("a NaN for a caller with a policy of its own: %s", last)
		}
	}
	if now := s.judgedInbound(); now != judged || judged == "" {
		t.Errorf("what another line has judged is judged again: %q, then %q", judged, now)
	}
	s.v1.nan.Store(false)
	s.carries("FailSafePolicy", "fraud", "carried by Gateway models/public: the requests of all 1 proxies", "carried by the sidecars of Service models/fraud-v1: the requests of all 1 proxies")
	s.carries("FailSafePolicy", "fraud-mesh", "carried by the callers' sidecars: ")

	s.apply(stopsV1)
	dataplane.Eventually(t, patience, "a caller outside meets the kill", func() bool {
		last = outside()
		return last.source == "safe_default" && strings.HasPrefix(last.reason, "killed")
	})
	dataplane.Eventually(t, patience, "the kill is at all proxies", func() bool {
		s.infer()
		callers()
		outside()
		o, err := s.api.Admin.Get(t.Context(), "safestate.dev/v1alpha1 KillSwitch", "models", "v1")
		return err == nil && strings.Contains(fmt.Sprint(cluster.Conditions(o)), "Applied=True")
	})
	s.safestate.Kill()
	asked := s.v1.asked.Load()
	for range 20 {
		if last = outside(); last.status == 200 && last.source != "safe_default" {
			t.Errorf("a killed version answers without safestate: %s", last)
		}
	}
	if now := s.v1.asked.Load(); now != asked {
		t.Errorf("a killed version was asked %d times without safestate", now-asked)
	}
	if n := own.Rejected(); n != 0 {
		t.Errorf("the model's sidecar refused %d updates", n)
	}

	s.serve()
	s.apply(policy)
	dataplane.Eventually(t, patience, "without the target the model is not judged at its own sidecar", func() bool {
		last = outside()
		return last.status == 200 && last.source == "" && strings.Contains(last.body, "0.25")
	})
}

const stopsV1 = `
apiVersion: safestate.dev/v1alpha1
kind: KillSwitch
metadata: {name: v1, namespace: models}
spec: {target: {scope: Version, model: fraud, version: v1}, reason: scores are wrong}
`

// judgedInbound is what safestate has counted at the model's own sidecar.
func (s *stand) judgedInbound() string {
	_, body := get("http://" + s.http + "/metrics")
	var out strings.Builder
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "safestate_prediction_served_total") && strings.Contains(line, ":inbound") {
			out.WriteString(line)
		}
	}
	return out.String()
}

// carries waits until an object's status has all texts.
func (s *stand) carries(kind, name string, texts ...string) {
	s.t.Helper()
	status := ""
	defer func() {
		if s.t.Failed() {
			s.t.Logf("%s %s: %s", kind, name, status)
		}
	}()
	dataplane.Eventually(s.t, patience, kind+" "+name+" says where it is", func() bool {
		s.infer()
		o, err := s.api.Admin.Get(s.t.Context(), "safestate.dev/v1alpha1 "+kind, "models", name)
		if err != nil {
			return false
		}
		status = fmt.Sprint(o.Object["status"])
		for _, text := range texts {
			if !strings.Contains(status, text) {
				return false
			}
		}
		return true
	})
}
