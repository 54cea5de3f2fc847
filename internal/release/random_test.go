package release

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestRandomSequences drives models through random commands, evidence, files,
// proofs and times. What take and advance hold every change against (weights,
// generations, records, JSON, a second Advance) is true throughout, and so is
// what is asserted here.
func TestRandomSequences(t *testing.T) {
	moved := map[Kind]int{}
	for seed := range uint64(1000) {
		d := &drive{world: newWorld(t), r: rand.New(rand.NewPCG(seed, 5)), seed: seed}
		for range 40 {
			d.step()
		}
		for _, r := range d.history {
			moved[r.Kind]++
		}
	}
	for _, k := range []Kind{KindRegistered, KindFiles, KindStarted, KindStep, KindGate, KindGatePassed, KindPaused, KindResumed, KindPromoted,
		KindGood, KindAborted, KindRollback, KindDegraded, KindRecovered, KindHoldback, KindHoldbackAgain, KindApplied, KindRollbackDone, KindHelped, KindNotHelped,
		KindCommonCause, KindCauseOver, KindBound, KindRefusedConfig, KindCheckError} {
		if moved[k] < 3 {
			t.Errorf("%s came %d times: the sequences are too tame", k, moved[k])
		}
	}
}

type drive struct {
	*world
	r    *rand.Rand
	seed uint64
}

func (d *drive) any(of ...string) string { return of[d.r.IntN(len(of))] }

func (d *drive) version() string { return d.any("v1", "v2", "v3", "v4") }

// step changes something and looks at what came of it.
func (d *drive) step() {
	d.now = d.now.Add([]time.Duration{0, time.Millisecond, time.Second, time.Minute, 10 * time.Minute}[d.r.IntN(5)])
	switch d.r.IntN(8) {
	case 0, 1:
		d.command()
	case 2, 3:
		d.evidence()
	case 4:
		d.files()
	case 5:
		d.check()
	default:
		d.proof()
	}
	if d.r.IntN(4) == 0 {
		return // two things at once
	}
	asked := d.s
	d.advance()
	d.look(asked)
}

func (d *drive) command() {
	before := d.s
	c := Command{Do: Verb(d.any("start", "start", "start", "pause", "resume", "promote", "promote", "abort", "rollback"))}
	if c.Do == Start || c.Do == Rollback && d.r.IntN(2) == 0 {
		c.Version = d.version()
	}
	if c.Do == Start && d.r.IntN(2) == 0 {
		c.Steps = []Step{{Weight: d.r.IntN(50), Gate: d.r.IntN(2) == 0}, {Weight: 50 + d.r.IntN(51)}}
	}
	c.Full, c.Force = d.r.IntN(3) == 0, d.r.IntN(4) == 0
	c.Again = c.Do == Start && d.r.IntN(4) == 0
	if c.Force && d.r.IntN(2) == 0 {
		c.Hold = lasting(time.Duration(d.r.IntN(2)) * time.Minute)
	}
	if err := d.try(c); err != nil {
		return
	}
	since := d.history[len(d.history)-int(d.s.Sequence-before.Sequence):]
	over := slices.ContainsFunc(since, func(r Record) bool { // a version of it has left the files
		return slices.Contains([]Kind{KindFiles, KindAborted, KindDegraded}, r.Kind)
	})
	if before.Rollout != nil && c.Do == Start && !over {
		d.wrong("a second rollout")
	}
	for v := range before.Condemned {
		if _, still := d.s.Condemned[v]; !still && !c.Force && !c.Again {
			d.wrong("%s is condemned no more, and nobody asked for it", v)
		}
	}
	if c.Do == Abort && d.s.Weights[before.Candidate] != 0 {
		d.wrong("an abort left weight on %s", before.Candidate)
	}
}

func (d *drive) evidence() {
	v := d.version()
	if d.r.IntN(6) == 0 {
		delete(d.in.Evidence, v)
		return
	}
	e := d.in.Evidence[v]
	e.Verdict = Verdict(d.any("", "inconclusive", "success", "success", "failure", "error", "common-cause"))
	if e.FirstBad = d.now; e.Verdict != Failure || d.r.IntN(4) == 0 {
		e.FirstBad = time.Time{}
	}
	e.Requests += uint64(d.r.IntN(3000))
	e.Bad += uint64(d.r.IntN(int(min(30, e.Requests-e.Bad) + 1)))
	if d.r.IntN(3) == 0 {
		e.Requests, e.Bad = uint64(d.r.IntN(500)), 0
	}
	d.in.Evidence[v] = e
}

func (d *drive) files() {
	d.in.Plan = Plan{Steps: steps, Checks: [][]string{nil, nil, {"latency"}}[d.r.IntN(3)]}
	if d.r.IntN(3) == 0 {
		d.in.Plan.Holdback = number(d.r.IntN(4))
	}
	v := d.version()
	if d.r.IntN(5) == 0 {
		delete(d.in.Versions, v)
		return
	}
	d.in.Versions[v] = VersionInfo{
		URI: d.in.Versions[v].URI, Digest: d.in.Versions[v].Digest, FileWeight: d.r.IntN(3),
		Ready: []*bool{nil, yes(), yes(), no()}[d.r.IntN(4)],
	}
}

func (d *drive) check() {
	d.in.Checks["latency"] = CheckResult{Verdict: Verdict(d.any("success", "failure", "error", "error")), At: d.now}
}

func (d *drive) proof() {
	d.in.Proof = Proof{Generation: d.s.Generation, Pushed: d.now, Applied: d.r.IntN(4) > 0, Expected: 2, Acked: 2}
	if d.r.IntN(3) == 0 {
		d.in.Proof.BadSeen = d.now
	}
	if d.in.Refused = nil; d.r.IntN(5) == 0 {
		d.in.Refused = &Refused{Generation: d.s.Generation, Message: "no"}
	}
}

// look is at what automation did of the state that it was asked about.
func (d *drive) look(asked State) {
	if len(d.s.Automatic) > 3 && d.s.Automatic[len(d.s.Automatic)-1].Sub(d.s.Automatic[len(d.s.Automatic)-4]) < time.Hour {
		d.wrong("four automatic rollbacks in an hour")
	}
	for v := range asked.Condemned {
		if _, still := d.s.Condemned[v]; !still {
			d.wrong("automation lifted the sentence of %s", v)
		}
	}
	for _, v := range d.s.serving() {
		if _, in := d.in.Versions[v]; !in && len(d.in.Versions) > 0 {
			d.wrong("%s has a weight and is not in the files", v)
		}
	}
	if asked.Rollout == nil && d.s.Rollout != nil && d.in.Refused == nil { // a refused promotion goes on as one
		d.wrong("automation began a rollout")
	}
	if r := d.s.Rollout; r != nil && asked.Rollout != nil && r.Step > asked.Rollout.Step && r.Steps[asked.Rollout.Step].Weight > 0 {
		switch e := d.in.Evidence[r.Version]; e.Verdict {
		case Success, Inconclusive, "":
			if e.Requests == 0 {
				d.wrong("went on without evidence")
			}
		default:
			d.wrong("went on with %s", e.Verdict)
		}
	}
	automatic := len(d.s.Automatic) > 0 && d.s.Automatic[len(d.s.Automatic)-1].Equal(d.now)
	for _, r := range d.history[len(d.history)-int(d.s.Sequence-asked.Sequence):] {
		if r.By != By || r.Kind != KindRollback && r.Kind != KindDegraded {
			continue
		}
		if r.After[r.Target] > 0 && r.Before[r.Target] == 0 && d.in.Evidence[r.Target].Verdict == Failure {
			d.wrong("went back to %s, which fails", r.Target)
		}
		for v := range r.Before {
			if automatic && r.Before[v] > 0 && d.in.Evidence[v].Verdict == CommonCause {
				d.wrong("rolled back under a common cause")
			}
		}
	}
}

func (d *drive) wrong(format string, args ...any) {
	d.t.Helper()
	d.t.Fatalf("seed %d: %s\n%s\nhistory: %s", d.seed, fmt.Sprintf(format, args...), text(d.s), d.kinds())
}
