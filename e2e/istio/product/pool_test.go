package product

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/e2e/istio/cluster"
)

// pools are the versions of a model as InferencePools with one picker, in the place of
// their Services.
const pools = `
apiVersion: v1
kind: Service
metadata: {name: picker, namespace: models}
spec: {selector: {app: picker}, ports: [{name: grpc, port: 9002, targetPort: 9002}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: picker, namespace: models}
spec: {address: 127.0.0.1, labels: {app: picker}, ports: {grpc: PICKER_PORT}}
---
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: fraud-v1, namespace: models}
spec:
  selector: {matchLabels: {pool: fraud-v1}}
  targetPorts: [{number: 8000}, {number: 8001}]
  endpointPickerRef: {name: picker, port: {number: 9002}}
---
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: fraud-v2, namespace: models}
spec:
  selector: {matchLabels: {pool: fraud-v2}}
  targetPorts: [{number: 8000}]
  endpointPickerRef: {name: picker, port: {number: 9002}}
`

const routeToPools = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: fraud, namespace: models}
spec:
  parentRefs: [{name: public}]
  hostnames: [fraud.example.com]
  rules:
  - matches: [{path: {type: PathPrefix, value: /v2/models/fraud}}]
    backendRefs:
    - {group: inference.networking.k8s.io, kind: InferencePool, name: fraud-v1, weight: 100}
    - {group: inference.networking.k8s.io, kind: InferencePool, name: fraud-v2, weight: 0}
`

// plainRoute leads to the pools without a policy.
const plainRoute = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: plain, namespace: models}
spec:
  parentRefs: [{name: public}]
  hostnames: [plain.example.com]
  rules:
  - backendRefs:
    - {group: inference.networking.k8s.io, kind: InferencePool, name: fraud-v1, weight: 50}
    - {group: inference.networking.k8s.io, kind: InferencePool, name: fraud-v2, weight: 50}
`

// secondPicker gives the second pool a picker of its own.
const secondPicker = `
---
apiVersion: v1
kind: Service
metadata: {name: second-picker, namespace: models}
spec: {selector: {app: second-picker}, ports: [{name: grpc, port: 9002, targetPort: 9002}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: second-picker, namespace: models}
spec: {address: 127.0.0.1, labels: {app: second-picker}, ports: {grpc: PICKER_PORT}}
---
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: fraud-v2, namespace: models}
spec:
  selector: {matchLabels: {pool: fraud-v2}}
  targetPorts: [{number: 8000}]
  endpointPickerRef: {name: second-picker, port: {number: 9002}}
`

// served are the servers of a pool, as Kubernetes' own controller has it for the Service
// that istiod makes of the pool.
const served = `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %s, namespace: models, labels: {kubernetes.io/service-name: %s}}
addressType: IPv4
endpoints: [{addresses: ["%s"], conditions: {ready: true}}]
ports: [{name: http-0, port: %d, protocol: TCP}, {name: http-1, port: %d, protocol: TCP}]
`

// pooled is a stand whose versions are InferencePools, the first with two servers: on two
// ports, since istiod takes one endpoint of an address and port's name.
type pooled struct {
	*stand
	picker *picker
	ip     string
	other  *model // second server of v1
}

func newPooled(t *testing.T) *pooled {
	t.Helper()
	s := newStandOf(t, cluster.IstiodOptions{Env: map[string]string{"ENABLE_GATEWAY_API_INFERENCE_EXTENSION": "true"}},
		func(testing.TB) []string { return []string{filepath.Join("testdata", "inferencepools.yaml")} })
	p := &pooled{stand: s, ip: ownAddress(t)}
	p.v1, p.other, p.v2 = newModelAt(t, "v1", p.ip), newModelAt(t, "v1-other", p.ip), newModelAt(t, "v2", p.ip)
	p.picker = newPicker(t, p.at(p.v1))
	p.apply(p.pools())
	p.apply(routeToPools)
	p.apply(fmt.Sprintf(served, "v1", p.serviceOf("fraud-v1"), p.ip, p.v1.port, p.other.port))
	p.apply(fmt.Sprintf(served, "v2", p.serviceOf("fraud-v2"), p.ip, p.v2.port, p.v2.port))
	return p
}

// pools are the objects with the picker's port.
func (p *pooled) pools() string {
	return strings.NewReplacer("PICKER_PORT", fmt.Sprint(p.picker.port)).Replace(pools)
}

// ownAddress is one of this machine's that is not loopback: an EndpointSlice takes no
// other.
func ownAddress(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	t.Fatalf("of %v none is an IPv4 address that an EndpointSlice takes", all)
	return ""
}

func newModelAt(t *testing.T, name, ip string) *model {
	t.Helper()
	m := &model{name: name}
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: m, ReadHeaderTimeout: patience}}
	server.Start()
	t.Cleanup(server.Close)
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("no TCP address: %v", l.Addr())
	}
	m.port = address.Port
	return m
}

// serviceOf waits for the Service that istiod makes of a pool.
func (p *pooled) serviceOf(pool string) (name string) {
	p.t.Helper()
	l := &unstructured.UnstructuredList{}
	l.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "ServiceList"})
	dataplane.Eventually(p.t, patience, "a Service for the pool "+pool, func() bool {
		err := p.api.Admin.Client.List(p.t.Context(), l, kube.InNamespace("models"), kube.MatchingLabels{"istio.io/inferencepool-name": pool})
		return err == nil && len(l.Items) == 1
	})
	return l.Items[0].GetName()
}

// at is the endpoint of a model's server.
func (p *pooled) at(m *model) string { return fmt.Sprintf("%s:%d", p.ip, m.port) }

// poolPolicy is policy with pools.
var poolPolicy = strings.NewReplacer(
	"backendRef: {name: fraud-v1, port: OUT_PORT}", "backendRef: {kind: InferencePool, name: fraud-v1, port: 8000}",
	"backendRef: {name: fraud-v2, port: OUT_PORT}", "backendRef: {kind: InferencePool, name: fraud-v2, port: 8000}",
).Replace(policy)

// TestPool: versions that are InferencePools. Their picker says which server a request
// goes to, safestate judges what comes back, and moves the weights between the pools.
func TestPool(t *testing.T) {
	p := newPooled(t)
	p.serve()
	p.apply(poolPolicy)
	p.until("the policy is at the gateway", func(a answer) bool { return a.source == "primary" && a.version == "v1" })
	for _, part := range []struct {
		name string
		do   func(*pooled)
	}{
		{"order", func(p *pooled) { p.ordered([]string{"envoy.filters.http.ext_proc"}, nil) }},
		{"picked", (*pooled).picked},
		{"rescued", (*pooled).rescued},
		{"refused", (*pooled).refused},
		{"killed", (*pooled).killed},
		{"rolled out and back", (*pooled).rolled},
		{"a picker each", (*pooled).pickers},
		{"killed under a rollout", (*pooled).shifted},
		{"picker away", (*pooled).away},
	} {
		p.part(part.name, func(s *stand) { part.do(p.of(s)) })
	}
}

func (p *pooled) of(s *stand) *pooled {
	out := *p
	out.stand = s
	return &out
}

// picked: requests go to whom the picker names, and it hears who answered.
func (p *pooled) picked() {
	for _, m := range []*model{p.other, p.v1, p.other} {
		p.picker.picks(p.at(m))
		p.picker.seen()
		before := m.asked.Load()
		for range 10 {
			if a := p.infer(); a.source != "primary" || a.version != "v1" {
				p.t.Errorf("%s", a)
			}
		}
		n, served, _ := p.picker.seen()
		if got := m.asked.Load() - before; got != 10 || n != 10 {
			p.t.Errorf("%s, which was picked, had %d of 10 requests, the picker %d", m.name, got, n)
		}
		if len(served) != 10 || slices.ContainsFunc(served, func(s string) bool { return s != p.at(m) }) {
			p.t.Errorf("the picker was told that they were served by %v", served)
		}
	}
	p.picker.mu.Lock()
	defer p.picker.mu.Unlock()
	for name := range p.picker.headers { // what our filters add comes behind it
		if strings.HasPrefix(name, "x-safestate-") || name == "x-envoy-upstream-rq-timeout-ms" || name == "accept-encoding" && slices.Contains(p.picker.headers[name], "identity") {
			p.t.Errorf("the picker saw %s: our filters ran in front of it", name)
		}
	}
}

// rescued: a NaN of the server that was picked is answered by the ladder, and that is
// the answer that the picker sees.
func (p *pooled) rescued() {
	p.picker.picks(p.at(p.other))
	p.other.nan.Store(true)
	defer p.other.nan.Store(false)
	p.picker.seen()
	if a := p.infer(); a.nan() || a.source != "safe_default" || a.status != http.StatusOK {
		p.t.Errorf("a NaN: %s", a)
	}
	if _, _, statuses := p.picker.seen(); !slices.Equal(statuses, []string{"200", "safe_default"}) {
		p.t.Errorf("the picker saw %q", statuses)
	}
	p.picker.picks(p.at(p.v1))
	if a := p.infer(); a.source != "primary" {
		p.t.Errorf("the other server is well: %s", a)
	}
}

// refused: what the picker refuses stays so, and is no bad answer of the model.
func (p *pooled) refused() {
	p.picker.picks("")
	defer p.picker.picks(p.at(p.v1))
	p.theirs(http.StatusTooManyRequests, "no room", p.infer)
}

// rolled: a release moves the weights between the pools, and back where the new one
// answers badly. istiod asks one picker for the rule, which names servers of both pools:
// the proxy takes the first that is of the pool it has drawn.
func (p *pooled) rolled() {
	p.picker.picks(p.at(p.other) + "," + p.at(p.v2))
	load := p.load(100)
	p.rollout("50,1m", "100")
	first, before := p.v1.asked.Load(), p.v2.asked.Load()
	dataplane.Eventually(p.t, patience, "v2 gets traffic", func() bool { return p.v2.asked.Load() > before+20 })
	if now := p.v1.asked.Load(); now > first {
		p.t.Errorf("v1's other server was asked %d times, which nobody picked", now-first)
	}
	took := p.rollback()
	p.t.Logf("back after %s: %v", took, p.weights())
	p.unharmed(load)
}

// killed: a KillSwitch of a version that is a pool stops it behind the picker, which
// still names a server of it.
func (p *pooled) killed() {
	p.picker.picks(p.at(p.v1))
	p.kill(v1)
	last := p.until("the version is killed", func(a answer) bool { return a.source == "safe_default" && strings.HasPrefix(a.reason, "killed") })
	p.t.Log(last)
	p.silent(func() bool { return p.infer().source == "safe_default" })
	p.revive(v1)
	p.until("the version is back", func(a answer) bool { return a.source == "primary" })
}

// silent fails where v1 is asked by any of some requests, or one is not as it should be.
func (p *pooled) silent(ask func() bool) {
	p.t.Helper()
	asked := p.v1.asked.Load() + p.other.asked.Load()
	for range 20 {
		if !ask() {
			p.t.Error("a request was answered in another way")
		}
	}
	if now := p.v1.asked.Load() + p.other.asked.Load(); now != asked {
		p.t.Errorf("what is killed was asked %d times", now-asked)
	}
}

// shifted: a kill under a rollout gives all traffic to the other pool, where the proxy
// leaves alone what the picker names of the killed one. Weights that somebody writes over
// it give it none.
func (p *pooled) shifted() {
	p.picker.picks(p.at(p.v1))
	p.kill(v1)
	p.routed(p.serviceOf("fraud-v2"), 100)
	p.until("the other version answers", func(a answer) bool { return a.source == "primary" && a.version == "v2" })
	p.silent(func() bool { a := p.infer(); return a.source == "primary" && a.version == "v2" })
	p.applyAs("alice", routeToPools)
	p.routed(p.serviceOf("fraud-v1"), 100)
	p.silent(func() bool { return p.infer().source == "safe_default" })
	p.revive(v1)
	p.until("the version is back", func(a answer) bool { return a.source == "primary" })
}

// pickers: where each pool has its own, istiod asks that of the last backendRef with a
// weight, for all requests of the rule: those of the other pool are spread evenly, and
// all are refused where it refuses.
func (p *pooled) pickers() {
	p.command("rollout", "start", "models/fraud", "v2", "--reason", "again", "--again", "--step", "50,10m", "--step", "100")
	p.routed(p.serviceOf("fraud-v2"), 50)
	second := newPicker(p.t, p.at(p.v2))
	p.apply(strings.NewReplacer("PICKER_PORT", fmt.Sprint(second.port)).Replace(secondPicker))
	dataplane.Eventually(p.t, patience, "the second picker is asked", func() bool {
		p.infer()
		n, _, _ := second.seen()
		return n > 0
	})
	p.picker.seen()
	from := [2]int64{p.v1.asked.Load(), p.other.asked.Load()}
	for range 60 {
		if a := p.infer(); a.source != "primary" {
			p.t.Errorf("%s", a)
		}
	}
	n, _, _ := p.picker.seen()
	m, _, _ := second.seen()
	spread := [2]int64{p.v1.asked.Load() - from[0], p.other.asked.Load() - from[1]}
	p.t.Logf("the first picker was asked %d times, the second %d; v1's servers had %v", n, m, spread)
	if n != 0 || m != 60 || spread[0] == 0 || spread[1] == 0 {
		p.t.Errorf("the first picker was asked %d times, the second %d; v1's servers had %v", n, m, spread)
	}
	second.picks("")
	p.theirs(http.StatusTooManyRequests, "no room", p.infer)
	p.apply(p.pools())
	dataplane.Eventually(p.t, patience, "the first picker is asked", func() bool {
		p.infer()
		n, _, _ := p.picker.seen()
		return n > 0
	})
}

// away: what the proxy answers without the picker stays its own, on a route with a
// policy as on one without: a pool that fails closed answers nobody, and one that fails
// open what has no body.
func (p *pooled) away() {
	p.apply(plainRoute)
	metadata := func(host string) answer { return call(http.MethodGet, p.port, host, "/v2/models/fraud", "") }
	plain := func() answer { return infer(p.port, "plain.example.com") }
	dataplane.Eventually(p.t, patience, "the route without a policy", func() bool { return plain().status == http.StatusOK })
	p.picker.stop()
	want := p.until("the picker is missed", func(a answer) bool { return a.status >= 500 })
	p.theirs(want.status, want.body, p.infer)
	if got := plain(); got.status != want.status || got.body != want.body {
		p.t.Errorf("without a policy: %s, with one: %s", got, want)
	}
	p.apply(strings.ReplaceAll(p.pools(), "port: {number: 9002}", "port: {number: 9002}, failureMode: FailOpen"))
	dataplane.Eventually(p.t, patience, "it fails open", func() bool {
		return metadata("plain.example.com").status == http.StatusOK && metadata(host).status == http.StatusOK
	})
	if with, without := p.infer(), plain(); with.status != without.status || with.source != "" {
		p.t.Errorf("a request with a body: %s, without a policy %s", with, without)
	}
}
