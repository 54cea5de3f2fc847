package release

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestRandomKills is TestRandomSequences with kills, revives and alarms among them.
func TestRandomKills(t *testing.T) {
	moved := map[Kind]int{}
	for seed := range uint64(400) {
		d := &drive{world: newWorld(t), r: rand.New(rand.NewPCG(seed, 6)), seed: seed}
		for range 40 {
			if d.r.IntN(3) == 0 {
				d.kills()
				continue
			}
			before := d.s
			d.step()
			d.lookAtKills(before)
		}
		for _, r := range d.history {
			moved[r.Kind]++
		}
	}
	for _, k := range []Kind{KindKilled, KindRevived, KindAutomaticKill, KindKillHelped, KindKillNotHelped, KindKillBound, KindRollback, KindPromoted} {
		if moved[k] < 10 {
			t.Errorf("%s came %d times: the sequences are too tame", k, moved[k])
		}
	}
}

// kills changes what is killed, alarms, or carries an order out, and advances.
func (d *drive) kills() {
	before := d.s
	k := Kill{Target: "x", By: d.any("eve", By), Reason: "because", Since: d.now}
	d.in.Plan.Kill = &KillPlan{}
	in := &d.in.Killed
	switch v := d.version(); d.r.IntN(8) {
	case 0:
		in.Whole = &k
	case 1, 2:
		in.Whole, in.Revived = nil, d.now
	case 3:
		put(&in.Versions, v, k)
	case 4:
		drop(&in.Versions, v)
		in.Revived = d.now.Add(-time.Duration(d.r.IntN(20)) * time.Minute)
	case 5, 6:
		put(&d.in.Alarms, v, Alarm{Why: "bad", Safety: d.r.IntN(2) == 0, Requests: 10, Bad: 5, Since: d.now})
	case 7:
		clear(d.in.Alarms)
		if s := d.s.Stop; s != nil {
			d.in.Aftermath = Aftermath{ID: s.ID, Asked: uint64(d.r.IntN(2)), Requests: 10, Bad: uint64(d.r.IntN(10))}
			if len(s.Versions) == 0 {
				in.Whole = &k
			}
			for _, v := range s.Versions {
				put(&in.Versions, v, k)
			}
			d.now = d.now.Add(time.Minute)
		}
	}
	d.advance()
	d.lookAtKills(before)
}

// lookAtKills is at what is true whatever happens: nothing that is killed has weight,
// and while the model is, nothing but a kill, a person or the files moves weights.
func (d *drive) lookAtKills(before State) {
	since := d.history[len(d.history)-int(d.s.Sequence-before.Sequence):]
	if len(since) > 0 { // step may leave its Advance out
		d.advance()
	}
	for v := range d.in.Killed.Versions {
		if d.s.Weights[v] > 0 && len(d.in.Versions) > 0 {
			d.wrong("%s is killed and has %d %%", v, d.s.Weights[v])
		}
		if r := d.s.Rollout; r != nil && r.Version == v && len(d.in.Versions) > 0 {
			d.wrong("%s is killed and being rolled out", v)
		}
	}
	if d.in.Killed.Whole == nil || before.Suspended == nil {
		return
	}
	for _, r := range since {
		moves := []Kind{KindStep, KindPromoted, KindGood, KindRecovered, KindHoldbackAgain, KindBound, KindAutomaticKill, KindStarted, KindGate, KindGatePassed}
		if slices.Contains(moves, r.Kind) || r.By == By && r.Kind == KindRollback {
			d.wrong("%s while the model is killed", r.Kind)
		}
	}
}
