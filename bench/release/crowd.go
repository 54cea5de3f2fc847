package main

import (
	"math"
	"math/rand/v2"

	"github.com/safestate/safestate/internal/sequential"
)

// places is how many places callers have.
const places = 64

// crowd is the callers of a service: what part of the requests comes from which
// place.
type crowd struct {
	share [places]float64
	draw  [4096]uint8 // a place for each part of the requests
}

// zipf puts callers, the k-th of which sends 1/k of what the first does, at
// places by chance.
func zipf(r *rand.Rand, callers int) *crowd {
	c := &crowd{}
	var sum float64
	for k := range callers {
		c.share[r.IntN(places)] += 1 / float64(k+1)
		sum += 1 / float64(k+1)
	}
	at, end := 0, 0.0
	for i := range c.share {
		c.share[i] /= sum
		for end += c.share[i] * float64(len(c.draw)); at < len(c.draw) && float64(at) < end; at++ {
			c.draw[at] = uint8(i)
		}
	}
	return c
}

// one is a caller's place by chance.
func (c *crowd) one(r *rand.Rand) int { return int(c.draw[r.Uint32()%uint32(len(c.draw))]) }

// spread adds answers to counts: few of them one by one, many by the callers'
// shares; bad ones always one by one.
func (c *crowd) spread(r *rand.Rand, counts []sequential.Count, n, bad int) {
	clean := n - bad
	if clean > 2*places {
		left := 0.0
		for i, s := range c.share {
			left += s * float64(clean)
			k := math.Floor(left)
			counts[i].Requests += uint64(k)
			left -= k
		}
		clean = 0
	}
	for range clean {
		counts[c.one(r)].Requests++
	}
	for range bad {
		i := c.one(r)
		counts[i].Requests++
		counts[i].Bad++
	}
}

// poisson draws from Poisson's distribution.
func poisson(r *rand.Rand, mean float64) int {
	if !(mean > 0) {
		return 0
	}
	if mean > 50 {
		return rounded(mean, math.Sqrt(mean), 1, r)
	}
	n, p, left := 0, math.Exp(-mean), r.Float64()
	for term := p; left > term && n < 1000; {
		left -= term
		n++
		term *= mean / float64(n)
	}
	return n
}

// binomial draws the bad ones of n answers: by the gaps between them while they
// are few, else by a normal distribution with the skew corrected.
func binomial(r *rand.Rand, n int, p float64) int {
	switch {
	case n <= 0 || !(p > 0):
		return 0
	case p >= 1:
		return n
	case p > 0.5:
		return n - binomial(r, n, 1-p)
	}
	mean := float64(n) * p
	if mean > 100 {
		return max(0, min(n, rounded(mean, math.Sqrt(mean*(1-p)), 1-2*p, r)))
	}
	bad, scale := 0, math.Log1p(-p)
	for at := gap(r, scale); at < float64(n); at += 1 + gap(r, scale) {
		bad++
	}
	return bad
}

// gap is how many clean answers come before the next bad one.
func gap(r *rand.Rand, scale float64) float64 { return math.Floor(math.Log(1-r.Float64()) / scale) }

// rounded is Cornish and Fisher's expansion to the third moment.
func rounded(mean, deviation, skew float64, r *rand.Rand) int {
	z := r.NormFloat64()
	return max(0, int(math.Round(mean+deviation*z+skew*(z*z-1)/6)))
}
