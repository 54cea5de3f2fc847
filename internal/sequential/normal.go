package sequential

import (
	"math"
	"time"
)

// Normal is what is known of the rate of bad answers while all is well.
type Normal struct {
	Base Tally `json:"base"` // told by Learn
	Long Past  `json:"long"` // the control's windows
	// The version's own windows tell only how much the rate varies: a version
	// that gets worse must not become what is normal. They count an hour later,
	// so that a slow fault is found before it does.
	OwnLong   Past      `json:"ownLong"`
	OwnBefore Past      `json:"ownBefore"`
	OwnNow    Past      `json:"ownNow"`
	Control   Tally     `json:"control"` // the window that is open
	Own       Tally     `json:"own"`
	Opened    time.Time `json:"opened,omitzero"`
	Turned    time.Time `json:"turned,omitzero"`

	// Most is what p0 may be until the hour is over: an incident, of the control
	// too, is not normal. 0: too little is known, anything may be.
	Most float64 `json:"most"`

	known float64 // the p0 without params, as of the last window; 0: not known
}

// Past are sums over windows of n answers, b of them bad.
type Past struct {
	N  float64 `json:"n"`
	B  float64 `json:"b"`
	NN float64 `json:"nn"`
	NB float64 `json:"nb"`
	BB float64 `json:"bb"`
}

func (p *Past) add(t Tally) {
	p.N += t.N
	p.B += t.B
	p.NN += t.N * t.N
	p.NB += t.N * t.B
	p.BB += t.B * t.B
}

func (p *Past) join(o Past) {
	p.N += o.N
	p.B += o.B
	p.NN += o.NN
	p.NB += o.NB
	p.BB += o.BB
}

func (p *Past) decay(f float64) {
	p.N *= f
	p.B *= f
	p.NN *= f
	p.NB *= f
	p.BB *= f
}

const (
	// A window is as long as it takes for a few bad answers to be normal.
	window     = time.Minute
	longWindow = 30 * time.Minute
	filled     = 3
	// kept is how many answers are never forgotten.
	kept       = 20000
	turn       = time.Hour
	normalOver = 48 * time.Hour
	// cold is the number of the control's answers under which the window that is
	// open counts too.
	cold = 1000
	// clip bounds what one window can teach: so many times p0, and so many bad
	// answers. An incident is not normal.
	clip, clipBad = 3, 3
	// prior answers, and prior bad ones, stand for what was not seen.
	prior, priorBad = 500, 0.5
	// sure is the one-sided 95 % of a normal distribution, for the mean; wide is
	// how many deviations between windows are normal.
	sure, wide = 1.645, 4
	// quickly and slowly are the factors by which p0 may grow in an hour.
	quickly, slowly = 2, 1.03
	// step is the factor by which p0 changes, at least: the grid is made anew.
	step = 1.02
)

// pass closes windows and turns the hours. In one that is calm what is normal may
// double, while something fails it may within a day.
func (n *Normal) pass(now time.Time, p0 float64, calm bool) {
	if n.Opened.IsZero() {
		n.Opened, n.Turned = now, now
	}
	past := now.Sub(n.Opened)
	if past < window || past < longWindow && (n.Control.N+n.Own.N)*p0 < filled {
		return
	}
	f := forget(past, n.Base.N+n.Long.N)
	n.Base.decay(f)
	n.Long.decay(f)
	n.OwnLong.decay(forget(past, n.OwnLong.N))
	if n.Control.N > 0 {
		n.Long.add(clipped(n.Control, p0, n.Long.N+n.Base.N < cold))
	}
	if n.Own.N > 0 {
		n.OwnNow.add(clipped(n.Own, p0, false))
	}
	n.Control, n.Own, n.Opened = Tally{}, Tally{}, now
	if now.Sub(n.Turned) >= turn {
		n.OwnLong.join(n.OwnBefore)
		n.OwnBefore, n.OwnNow, n.Turned = n.OwnNow, Past{}, now
		if n.Most *= slowly; calm {
			n.Most = 0
		}
	}
	n.known = 0
}

// forget is the factor of what was seen that is still known, after a time: all
// of it, while it is little.
func forget(past time.Duration, n float64) float64 {
	if n <= kept {
		return 1
	}
	return max(fade(past, normalOver), kept/n)
}

func clipped(t Tally, p0 float64, whole bool) Tally {
	if !whole {
		t.B = min(t.B, clip*p0*t.N+clipBad)
	}
	return t
}

// p0 is the rate that counts as normal: the upper bound of the control's mean,
// raised by how much the rate was seen to vary, at least the floor, and no more
// than the limit.
func (n *Normal) p0(p *Params) float64 {
	mean := n.Base.plus(Tally{n.Long.N, n.Long.B})
	if mean.N < cold {
		mean = mean.plus(n.Control)
		n.known = 0
	}
	if n.known == 0 {
		b := mean.B + priorBad
		upper := (b + sure*math.Sqrt(b)) / (mean.N + prior)
		upper *= 1 + wide*math.Sqrt(n.variation())
		n.known = math.Pow(step, math.Ceil(math.Log(upper)/math.Log(step)))
	}
	p0 := min(max(p.Floor, n.known), highest)
	if n.Most == 0 && mean.N >= cold {
		n.Most = quickly * p0
	}
	if n.Most > 0 {
		p0 = min(p0, n.Most)
	}
	if p.MaxBad > 0 {
		p0 = min(p0, p.MaxBad)
	}
	return p0
}

// variation is the squared coefficient of variation of the rate between windows,
// over what chance makes of a constant one.
func (n *Normal) variation() float64 {
	var excess, chance, weight float64
	for _, p := range []*Past{&n.Long, &n.OwnLong} {
		if p.N <= 0 || p.B <= 0 {
			continue
		}
		mean := p.B / p.N
		excess += p.BB - 2*mean*p.NB + mean*mean*p.NN - p.B
		chance += 2*mean*mean*p.NN + p.B
		weight += mean * mean * p.NN
	}
	if weight <= 0 {
		return 0
	}
	return min(1, max(0, excess-math.Sqrt(chance))/(weight+5))
}
