package kill

import (
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/kill"
)

// patiently is for a proof that has to come.
const patiently = "60s"

// TestProof: once `safestate kill --wait` has returned 0 nothing reaches what is
// killed, by the model's own account, whatever was under way; and as long as
// something may it does not return 0.
func TestProof(t *testing.T) {
	p := newProving(t)
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"versions under load", p.underLoad},
		{"a model, and a worker that is behind", p.workerBehind},
		{"a model, and a proxy that is cut off", p.cutOff},
		{"a model, and no control plane", p.breakGlass},
		{"everything, and a cold start", p.coldStart},
	} {
		if !t.Run(part.name, part.run) {
			return // what follows begins where this should have ended
		}
	}
}

// kill stops something, and returns when the command has.
func (p *proving) kill(args ...string) (returned time.Time) {
	p.t.Helper()
	out := p.control.does(append([]string{"kill", "--reason", "wrong answers", "--wait", patiently}, args...)...)
	returned = time.Now()
	if !strings.Contains(out, "PROVEN") || !strings.Contains(out, whole) || !strings.Contains(out, own) {
		p.t.Errorf("exit code 0, and the proof is\n%s", out)
	}
	return returned
}

// unasked fails the test where what is killed was asked after the command returned.
func (p *proving) unasked(name string, x *target, returned time.Time) {
	p.t.Helper()
	if last := time.Unix(0, x.last.Load()); last.After(returned) {
		p.t.Errorf("%s: a request reached what is killed %v after the command returned", name, last.Sub(returned))
	}
}

// on runs what follows as part of a subtest.
func (p *proving) on(t *testing.T) (undo func()) {
	before, half := p.t, p.control.t
	p.t, p.control.t = t, t
	return func() { p.t, p.control.t = before, half }
}

// restart starts safestate again, for the parts that follow too.
func (p *proving) restart() {
	p.t.Helper()
	before := p.control.t
	p.control.t = p.top
	p.control.start()
	p.control.t = before
}

// underLoad: slow requests are at the model, Envoy tries again what fails, streams are
// open, and calls.
func (p *proving) underLoad(t *testing.T) {
	defer p.on(t)()
	c := newCrowd(t, p)
	for _, r := range p.rows {
		x := p.second[r.name]
		dataplane.Eventually(t, soon, r.name+" is busy", func() bool {
			return x.slow.Load() > 0 && (r.name == "grpc-answer" || x.failed.Load() > 0) && (r.name != "chat" || x.streams.Load() >= 2)
		})
	}
	open, returned := int64(0), map[string]time.Time{}
	for _, r := range p.rows {
		if x := p.second[r.name]; r.name == "chat" {
			x.silent.Store(true) // nothing that passes ends a stream
			open = x.streams.Load()
		}
		returned[r.name] = p.kill(r.name + "/v2")
	}
	c.judged()
	c.more(t, *requests)
	c.unjudged(t)
	c.end()
	for _, r := range p.rows {
		x := p.second[r.name]
		p.unasked(r.name, x, returned[r.name])
		dataplane.Eventually(t, soon, "nothing is open at "+r.name, func() bool { return x.slow.Load()+x.streams.Load() == 0 })
	}
	if cut := c.cut.Load(); cut < open {
		t.Errorf("%d streams were open at what was killed, and %d ended with an event that says so", open, cut)
	}
}

// workerBehind: an Envoy has acknowledged the kill, and one of its workers has not
// applied it. It holds requests that it took in before, and others come to it.
func (p *proving) workerBehind(t *testing.T) {
	defer p.on(t)()
	c := newCrowd(t, p)
	x, in := p.first["plain"], p.ingresses[0]
	dataplane.Eventually(t, soon, "the model is busy", func() bool { return x.slow.Load() > 0 && x.failed.Load() > 0 })
	const target = "model/default/plain"
	before, _ := p.proof(target)
	resume := stopWorker(t, in.process, "wrk:worker_1")
	held := p.fresh(in, rowOf(t, "plain"), 32)
	kills := p.control.unproven(t, "plain", "3s", func(out string) bool {
		return strings.Contains(out, "NOT PROVEN") && strings.Contains(out, in.node+": acked")
	})
	type ending struct {
		out  string
		exit int
		at   time.Time
	}
	ended := make(chan ending, 1)
	go func() {
		out, exit := p.control.cli("kill", "plain", "--reason", "still wrong", "--wait", patiently)
		ended <- ending{out, exit, time.Now()}
	}()
	p.row(in.node, target, before.State.Generation+kills+1, func(r admin.KillRow) bool {
		return r.State == admin.StepAcked && strings.Contains(r.How, " connections show it, no answer")
	})
	select {
	case e := <-ended:
		t.Errorf("a worker is behind, and the command has returned %d\n%s", e.exit, e.out)
	default:
	}
	resume()
	e := <-ended
	if e.exit != 0 {
		t.Fatalf("exit code %d\n%s", e.exit, e.out)
	}
	held()
	c.more(t, *requests/10)
	c.end()
	p.unasked("plain", x, e.at)
}

// row waits for what a proof says of a node at a generation.
func (p *proving) row(node, target string, generation uint64, is func(admin.KillRow) bool) {
	p.t.Helper()
	var last admin.KillProof
	defer func() {
		if p.t.Failed() {
			p.t.Logf("the proof is %+v", last)
		}
	}()
	dataplane.Eventually(p.t, soon, "the proof says so of "+node, func() bool {
		proof, ok := p.proof(target)
		if !ok {
			return false
		}
		last = proof
		for _, r := range proof.Rows {
			if r.Node == node && proof.State.Generation >= generation && is(r) {
				return true
			}
		}
		return false
	})
}

// fresh asks on so many connections of their own at once. wait returns when all have
// an answer, or none.
func (p *proving) fresh(in *ingress, r *row, n int) (wait func()) {
	var running sync.WaitGroup
	for range n {
		client := dataplane.NewClient(in.listen)
		running.Go(func() {
			defer client.Close()
			client.Do(dataplane.Request{Path: "/" + r.name + r.path, Body: []byte(r.request)})
		})
	}
	return running.Wait
}

// cutOff: an Envoy does not answer any more, and may still serve what is killed. It is
// named.
func (p *proving) cutOff(t *testing.T) {
	defer p.on(t)()
	c := newCrowd(t, p)
	x, in := p.first["v2"], p.ingresses[1]
	dataplane.Eventually(t, soon, "the model is busy", func() bool { return x.slow.Load() > 0 && x.failed.Load() > 0 })
	if err := in.process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	p.control.unproven(t, "v2", "3s", func(out string) bool {
		_, named, _ := strings.Cut(out, "may still serve")
		return strings.Contains(named, own+": ") && !strings.Contains(named, whole+": ")
	})
	if err := in.process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	returned := p.kill("v2")
	c.more(t, *requests/10)
	c.end()
	p.unasked("v2", x, returned)
}

// breakGlass: the control plane dies, and a person stops a model at each Envoy. When
// it is back, the same is killed by it, and the keys are taken away.
func (p *proving) breakGlass(t *testing.T) {
	defer p.on(t)()
	c := newCrowd(t, p)
	r := rowOf(t, "plain-grpc") // what needs no processor to be answered
	x, key := p.first[r.name], envoy.RuntimeKey(kill.ForModel("default/"+r.name))
	p.control.process.Kill()
	before := x.asked.Load()
	dataplane.Eventually(t, soon, "the model is asked", func() bool { return x.asked.Load() > before })
	for _, in := range p.ingresses {
		modify(t, in.admin, key, "100")
		dataplane.Eventually(t, soon, "it is refused at "+in.node, func() bool {
			for range 32 {
				if !refusedOnce(in.listen, r) {
					return false
				}
			}
			return true
		})
	}
	c.over(t) // what is under way goes on
	stopped := time.Now()
	c.more(t, *requests/10)
	p.unasked(r.name, x, stopped)
	p.restart()
	p.kill(r.name)
	for _, in := range p.ingresses {
		modify(t, in.admin, key, "")
	}
	c.more(t, *requests/10)
	c.end()
	p.unasked(r.name, x, stopped)
}

// coldStart: everything dies after the proof. Envoys that come up without the control
// plane lead nowhere, and when that is back they have the kill before anything else.
func (p *proving) coldStart(t *testing.T) {
	defer p.on(t)()
	c := newCrowd(t, p)
	returned := p.kill("--all", "--mode", "blackhole")
	c.end()
	p.control.process.Kill()
	for _, in := range p.ingresses {
		in.process.Kill()
		in.start(p.top)
	}
	p.try(*requests / 2)
	p.restart()
	p.try(*requests / 2)
	p.kill("--all", "--mode", "blackhole") // it is proven at those that came back
	p.try(*requests / 10)
	for _, r := range p.rows {
		p.unasked(r.name+"/v1", p.first[r.name], returned)
		p.unasked(r.name+"/v2", p.second[r.name], returned)
	}
}

// try asks so many times, for every row through every Envoy.
func (p *proving) try(n int) {
	var running sync.WaitGroup
	for _, in := range p.ingresses {
		for _, r := range p.rows {
			running.Go(func() {
				for range n / len(p.ingresses) / len(p.rows) {
					in.ask(r, http.Header{})
				}
			})
		}
	}
	running.Wait()
}
