package install

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/e2e/istio/cluster"
	"github.com/safestate/safestate/internal/porttest"
)

const processors = "safestate-processor." + own + ".svc.cluster.local"

// meshed is a cell with istiod, a gateway and a model behind it.
type meshed struct {
	*cell
	istiod  *cluster.Istiod
	gateway string // its admin address
	port    int    // of the gateway
	model   *model
	dns     *names
	serving map[string]*pod   // processors by address
	images  map[string]string // that the pods were started from last
	next    int
	grpc    int // ports of the processors, which are alike for all
	answers int
}

func newMeshed(t *testing.T) *meshed {
	t.Helper()
	m := newGateway(t)
	for n := range 2 {
		m.control(n, "--processor", fmt.Sprintf("%s:%d", processors, m.grpc), "--answers-upstream", fmt.Sprintf("%s:%d", processors, m.answers))
	}
	for range 2 {
		m.addProcessor()
	}
	return m
}

// newGateway is that without safestate's pods.
func newGateway(t *testing.T) *meshed {
	t.Helper()
	m := &meshed{cell: newCell(t), port: porttest.Free(t), model: newModel(t), dns: newNames(t), serving: map[string]*pod{}, images: map[string]string{}, grpc: porttest.Free(t), answers: porttest.Free(t)}
	m.istiod = cluster.StartIstiod(t, m.api, cluster.IstiodOptions{})
	m.apply(served)
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for line := range strings.Lines(dataplane.Get("http://" + m.gateway + "/stats?usedonly")) {
			if strings.Contains(line, "ext_proc") || strings.Contains(line, "cluster.safestate_extproc.upstream") {
				t.Log(strings.TrimSpace(line))
			}
		}
	})
	m.gateway = startGateway(t, m.istiod, newAgent(t, m.mesh, "spiffe://cluster.local/ns/models/sa/default"), m.dns)
	return m
}

func (m *meshed) apply(text string) {
	m.t.Helper()
	m.api.Admin.Apply(m.t, "test", strings.NewReplacer("GATEWAY_PORT", fmt.Sprint(m.port), "MODEL_PORT", fmt.Sprint(m.model.port)).Replace(text))
}

// addProcessor starts a pod of the Deployment; it is in DNS when it is ready.
func (m *meshed) addProcessor() *pod {
	m.t.Helper()
	m.next++
	ip := fmt.Sprintf("127.0.9.%d", m.next)
	p := m.run("Deployment", "safestate-processor", fmt.Sprintf("safestate-processor-%d", m.next),
		"--grpc", fmt.Sprintf("%s:%d", ip, m.grpc), "--answers", fmt.Sprintf("%s:%d", ip, m.answers))
	m.serving[ip] = p
	m.publish()
	return p
}

// processors are those that serve, by their addresses' order.
func (m *meshed) processors() (out []*pod) {
	for _, ip := range slices.Sorted(maps.Keys(m.serving)) {
		out = append(out, m.serving[ip])
	}
	return out
}

func (m *meshed) publish() {
	m.dns.set(processors, slices.Sorted(maps.Keys(m.serving))...)
}

// endProcessor takes a pod out as Kubernetes does: out of DNS first, then the hook
// before the end, then SIGTERM.
func (m *meshed) endProcessor(p *pod) {
	m.t.Helper()
	for ip, one := range m.serving {
		if one == p {
			delete(m.serving, ip)
		}
	}
	m.publish()
	leave, _ := find(m.t, m.objects, "Deployment", "safestate-processor").at("spec", "template", "spec", "containers", 0, "lifecycle", "preStop", "sleep", "seconds").(float64)
	over := time.Now().Add(time.Duration(leave) * time.Second)
	dataplane.Eventually(m.t, patience, "the hook is over", func() bool { return time.Now().After(over) })
	m.stop(p)
}

const served = `
apiVersion: v1
kind: Service
metadata: {name: gw, namespace: models}
spec: {selector: {app: gw}, ports: [{name: http, port: 80, targetPort: GATEWAY_PORT}]}
---
apiVersion: v1
kind: Service
metadata: {name: fraud-v1, namespace: models}
spec: {selector: {model: fraud}, ports: [{name: http, port: 80, targetPort: 8000}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: v1, namespace: models}
spec: {address: 127.0.0.1, labels: {model: fraud}, ports: {http: MODEL_PORT}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: public, namespace: models}
spec:
  gatewayClassName: istio
  addresses: [{type: Hostname, value: gw.models.svc.cluster.local}]
  listeners:
  - {name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: fraud, namespace: models}
spec:
  parentRefs: [{name: public}]
  hostnames: [fraud.example.com]
  rules:
  - matches: [{path: {type: PathPrefix, value: /v2/models/fraud}}]
    backendRefs: [{name: fraud-v1, port: 80}]
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: fraud, namespace: models}
spec: {protocol: OpenInferenceV2, versions: [{name: v1, backendRef: {name: fraud-v1, port: 80}}]}
`

// guarded waits until the policy is in force.
func (m *meshed) guarded() {
	m.t.Helper()
	m.until("the policy is in force", "primary")
}

func (m *meshed) until(what, source string) {
	m.t.Helper()
	last := ""
	defer func() {
		if m.t.Failed() {
			m.t.Log("the last answer: ", last)
		}
	}()
	dataplane.Eventually(m.t, patience, what, func() bool {
		var err error
		if last, err = infer(m.port, false); err != nil {
			last = err.Error()
		}
		return strings.HasPrefix(last, source)
	})
}
