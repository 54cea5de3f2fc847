package release

import (
	"fmt"
	"strings"
	"time"
)

// prove notes what the proxies have of the weights: a generation is applied
// once every expected one ACKed it, and a withdrawal is done once, after that,
// the versions that were withdrawn are asked no more.
func (t *turn) prove() {
	p := t.in.Proof
	if p.Generation == 0 || p.Generation != t.s.Generation {
		return
	}
	pushed, applied, asked := clean(p.Pushed), clean(p.AppliedAt), clean(p.BadSeen)
	if applied.IsZero() || applied.After(t.now) {
		applied = t.now
	}
	if p.Applied && t.s.Acked.Generation != t.s.Generation {
		t.s.Acked = Standing{Generation: t.s.Generation, Weights: given(t.s.Weights), At: applied}
		t.record(Record{Kind: KindApplied, Version: t.s.main(), Reason: p.taken(),
			Took: Took{Push: between(t.s.Changed, pushed), Ack: between(pushed, applied)}})
	}
	w := t.s.Withdrawal
	if w == nil || !w.Done.IsZero() {
		return
	}
	if w.Pushed.IsZero() {
		w.Pushed = pushed
	}
	if !p.Applied {
		return
	}
	if w.Acked.IsZero() {
		w.Acked = applied
	}
	last := w.Acked
	if asked.After(last) { // in flight, or retried
		last = asked
	}
	done := last.Add(quiet)
	if t.now.Before(done) {
		t.at(done)
		return
	}
	if heard := clean(p.Heard); !heard.IsZero() && heard.Before(done) { // silence is no proof
		t.at(t.now.Add(hostLook))
		return
	}
	silent := p.silent()
	if silent != "" {
		silent = " by the hosts that were heard; silent: " + silent
	}
	w.Done = t.now
	t.record(Record{Kind: KindRollbackDone, Version: list(w.From), Target: w.To,
		Reason: fmt.Sprintf("%s, and no request since %s%s", p.taken(), last.Format("15:04:05.000Z"), silent),
		Took: Took{Decide: between(w.FirstBad, w.Decided), Push: between(w.Decided, w.Pushed), Ack: between(w.Pushed, w.Acked),
			Empty: between(w.Acked, last)}})
}

// hostLook is how often it is looked whether hosts have been heard: one that lives
// says something every second.
const hostLook = 100 * time.Millisecond

// silent names the hosts that are silent, some of them where there are many; empty:
// none is.
func (p *Proof) silent() string {
	const most = 3
	names := line(strings.Join(p.Silent[:min(len(p.Silent), most)], ", "))
	if more := len(p.Silent) - most; more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	return names
}

// refuse takes back a rollout's step that a proxy refused: the last weights that
// all had hold again, and the rollout stands still, so that nothing is tried
// twice; a promotion becomes a rollout again, at a gate. What goes towards safe
// stays: it holds at all the other proxies.
func (t *turn) refuse() {
	r := t.in.Refused
	if r == nil || r.Generation == 0 || r.Generation != t.s.Generation || t.s.Refused != nil && t.s.Refused.Generation == r.Generation {
		return
	}
	refused := Refused{Generation: r.Generation, Proxy: line(r.Proxy), Message: line(r.Message)}
	t.s.Refused = &refused
	before, text := t.s.Weights, refused.Proxy+": "+refused.Message
	last := t.s.Acked
	if last.Generation < t.s.Origin.Generation { // some proxy has been silent since before the rollout
		last = t.s.Origin
	}
	back := t.s.Forward && sum(last.Weights) == 100
	for v, weight := range last.Weights {
		if weight > 0 && t.absent(v) != "" {
			back = false
		}
	}
	if back && t.setWeights(last.Weights, false) && t.s.promoted() { // it was not
		t.s.Rollout = &Rollout{Version: t.s.Candidate, Started: t.now, Since: t.now, By: By, Reason: "the promotion was refused",
			Base: t.in.Evidence[t.s.Candidate].Requests, Steps: []Step{{Weight: last.Weights[t.s.Candidate], Gate: true}, {Weight: 100}}}
	}
	if ro := t.s.Rollout; ro != nil && ro.Paused == nil {
		ro.Paused = &Paused{At: t.now, By: By, Reason: "refused by " + text}
	}
	t.record(t.changedWeights(Record{Kind: KindRefusedConfig, Version: t.s.main(), Reason: text}, before))
}

// TakenByMesh is what is said of a generation that a mesh's API server has.
const TakenByMesh = "the mesh's API server has it"

// taken says who has a generation.
func (p *Proof) taken() string {
	if p.Mesh {
		return TakenByMesh
	}
	return fmt.Sprintf("%d of %d proxies", p.Acked, p.Expected)
}
