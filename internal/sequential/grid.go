package sequential

import "math"

// alternative is a rate that the version may have, held against p0.
type alternative struct {
	gain   float64 // of a bad answer: ln(q/p0)
	cost   float64 // of a clean one: -ln((1-q)/(1-p0))
	credit float64 // what a run has at its first bad answer: gain
}

// grid is what depends on p0 alone.
type grid struct {
	p0 float64
	of [runs]alternative
}

const (
	// highest is the most that counts as normal.
	highest = 0.4
	// closest is how many times p0 the alternative next to it is. A version whose
	// rate is less than 1/ln 2 = 1.4 times p0 has evidence that falls.
	closest = 2
	// farthest is the alternative of total failure.
	farthest = 0.99
)

// runsCost is the price of ten alternatives with the same weight.
var runsCost = math.Log(runs)

func gridOf(p0 float64) grid {
	g := grid{p0: p0}
	low, high := math.Log(closest*p0), math.Log(farthest)
	for i := range g.of {
		q := math.Exp(low + (high-low)*float64(i)/(runs-1))
		gain := math.Log(q / p0)
		g.of[i] = alternative{gain: gain, cost: math.Log((1 - p0) / (1 - q)), credit: gain}
	}
	return g
}
