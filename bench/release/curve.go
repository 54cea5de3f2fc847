package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// The curve's cells.
var (
	effects = []float64{1, 0.2, 0.05, 0.01, 0.003}
	shares  = []float64{0.01, 0.1, 0.5, 0.99}
)

const (
	alpha    = 1e-4
	baseline = 0.001
	// published is the least effect that counts for the published figure.
	published = 0.01
)

// bound is the least number of the version's requests, on average, in which any
// test at alpha can tell the effect from the baseline (Wald).
func bound(effect float64) float64 { return math.Ceil(boundOver(effect, baseline)) }

func boundOver(effect, base float64) float64 {
	divergence := effect * math.Log(effect/base)
	if effect < 1 {
		divergence += (1 - effect) * math.Log((1-effect)/(1-base))
	}
	return math.Log(1/alpha) / divergence
}

// apart is the level at which a cause that both have in common is ruled out.
const apart = 1e-3

// controlBound is the least number of the control's clean answers that tell the
// effect from one that both have in common.
func controlBound(effect float64) float64 {
	effect = min(effect, 1-baseline)
	divergence := baseline*math.Log(baseline/effect) + (1-baseline)*math.Log((1-baseline)/(1-effect))
	return math.Log(1/apart) / divergence
}

// cell is how many requests one effect at one share took.
type cell struct {
	Effect float64 `json:"effect"`
	Share  float64 `json:"share"`
	Bound  float64 `json:"bound"`
	// Beside is the bound where the control's answers, which come as the traffic
	// is shared, have to tell the fault from a common one.
	Beside float64 `json:"bound_with_control"`
	Median float64 `json:"median"`
	P90    float64 `json:"p90"`
	Ratio  float64 `json:"ratio"`
	// Seconds from the first bad answer that could be to the decision.
	Seconds  float64 `json:"seconds_median"`
	Controls float64 `json:"control_requests_median"`
	Missed   int     `json:"missed"`
}

// curve is every effect at every share.
type curve struct {
	Name  string  `json:"name"`
	RPS   float64 `json:"rps"`
	Rate  float64 `json:"baseline"`
	Runs  int     `json:"runs"`
	Cells []cell  `json:"cells"`
}

// worst is the highest ratio down to the published effect.
func (c *curve) worst() float64 {
	var w float64
	for _, x := range c.Cells {
		if x.Effect >= published {
			w = max(w, x.Ratio)
		}
	}
	return w
}

// worstBeside is the same against the bound with the control.
func (c *curve) worstBeside() float64 {
	var w float64
	for _, x := range c.Cells {
		if x.Effect >= published {
			w = max(w, x.Median/x.Beside)
		}
	}
	return w
}

// warm is a service whose stable version was watched for ten minutes; at an age
// over 0 with a version that was healthy for so long.
func warm(r *rand.Rand, rps, share, rate float64, age time.Duration) *scene {
	s := newScene(r)
	s.rps, s.own, s.control = rps, rate, rate
	s.pass(10*time.Minute, time.Second)
	s.share = share
	if age > 0 {
		s.pass(age, 10*time.Second)
	}
	return s
}

// measure runs a cell: the version, new or of an age, begins to fail.
func measure(w *workers, c *curve, effect, share float64, age time.Duration) cell {
	warmed := make([]*scene, 8)
	w.each(len(warmed), func(i int, r *rand.Rand) { warmed[i] = warm(r, c.RPS, share, c.Rate, age) })
	type sample struct {
		asked, controls, seconds float64
		missed                   bool
	}
	samples := make([]sample, c.Runs)
	b := bound(effect)
	// Fine enough for the count, and as the reports are: at most every 100 ms.
	step := time.Duration(b / 50 / (c.RPS * share) * float64(time.Second))
	step = max(2*time.Millisecond, min(100*time.Millisecond, step))
	w.each(c.Runs, func(i int, r *rand.Rand) {
		s := warmed[i%len(warmed)].copied(r)
		s.own = effect
		s.mark()
		from := s.now
		at, failed := s.pass(6*time.Hour, step)
		samples[i] = sample{float64(s.asked), float64(s.controls), at.Sub(from).Seconds(), !failed}
	})
	out := cell{Effect: effect, Share: share, Bound: b, Beside: max(b, controlBound(effect)*share/(1-share))}
	var asked, controls, seconds []float64
	for _, x := range samples {
		if x.missed {
			out.Missed++
			continue
		}
		asked, controls, seconds = append(asked, x.asked), append(controls, x.controls), append(seconds, x.seconds)
	}
	out.Median, out.P90 = rank(asked, 50), rank(asked, 90)
	out.Seconds, out.Controls = rank(seconds, 50), rank(controls, 50)
	out.Ratio = out.Median / b
	return out
}

func (c *curve) run(w *workers, age time.Duration) {
	for _, effect := range effects {
		for _, share := range shares {
			c.Cells = append(c.Cells, measure(w, c, effect, share, age))
		}
	}
}

func (c *curve) print(control bool) {
	fmt.Printf("\n%s; %g requests a second, %s bad is normal, %d runs a cell\n", c.Name, c.RPS, percent(c.Rate), c.Runs)
	fmt.Printf("%8s %6s %8s %8s %8s %7s %9s", "bad", "share", "bound", "median", "p90", "ratio", "seconds")
	if control {
		fmt.Printf(" %8s %7s", "bound*", "ratio*")
	}
	fmt.Println()
	for _, x := range c.Cells {
		fmt.Printf("%8s %6s %8.0f %8.0f %8.0f %7.2f %9.2f", percent(x.Effect), percent(x.Share), x.Bound, x.Median, x.P90, x.Ratio, x.Seconds)
		if control {
			fmt.Printf(" %8.0f %7.2f", x.Beside, x.Median/x.Beside)
		}
		if x.Missed > 0 {
			fmt.Printf("  %d not in 6 h", x.Missed)
		}
		fmt.Println()
	}
	fmt.Printf("worst ratio down to %s bad: %.2f", percent(published), c.worst())
	if control {
		fmt.Printf("; *with what its control has to answer to rule out a common cause: %.2f", c.worstBeside())
	}
	fmt.Println()
}

func percent(x float64) string { return fmt.Sprintf("%.3g %%", 100*x) }

// rank is a percentile.
func rank(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	return values[min(len(values)-1, int(p/100*float64(len(values))))]
}
