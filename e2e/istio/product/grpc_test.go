package product

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/safestate/safestate/e2e/clients"
	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
	"github.com/safestate/safestate/e2e/istio/cluster"
)

// tensorStand is a stand whose versions speak gRPC: one and two, and the fallback.
type tensorStand struct {
	*stand
	one, two, small *fm.Server
	gate            *clients.GRPC
}

const tensorHost = "tensors.example.com"

func newTensorStand(t *testing.T) *tensorStand {
	t.Helper()
	g := &tensorStand{stand: newStand(t)}
	for version, at := range map[string]**fm.Server{"v1": &g.one, "v2": &g.two, "small": &g.small} {
		m, err := fm.Start(fm.Options{Version: version, FaultHeader: version == "v1"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		*at = m
	}
	g.serve()
	g.apply(tensorText(g, tensorServices+tensorOne+tensorRoute))
	g.gate = g.dial(g.port, tensorHost)
	g.until("the policy is at the gateway", g.gate, func(r clients.Reply) bool { return r.Meta("x-safestate-source") == "primary" })
	return g
}

func (g *tensorStand) dial(port int, authority string) *clients.GRPC {
	g.t.Helper()
	c, err := clients.DialGRPC(fmt.Sprintf("127.0.0.1:%d", port), grpc.WithAuthority(authority))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(c.Close)
	return c
}

// ask makes a call that fails as a fault says where version v1 answers it.
func ask(c *clients.GRPC, fault fm.Fault) clients.Reply {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if fault != fm.None {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-sample-fault", fault.String())
	}
	return c.Infer(ctx, clients.Message{Model: "tensors", ID: "r1"})
}

// until calls until a reply is as a condition wants it.
func (g *tensorStand) until(what string, c *clients.GRPC, holds func(clients.Reply) bool) {
	g.t.Helper()
	var last clients.Reply
	defer func() {
		if g.t.Failed() {
			g.t.Logf("the last reply: %+v", last)
			g.t.Logf("safestate: %s", g.safestate.Log())
		}
	}()
	dataplane.Eventually(g.t, patience, what, func() bool {
		last = ask(c, fm.None)
		return holds(last)
	})
}

// bad says what is wrong with a reply that is to have a source; empty: nothing.
func bad(r clients.Reply, source string) string {
	score, ok := r.Output("score")
	switch {
	case r.Code != codes.OK || r.Meta("x-safestate-source") != source || !ok || len(score.Values) == 0:
		return fmt.Sprintf("want an answer from %s; got %+v", source, r)
	}
	for _, v := range score.Values {
		if f, ok := v.(float64); !ok || math.IsNaN(f) {
			return fmt.Sprintf("its score is %v", v)
		}
	}
	return ""
}

// TestTensors: gRPC at a gateway and at a sidecar. Failures with a message and without
// are answered by the ladder, streams message by message, and what is no prediction
// passes untouched.
func TestTensors(t *testing.T) {
	g := newTensorStand(t)
	g.apply(tensorText(g, tensorSidecar))
	g.istiod.Sidecar(t, cluster.Workload{Namespace: "models", Name: "client", Labels: map[string]string{"app": "client"}})
	beside := g.dial(g.out, "tensors.models.svc.cluster.local:"+fmt.Sprint(g.out))
	g.until("the policy is at the sidecar", beside, func(r clients.Reply) bool { return r.Meta("x-safestate-source") == "primary" })
	for _, at := range []struct {
		name   string
		client *clients.GRPC
		source string
	}{{"gateway", g.gate, "fallback"}, {"sidecar", beside, "safe_default"}} {
		t.Run(at.name, func(t *testing.T) { g.rescues(t, at.client, at.source) })
	}
	// Envoy tries nothing again that it has sent nowhere.
	g.apply(tensorText(g, strings.Replace(tensorRoute, "breaker: {disabled: true}", "breaker: {failures: 3}", 1)))
	g.api.Admin.Delete(t, tensorText(g, g.filled(tensorOne)))
	g.until("a version that has no endpoints is answered from the ladder", g.gate, func(r clients.Reply) bool {
		return bad(r, "fallback") == "" && strings.HasPrefix(r.Meta("x-safestate-reason"), "breaker_open")
	})
}

// rescues holds where every kind of failure is answered by a source.
func (g *tensorStand) rescues(t *testing.T, c *clients.GRPC, source string) {
	t.Helper()
	for _, fault := range []fm.Fault{
		fm.C04NaNBitsFP32, fm.S04UnavailableForEver, fm.S04AfterHeaders, fm.S04HTTPStatus, fm.S05ResetBeforeHeaders, fm.S05StreamReset, fm.S06NeverAnswers, fm.C12EmptyBody,
	} {
		asked, laddered := g.one.Requests(), g.small.Requests()
		if why := bad(ask(c, fault), source); why != "" {
			t.Errorf("%s: %s", fault, why)
		}
		if n := g.one.Requests() - asked; n != 1 {
			t.Errorf("%s: the model was asked %d times", fault, n)
		}
		if n := g.small.Requests() - laddered; source == "fallback" && n != 1 {
			t.Errorf("%s: the fallback was asked %d times", fault, n)
		}
	}
	if why := bad(ask(c, fm.None), "primary"); why != "" {
		t.Error(why)
	}
	g.streams(t, c)
	if ok, err := c.Ready(t.Context(), "tensors"); !ok || err != nil {
		t.Errorf("ModelReady: %t, %v", ok, err)
	}
}

// streams: a stream is judged message by message, longer than any deadline of calls.
func (g *tensorStand) streams(t *testing.T, c *clients.GRPC) {
	t.Helper()
	messages := []clients.Message{{Model: "tensors", ID: "1"}, {Model: "tensors", ID: "2"}, {Model: "tensors", ID: "3"}}
	replies := c.Stream(t.Context(), messages...)
	if len(replies) != 4 || replies[3].Code != codes.OK {
		t.Fatalf("a stream of three: %+v", replies)
	}
	for i, r := range replies[:3] {
		if r.ID != messages[i].ID || r.Version != "v1" || len(r.Outputs) == 0 {
			t.Errorf("message %d: %+v", i, r)
		}
	}
	replies = c.Stream(metadata.AppendToOutgoingContext(t.Context(), "x-sample-fault", fm.C04NaNBitsFP32.String()+"@1"), messages...)
	if len(replies) != 4 || replies[3].Code != codes.OK || len(replies[0].Outputs) == 0 || len(replies[1].Outputs) != 0 || replies[1].Message == "" {
		t.Errorf("a NaN in the second message: %+v", replies)
	}
}

// TestTensorsRollback: a version that answers NaN over gRPC is taken back by the weights
// in the GRPCRoute, and no call fails.
func TestTensorsRollback(t *testing.T) {
	g := newTensorStand(t)
	var mu sync.Mutex
	var all, failed int
	var last string
	ending, running := make(chan struct{}), sync.WaitGroup{}
	count := func() {
		r := ask(g.gate, fm.None)
		why := bad(r, r.Meta("x-safestate-source"))
		mu.Lock()
		defer mu.Unlock()
		if all++; why != "" {
			failed, last = failed+1, why
		}
	}
	running.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ending:
				return
			case <-tick.C:
				running.Go(count)
			}
		}
	})
	defer func() {
		close(ending)
		running.Wait()
		if t.Logf("%d calls, %d failed", all, failed); failed > 0 || all == 0 {
			t.Errorf("%d of %d calls failed: %s", failed, all, last)
		}
	}()
	if out, err := g.run("rollout", "start", "models/tensors", "v2", "--reason", "a new version"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dataplane.Eventually(t, patience, "v2 gets traffic", func() bool { return g.two.Requests() > 20 })
	if w := g.tensorWeights(); len(w) != 2 || w[1] == 0 {
		t.Errorf("the weights are %v", w)
	}
	g.two.Set(fm.C04NaNBitsFP32, 0)
	dataplane.Eventually(t, patience, "the weights are back", func() bool { w := g.tensorWeights(); return len(w) == 2 && w[1] == 0 })
	dataplane.Eventually(t, patience, "v2 is asked no more", func() bool {
		asked := g.two.Requests()
		for range 100 {
			if r := ask(g.gate, fm.None); r.Meta("x-safestate-source") != "primary" {
				return false
			}
		}
		return g.two.Requests() == asked
	})
}

// tensorWeights are those of the GRPCRoute at the gateway.
func (g *tensorStand) tensorWeights() (out []int64) {
	g.t.Helper()
	o, err := g.api.Admin.Get(g.t.Context(), "gateway.networking.k8s.io/v1 GRPCRoute", "models", "tensors")
	if err != nil {
		g.t.Fatal(err)
	}
	rules, _, _ := unstructured.NestedSlice(o.Object, "spec", "rules")
	refs, _, _ := unstructured.NestedSlice(rules[0].(map[string]any), "backendRefs")
	for _, r := range refs {
		w, _, _ := unstructured.NestedInt64(r.(map[string]any), "weight")
		out = append(out, w)
	}
	return out
}

// TestTensorsKill: a KillSwitch stops a version over gRPC, and one a model, with
// safestate and without.
func TestTensorsKill(t *testing.T) {
	g := newTensorStand(t)
	g.apply(tensorText(g, strings.NewReplacer("weight: 100", "weight: 50", "weight: 0", "weight: 50",
		"mode: Enforce", "mode: Enforce\n  whenProcessorAway: Pass").Replace(tensorRoute)))
	g.until("v2 has half", g.gate, func(r clients.Reply) bool { return r.Version == "v2" })
	g.stopped("v1", "scope: Version, model: tensors, version: v1", "")
	asked := g.one.Requests()
	for range 50 {
		if why := bad(ask(g.gate, fm.None), "primary"); why != "" {
			t.Error(why)
		}
	}
	if n := g.one.Requests() - asked; n != 0 {
		t.Errorf("the killed version was asked %d times", n)
	}
	generation := g.stopped("all", "scope: Model, model: tensors", "")
	g.until("the ladder answers", g.gate, func(r clients.Reply) bool {
		return bad(r, "fallback") == "" && strings.HasPrefix(r.Meta("x-safestate-reason"), "killed")
	})
	g.safestate.Kill()
	asked = g.one.Requests() + g.two.Requests()
	for range 50 {
		if r := ask(g.gate, fm.None); r.Code != codes.Unavailable || r.Meta("x-safestate-reason") != "killed" {
			t.Errorf("without safestate: %+v", r)
		}
	}
	if n := g.one.Requests() + g.two.Requests() - asked; n != 0 {
		t.Errorf("the killed model was asked %d times", n)
	}
	g.serve()
	g.stopped("all", "scope: Model, model: tensors", fmt.Sprintf(", revive: {generation: %d, reason: the feed is back}", generation))
	g.until("v2 is back", g.gate, func(r clients.Reply) bool { return bad(r, "primary") == "" && r.Version == "v2" })
}

// stopped writes a KillSwitch, and returns its generation once it is applied; of one that
// revives, at once.
func (g *tensorStand) stopped(name, target, revive string) (generation int64) {
	g.t.Helper()
	g.apply(fmt.Sprintf(`
apiVersion: safestate.dev/v1alpha1
kind: KillSwitch
metadata: {name: %s, namespace: models}
spec: {target: {%s}, reason: scores are wrong%s}
`, name, target, revive))
	if revive != "" {
		return 0
	}
	dataplane.Eventually(g.t, patience, "the KillSwitch says so", func() bool {
		ask(g.gate, fm.None) // what a proxy routes by only its traffic shows
		o, err := g.api.Admin.Get(g.t.Context(), "safestate.dev/v1alpha1 KillSwitch", "models", name)
		if err != nil {
			return false
		}
		generation, _, _ = unstructured.NestedInt64(o.Object, "status", "generation")
		return strings.Contains(fmt.Sprint(cluster.Conditions(o)), "Applied=True")
	})
	return generation
}
