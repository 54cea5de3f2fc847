package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/safestate/safestate/internal/sequential"
)

// life is how many days one healthy version is watched.
const life = 30

// baselines are the normal shares of bad answers.
var baselines = []float64{0, 0.0001, 0.001, 0.01, 0.05}

// weather is all that makes a healthy service look unwell. The bad answers'
// share is that of both versions at any moment; only the scatter is each one's
// own.
type weather struct {
	rps      float64       // mean
	swing    float64       // of the traffic over a day, 0 to 1
	rate     float64       // bad, mean
	badSwing float64       // of the rate over a day
	noise    float64       // deviation of the rate's logarithm
	memory   time.Duration // of the noise
	drift    float64       // deviation of the logarithm over thirty days
	scatter  float64       // deviation of each version's own rate by step
	bursts   float64       // of bad answers, a day
	strength float64       // of a burst: so many times the rate, and at most 3 % more
	floods   float64       // bursts of traffic, a day
}

// state is the weather at a moment.
type state struct {
	noise, drift float64
	burst        float64 // factor
	burstEnds    time.Time
	flood        float64
	floodEnds    time.Time
}

func (a *state) now(t time.Time) float64 {
	if t.Before(a.burstEnds) {
		return a.burst
	}
	return 1
}

func weatherOf(r *rand.Rand) weather {
	w := weather{
		rps:      math.Exp(between(r, math.Log(0.05), math.Log(500))),
		swing:    between(r, 0, 0.8),
		rate:     baselines[r.IntN(len(baselines))],
		badSwing: between(r, 0, 0.4),
		memory:   time.Duration(math.Exp(between(r, math.Log(30), math.Log(6*3600))) * float64(time.Second)),
		drift:    between(r, 0, 0.5),
		floods:   between(r, 0, 6),
	}
	if r.IntN(3) > 0 {
		w.noise = between(r, 0.1, 0.5)
	}
	if r.IntN(2) > 0 {
		w.scatter = between(r, 0.1, 0.3)
	}
	if r.IntN(2) > 0 {
		w.bursts, w.strength = between(r, 0.2, 4), between(r, 1.5, 5)
	}
	return w
}

func between(r *rand.Rand, low, high float64) float64 { return low + (high-low)*r.Float64() }

// set gives a scene the weather of its next step.
func (w *weather) set(s *scene, at *state) {
	seconds := s.step.Seconds()
	if w.noise > 0 {
		keep := math.Exp(-seconds / w.memory.Seconds())
		at.noise = keep*at.noise + math.Sqrt(1-keep*keep)*w.noise*s.r.NormFloat64()
	}
	at.drift += w.drift * math.Sqrt(seconds/(30*86400)) * s.r.NormFloat64()
	if s.r.Float64() < w.bursts*seconds/86400 {
		at.burst = between(s.r, 1, w.strength)
		at.burstEnds = s.now.Add(time.Duration(math.Exp(between(s.r, math.Log(5), math.Log(900))) * float64(time.Second)))
	}
	if s.r.Float64() < w.floods*seconds/86400 {
		at.flood = between(s.r, 2, 10)
		at.floodEnds = s.now.Add(time.Duration(between(s.r, 5, 600) * float64(time.Second)))
	}
	angle := 2 * math.Pi * s.now.Sub(epoch).Hours() / 24
	rate := w.rate * math.Exp(at.noise-w.noise*w.noise/2+at.drift) * (1 + w.badSwing*math.Sin(angle+1))
	s.rps = w.rps * (1 + w.swing*math.Sin(angle))
	if s.now.Before(at.burstEnds) {
		rate = min(rate*at.burst, rate+0.03)
	}
	if s.now.Before(at.floodEnds) {
		s.rps *= at.flood
	}
	rate = min(rate, 0.5)
	s.own, s.control = rate, rate
	if w.scatter > 0 {
		s.own *= math.Exp(w.scatter*s.r.NormFloat64() - w.scatter*w.scatter/2)
		s.control *= math.Exp(w.scatter*s.r.NormFloat64() - w.scatter*w.scatter/2)
	}
}

// ageing is what became of one healthy version.
type ageing struct {
	days    float64
	rolled  []string // each false rollback in words
	common  float64  // steps that were called a common cause, as days
	success float64  // as days
	alarms  int      // common causes that began
}

// grow watches one healthy version: a rollout, and then most of a month at
// everything but the holdback.
func grow(r *rand.Rand, days int, step time.Duration) ageing {
	w := weatherOf(r)
	s := newScene(r)
	s.step = step
	var at state
	live := func(share float64, d time.Duration, out *ageing) {
		s.share = share
		s.monitor.Shift(s.now)
		before := sequential.Inconclusive
		for end := s.now.Add(d); s.now.Before(end) && (out == nil || len(out.rolled) == 0); {
			if out != nil {
				out.days += step.Hours() / 24
			}
			w.set(s, &at)
			v := s.tick()
			part := step.Hours() / 24
			switch {
			case out == nil:
			case v.Verdict == sequential.Failure:
				out.rolled = append(out.rolled, fmt.Sprintf("%s at %s: %s (LogE %.1f); %.3g a second, %s bad ×%.2g burst ×%.2g noise %.2g over %s scatter %.2g",
					s.now.Sub(epoch).Round(time.Second), percent(share), v.Why, v.LogE, s.rps, percent(w.rate), math.Exp(at.noise+at.drift), at.now(s.now), w.noise, w.memory.Round(time.Second), w.scatter))
				return // it is rolled back: its life ends
			case v.Verdict == sequential.CommonCause:
				out.common += part
				if before != v.Verdict {
					out.alarms++
				}
			case v.Verdict == sequential.Success:
				out.success += part
			}
			before = v.Verdict
		}
	}
	live(0, time.Duration(between(r, 0, 6)*float64(time.Hour)), nil) // the stable version alone
	var out ageing
	live(0.01, 10*time.Minute, &out)
	live(0.1, 20*time.Minute, &out)
	live(0.5, 30*time.Minute, &out)
	live(0.99, time.Duration(days)*24*time.Hour-time.Hour, &out)
	return out
}

// health is the false rollbacks of all.
type health struct {
	Days      float64  `json:"healthy_days"`
	Rollbacks int      `json:"false_rollbacks"`
	PerDay    float64  `json:"false_rollbacks_per_day"`
	Upper     float64  `json:"upper_95"`
	Alarms    float64  `json:"common_cause_alarms_per_day"`
	Common    float64  `json:"common_cause_share_of_time"`
	Success   float64  `json:"success_share_of_time"`
	Stories   []string `json:"stories,omitempty"`
}

func healthyDays(w *workers, days int) health {
	n := max(1, days/life)
	found := make([]ageing, n)
	w.each(n, func(i int, r *rand.Rand) {
		step := 10 * time.Second
		if i%20 == 0 {
			step = time.Second // the same at a finer grain, for every twentieth
		}
		found[i] = grow(r, life, step)
	})
	var h health
	for _, a := range found {
		h.Days += a.days
		h.Rollbacks += len(a.rolled)
		h.Stories = append(h.Stories, a.rolled...)
		h.Alarms += float64(a.alarms)
		h.Common += a.common
		h.Success += a.success
	}
	h.PerDay = float64(h.Rollbacks) / h.Days
	h.Upper = upper(h.Rollbacks) / h.Days
	h.Alarms /= h.Days
	h.Common /= h.Days
	h.Success /= h.Days
	return h
}

// upper is the one-sided 95 % limit of a Poisson mean of which n were seen.
func upper(n int) float64 {
	low, high := 0.0, 10+3*float64(n)
	for range 60 {
		mean := (low + high) / 2
		p, term := 0.0, math.Exp(-mean)
		for k := 0; k <= n; k++ {
			p += term
			term *= mean / float64(k+1)
		}
		if p > 0.05 {
			low = mean
		} else {
			high = mean
		}
	}
	return high
}

func (h *health) print() {
	fmt.Printf("\n%.0f healthy version-days: %d false rollbacks, %.2g a day, at most %.2g (95 %%)\n", h.Days, h.Rollbacks, h.PerDay, h.Upper)
	fmt.Printf("common causes: %.2g alarms a day, %s of the time; success %s of the time\n", h.Alarms, percent(h.Common), percent(h.Success))
	for _, s := range h.Stories[:min(len(h.Stories), 15)] {
		fmt.Println("  ", s)
	}
}
