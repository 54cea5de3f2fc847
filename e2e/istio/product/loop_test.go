package product

import (
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/e2e/istio/cluster"
)

// TestLoop: a policy that is applied by kubectl rescues an answer at the gateway.
func TestLoop(t *testing.T) {
	s := newStand(t)
	s.serve()
	s.apply(policy)
	s.until("the policy is at the gateway", func(a answer) bool { return a.source == "primary" && a.version == "v1" })
	if a := call("GET", s.port, host, "/v2/models/fraud", ""); a.status != 200 || a.source != "" {
		t.Errorf("metadata: %s", a)
	}
	s.v1.nan.Store(true)
	if a := s.infer(); a.nan() || a.source != "safe_default" {
		t.Errorf("a NaN: %s", a)
	}
	dataplane.Eventually(t, patience, "policy and route say so", func() bool {
		s.infer()
		p, err := s.api.Admin.Get(t.Context(), "safestate.dev/v1alpha1 FailSafePolicy", "models", "fraud")
		r, err2 := s.api.Admin.Get(t.Context(), "gateway.networking.k8s.io/v1 HTTPRoute", "models", "fraud")
		if err != nil || err2 != nil {
			return false
		}
		policy, route := fmt.Sprint(p.Object["status"]), fmt.Sprint(r.Object["status"])
		return strings.Contains(policy, "all 1 proxies that had any lately show it") && strings.Contains(route, "FailSafePolicyAffected") &&
			strings.Contains(route, "istio.io/gateway-controller") // istiod's own entry is there still
	})
	s.v1.nan.Store(false)
	dataplane.Eventually(t, patience, "the model answers again", func() bool { return s.infer().source == "primary" })
	t.Log(s.weights())
}

var runs = flag.Int("runs", 1, "rollbacks that TestRollback makes and measures")

// TestRollback: a version that is rolled out answers NaN, and the weights in somebody's
// HTTPRoute go back by themselves. It prints how long it was from the first bad answer
// to the last request to that version.
func TestRollback(t *testing.T) {
	s := newStand(t)
	s.serve()
	s.apply(policy)
	s.until("the policy is at the gateway", func(a answer) bool { return a.source == "primary" })
	load := s.load(200)
	var took []time.Duration
	for n := range *runs {
		args := []string{"rollout", "start", "models/fraud", "v2", "--reason", "a new version"}
		if n > 0 {
			args = append(args, "--again")
		}
		if out, err := s.run(args...); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		from := s.v2.asked.Load()
		dataplane.Eventually(t, patience, "v2 gets traffic", func() bool { return s.v2.asked.Load() > from+20 })
		took = append(took, s.rollback())
	}
	slices.Sort(took)
	t.Logf("from the first bad answer to the last request, %d runs: median %s, %s to %s",
		len(took), took[len(took)/2].Round(time.Millisecond), took[0].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	counts := load.stop()
	t.Log(counts)
	if counts.failed > 0 || counts.nan > 0 {
		t.Errorf("callers saw %d failures and %d NaN of %d: %s", counts.failed, counts.nan, counts.all, counts.last)
	}
}

// rollback breaks v2 and waits until nobody asks it any more.
func (s *stand) rollback() time.Duration {
	s.t.Helper()
	s.v2.firstNaN.Store(0)
	s.v2.nan.Store(true)
	defer s.v2.nan.Store(false)
	dataplane.Eventually(s.t, patience, "the weights are back", func() bool {
		w := s.weights()
		return len(w) == 2 && w[1] == 0
	})
	dataplane.Eventually(s.t, patience, "v2 is asked no more", func() bool {
		return time.Since(time.Unix(0, s.v2.lastAsked.Load())) > 2*time.Second
	})
	return time.Duration(s.v2.lastAsked.Load() - s.v2.firstNaN.Load())
}

// TestKill: a KillSwitch stops a version at once, and its revive brings it back.
func TestKill(t *testing.T) {
	s := newStand(t)
	s.serve()
	s.apply(policy)
	s.until("the policy is at the gateway", func(a answer) bool { return a.source == "primary" })
	began := time.Now()
	s.apply(`
apiVersion: safestate.dev/v1alpha1
kind: KillSwitch
metadata: {name: v1, namespace: models}
spec: {target: {scope: Version, model: fraud, version: v1}, reason: scores are wrong}
`)
	s.until("the version is killed", func(a answer) bool { return a.source == "safe_default" && strings.HasPrefix(a.reason, "killed") })
	t.Log("killed after", time.Since(began))
	var o *unstructured.Unstructured
	dataplane.Eventually(t, patience, "the KillSwitch says so", func() bool {
		s.infer() // what a proxy routes by only its traffic shows
		var err error
		o, err = s.api.Admin.Get(t.Context(), "safestate.dev/v1alpha1 KillSwitch", "models", "v1")
		return err == nil && strings.Contains(fmt.Sprint(cluster.Conditions(o)), "Applied=True")
	})
	t.Log(o.Object["status"])
	// The processor is gone: the proxy alone stops what is killed.
	s.safestate.Kill()
	asked := s.v1.asked.Load()
	for range 20 {
		if a := s.infer(); a.source != "safe_default" {
			t.Errorf("without safestate: %s", a)
		}
	}
	if now := s.v1.asked.Load(); now != asked {
		t.Errorf("the killed version was asked %d times", now-asked)
	}
	s.serve()
	generation, _, _ := unstructured.NestedInt64(o.Object, "status", "generation")
	s.apply(fmt.Sprintf(`
apiVersion: safestate.dev/v1alpha1
kind: KillSwitch
metadata: {name: v1, namespace: models}
spec: {target: {scope: Version, model: fraud, version: v1}, reason: scores are wrong, revive: {generation: %d, reason: the feed is back}}
`, generation))
	s.until("the version is back", func(a answer) bool { return a.source == "primary" })
}

// TestSidecar: the callers' sidecars carry the policy of a route whose parent is the
// Service.
func TestSidecar(t *testing.T) {
	s := newStand(t)
	s.serve()
	s.apply(policy)
	s.apply(sidecar)
	s.istiod.Sidecar(t, cluster.Workload{Namespace: "models", Name: "client", Labels: map[string]string{"app": "client"}})
	s.rescues(s.out, "fraud.models.svc.cluster.local")
	s.rescues(s.port, host)
}

// TestVirtualService: routes of Istio's own kind, and versions that are subsets.
func TestVirtualService(t *testing.T) {
	s := newStand(t)
	s.serve()
	s.apply(virtualService)
	s.istiod.Sidecar(t, cluster.Workload{Namespace: "models", Name: "client", Labels: map[string]string{"app": "client"}})
	s.rescues(s.classic, "classic.example.com")
	s.rescues(s.out, "fraud.models.svc.cluster.local")
	if out, err := s.run("rollout", "start", "models/fraud", "v2", "--reason", "a new version", "--step", "50,1m", "--step", "100"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dataplane.Eventually(t, patience, "v2 gets traffic", func() bool {
		infer(s.classic, "classic.example.com")
		return s.v2.asked.Load() > 5
	})
}

// TestChat: a completion that fails is answered by the ladder, to which the request's
// route leads then.
func TestChat(t *testing.T) {
	s := newStand(t)
	s.serve()
	s.apply(chat)
	ask := func() answer {
		return call(http.MethodPost, s.port, "chat.example.com", "/v1/chat/completions", `{"model":"chat","messages":[{"role":"user","content":"Hi"}]}`)
	}
	var last answer
	defer func() { t.Log(last) }()
	dataplane.Eventually(t, patience, "the policy is at the gateway", func() bool { last = ask(); return last.source == "primary" })
	s.v1.nan.Store(true)
	dataplane.Eventually(t, patience, "a failed completion is answered", func() bool {
		last = ask()
		return last.source == "safe_default" && strings.Contains(last.body, "Not now.")
	})
}

// rescues: NaN at a port is answered by the ladder, and metadata are not touched.
func (s *stand) rescues(port int, host string) {
	s.t.Helper()
	var last answer
	defer func() { s.t.Log(port, host, last) }()
	dataplane.Eventually(s.t, patience, "the policy is at "+host, func() bool { last = infer(port, host); return last.source == "primary" && last.version == "v1" })
	s.v1.nan.Store(true)
	if last = infer(port, host); last.nan() || last.source != "safe_default" {
		s.t.Errorf("a NaN: %s", last)
	}
	s.v1.nan.Store(false)
	if last = call(http.MethodGet, port, host, "/v2/models/fraud", ""); last.status != http.StatusOK || last.source != "" {
		s.t.Errorf("metadata: %s", last)
	}
}

// TestWASM: the filter inside the proxy judges by itself, as on any route.
func TestWASM(t *testing.T) {
	s := newStand(t)
	s.serve("--wasm-module", dataplane.Module(t))
	s.apply(strings.Replace(policy, "  mode: Enforce\n", "  mode: Enforce\n  host: WASM\n", 1))
	s.rescues(s.port, host)
	s.safestate.Kill() // it is not asked
	s.rescues(s.port, host)
}
