package sequential

import (
	"math"
	"time"
)

// Params are the test's settings. The zero value needs no tuning; a value that
// is out of range, or no number, counts as the default.
type Params struct {
	// Alpha is how likely a healthy version is called failing in its first
	// hours, and about that for each day that it is watched. Default: 1e-4.
	Alpha float64
	// CommonAlpha is how likely a strong cause that both versions have in common
	// is taken for the version's own. Default: 0.05.
	CommonAlpha float64
	// Floor is the share of bad answers that is normal whatever the control
	// does, 0 to 0.4. Default: 0.001.
	Floor float64
	// MaxBad is the share of bad answers that is too much whatever is normal, 0
	// to 0.4. 0: none.
	MaxBad float64
	// Margin is how much over what is normal a version must have been shown not
	// to be, for Success. Default: 0.01.
	Margin float64
	// CallerShare of all requests makes one caller everybody: its evidence
	// counts alone. 0 to 1. Default: 0.5.
	CallerShare float64
	// Patience is how long evidence waits for a control that is not known to
	// get requests. Default: 3s.
	Patience time.Duration
}

func (p Params) withDefaults() Params {
	for _, v := range []struct {
		value           *float64
		least, most, or float64
	}{
		{&p.Alpha, 1e-12, 0.1, 1e-4},
		{&p.CommonAlpha, 1e-6, 0.5, 0.05},
		{&p.Floor, 1e-7, highest, 0.001},
		{&p.MaxBad, 1e-7, highest, 0},
		{&p.Margin, 1e-4, 0.5, 0.01},
		{&p.CallerShare, 0.01, 1, 0.5},
	} {
		if !(*v.value >= v.least && *v.value <= v.most) {
			*v.value = v.or
		}
	}
	if p.Patience <= 0 || p.Patience > time.Hour {
		p.Patience = 3 * time.Second
	}
	return p
}

// need is the evidence, as a logarithm, that a failure takes.
func (p *Params) need() float64 { return math.Log(1 / p.Alpha) }

// weakNeed is that of the weak level.
func (p *Params) weakNeed() float64 { return math.Log(1 / p.CommonAlpha) }
