package main

import (
	"math"
	"math/rand/v2"
	"time"
)

// incident is a kind of story with one right end.
type incident struct {
	name string
	// fault: the version is the cause and has to leave. Otherwise nothing may be
	// rolled back.
	fault bool
	play  func(p *play)
}

// play is one variant of an incident: what happens, and what came of it.
type play struct {
	r        *rand.Rand
	s        *scene
	base     float64 // normal share of bad answers
	effect   float64 // while it lasts
	early    bool    // rolled back before anything happened
	at       time.Duration
	rolled   bool
	deadline time.Duration
	why      string
}

// incidents are those of the corpus.
var incidents = []incident{
	{"a new version is bad", true, func(p *play) {
		p.service(pick(p.r, 0.01, 0.1, 0.5, 0.99), 0)
		p.breaks(pick(p.r, 1, 0.5, 0.2, 0.05, 0.02))
	}},
	{"a version turns bad after hours", true, func(p *play) {
		p.service(pick(p.r, 0.1, 0.5, 0.99), p.hours(1, 12))
		p.breaks(pick(p.r, 1, 0.5, 0.2, 0.05, 0.02))
	}},
	{"a version turns bad, its breaker opens", true, func(p *play) {
		p.service(0.99, p.hours(1, 6))
		p.s.rps = between(p.r, 200, 500)
		p.s.breaker = &breaker{well: p.r.IntN(int(p.s.rps / 10))}
		p.breaks(1)
	}},
	{"bad for one value of a feature", true, func(p *play) {
		p.service(pick(p.r, 0.1, 0.5, 0.99), p.hours(0.01, 3))
		p.breaks(between(p.r, 0.02, 0.2))
	}},
	{"slow poison", true, func(p *play) {
		p.service(pick(p.r, 0.1, 0.5, 0.99), p.hours(1, 6))
		p.creeps(between(p.r, 0.03, 0.5), time.Duration(between(p.r, 2, 20)*float64(time.Minute)))
	}},
	{"a bad version at thin traffic", true, func(p *play) {
		p.service(pick(p.r, 0.1, 0.5, 0.99), 0)
		p.thin(between(p.r, 1, 10))
		p.breaks(pick(p.r, 1, 0.5, 0.3))
	}},
	{"a bad version, the reports late in one lump", true, func(p *play) {
		p.service(pick(p.r, 0.1, 0.5, 0.99), p.hours(0.01, 3))
		p.lump()
		p.breaks(pick(p.r, 1, 0.5, 0.2, 0.05))
	}},
	{"a bad version behind one gateway", true, func(p *play) {
		p.service(pick(p.r, 0.1, 0.5, 0.99), p.hours(0.01, 3))
		p.s.crowd = zipf(p.r, 1)
		p.s.monitor.Shares = [16]float64{}
		p.wait(10 * time.Minute)
		p.breaks(pick(p.r, 1, 0.5, 0.2, 0.05))
	}},
	{"a bad version while a caller is hostile", true, func(p *play) {
		p.service(pick(p.r, 0.1, 0.5), p.hours(0.01, 3))
		p.s.hostile, p.s.hostileBoth = between(p.r, 0.02, 0.1), true
		p.wait(2 * time.Minute)
		p.breaks(pick(p.r, 1, 0.5, 0.2))
	}},
	{"both get a bad feed", false, func(p *play) {
		p.service(pick(p.r, 0.1, 0.5, 0.9, 0.99), p.hours(0.01, 12))
		p.feed(pick(p.r, 1, 0.7, 0.5, 0.2, 0.05, 0.02), p.minutes(0.2, 20))
	}},
	{"both get a bad feed, their breakers open", false, func(p *play) {
		p.service(0.99, p.hours(1, 6))
		p.s.rps = between(p.r, 200, 500)
		p.s.breaker = &breaker{}
		p.feed(pick(p.r, 1, 0.9), p.minutes(0.2, 5))
	}},
	{"both get a bad feed, the reports late in one lump", false, func(p *play) {
		p.service(pick(p.r, 0.1, 0.5, 0.99), p.hours(0.01, 3))
		p.lump()
		p.feed(pick(p.r, 1, 0.5, 0.2, 0.05), p.minutes(1, 5))
	}},
	{"one hostile caller, at both", false, func(p *play) {
		p.service(pick(p.r, 0.1, 0.5, 0.99), p.hours(0.01, 6))
		p.hostile(true)
	}},
	{"one hostile caller, at the version alone", false, func(p *play) {
		p.service(pick(p.r, 0.1, 0.5, 0.99), p.hours(0.01, 6))
		p.hostile(false)
	}},
	{"a short blip of both", false, func(p *play) {
		p.service(pick(p.r, 0.1, 0.5, 0.99), p.hours(0.01, 6))
		p.feed(pick(p.r, 1, 0.5, 0.3), p.minutes(0.01, 0.1))
	}},
	{"a bad answer or two, and well again", false, func(p *play) {
		p.service(pick(p.r, 0.1, 0.5, 0.99), p.hours(1, 6))
		p.stray(1 + p.r.IntN(2))
	}},
	{"all well at thin traffic", false, func(p *play) {
		p.service(pick(p.r, 0.1, 0.5, 0.99), 0)
		p.thin(between(p.r, 1, 10))
		p.wait(12 * time.Hour)
	}},
	{"the stable version turns bad", false, func(p *play) {
		p.service(pick(p.r, 0.01, 0.1, 0.5, 0.99), p.hours(0.01, 3))
		p.s.control = pick(p.r, 1, 0.2, 0.05)
		p.wait(10 * time.Minute)
	}},
}

func pick(r *rand.Rand, values ...float64) float64 { return values[r.IntN(len(values))] }

func (p *play) hours(low, high float64) time.Duration {
	return time.Duration(between(p.r, low, high) * float64(time.Hour))
}

func (p *play) minutes(low, high float64) time.Duration {
	return time.Duration(math.Exp(between(p.r, math.Log(low), math.Log(high))) * float64(time.Minute))
}

// service is a stable version that was watched for a while, and a new one at a
// share that was healthy for an age.
func (p *play) service(share float64, age time.Duration) {
	p.base = pick(p.r, 0, 0.0001, 0.001, 0.005)
	rps := math.Exp(between(p.r, math.Log(5), math.Log(500)))
	p.s = newScene(p.r)
	p.s.rps, p.s.own, p.s.control = rps, p.base, p.base
	p.s.pass(10*time.Minute, time.Second)
	p.s.share = share
	if age > 0 {
		_, p.early = p.s.pass(max(age, p.minutes(0.3, 20)), 10*time.Second)
	}
}

// thin makes the traffic so many requests a minute, for an hour at least.
func (p *play) thin(perMinute float64) {
	share := p.s.share
	p.s.rps, p.s.step, p.s.share = perMinute/60, time.Second, 0
	p.wait(2 * time.Hour)
	p.s.share = share
}

// lump holds the reports back from here on; see report.
func (p *play) lump() { p.s.held = true }

// wait lets time go by in which nothing may be rolled back.
func (p *play) wait(d time.Duration) {
	if _, failed := p.s.pass(d, p.s.step); failed {
		p.early = true
	}
}

// go on until a rollback, or the end.
func (p *play) until(end time.Duration) {
	from := p.s.now
	if p.s.held {
		for gap := time.Duration(between(p.r, 10, 120) * float64(time.Second)); p.s.now.Sub(from) < gap; {
			p.s.tick()
		}
		p.s.held = false
	}
	if at, failed := p.s.pass(max(0, end-p.s.now.Sub(from)), p.s.step); failed && !p.rolled {
		p.rolled, p.at, p.why = true, at.Sub(from), p.s.last.Why
	}
}

// breaks makes the version bad. It is right to roll it back in four times what
// the information in its own and in its control's answers takes, and the time
// of a round.
func (p *play) breaks(effect float64) {
	p.effect = effect
	p.s.own = min(1, p.base+effect)
	p.deadline = p.due(effect)
	p.until(p.deadline)
}

// due is when a fault has to be found.
func (p *play) due(effect float64) time.Duration {
	rate, normal := min(0.999, p.base+effect), max(baseline, 2*p.base)
	own := (4*boundOver(rate, normal) + 4) / (p.s.rps * p.s.share)
	control := (4*boundOver(normal, rate) + 4) / (p.s.rps * (1 - p.s.share))
	if p.s.share > 0.9 && p.s.rps < 1 { // there is next to no control: an hour is waited
		control = time.Hour.Seconds() + 1/p.s.rps
	}
	seconds := max(own, control) + 10
	if p.s.held {
		seconds += 120
	}
	return time.Duration(seconds * float64(time.Second))
}

// creeps makes the version worse bit by bit. It is right to roll it back before
// it has been at its worst for as long as a fault that strong takes.
func (p *play) creeps(effect float64, over time.Duration) {
	from := p.s.now
	p.effect = effect
	for p.s.now.Sub(from) < over && !p.rolled {
		p.s.own = p.base + effect*p.s.now.Sub(from).Seconds()/over.Seconds()
		if at, failed := p.s.pass(time.Second, p.s.step); failed {
			p.rolled, p.at, p.why = true, at.Sub(from), p.s.last.Why
		}
	}
	p.deadline = over + p.due(effect)
	if !p.rolled {
		p.s.own = p.base + effect
		p.until(p.deadline - over)
		p.at += over
	}
}

// feed makes both bad for a while.
func (p *play) feed(effect float64, d time.Duration) {
	p.effect = effect
	if !p.s.held && p.s.asked == 0 {
		p.wait(p.minutes(0.3, 10))
	}
	rate := min(1, p.base+effect)
	p.s.own, p.s.control = rate, rate
	p.until(d)
	p.s.own, p.s.control = p.base, p.base
	p.until(2 * time.Minute)
}

func (p *play) hostile(both bool) {
	p.s.hostile, p.s.hostileBoth = between(p.r, 0.01, 0.1), both
	p.effect = p.s.hostile
	p.until(p.minutes(1, 30))
	p.s.hostile = 0
	p.until(time.Minute)
}

// stray gives the version a few bad answers in a row.
func (p *play) stray(n int) {
	for range n {
		p.s.heldOwn[p.s.crowd.one(p.r)].Requests++
		i := p.s.crowd.one(p.r)
		p.s.heldOwn[i].Requests++
		p.s.heldOwn[i].Bad++
		p.until(p.s.step)
	}
	p.until(2 * time.Minute)
}
