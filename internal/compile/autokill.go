package compile

import (
	"strings"
	"time"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/kill"
)

// AutomaticKill says when a model is killed by itself, with its defaults filled in.
type AutomaticKill struct {
	When     []KillCriterion // in the file's order; at least one
	Mode     kill.Mode
	CoolDown time.Duration
	PerHour  int
}

// KillCriterion is one; all of its numbers are more than 0.
type KillCriterion struct {
	Detector    string  // as evidence names it; empty: any
	BadPercent  float64 // from which on it is met
	MinRequests uint64
	Within      time.Duration
	Safety      bool // met, it kills even where a rollback would do
}

const (
	defaultKillCoolDown = 5 * time.Minute
	defaultKillsPerHour = 3
)

// automaticKill compiles a Model's kill; nil: it has none.
func automaticKill(k *v1alpha1.ModelKill) *AutomaticKill {
	if k == nil || k.Automatic == nil {
		return nil
	}
	a := k.Automatic
	out := &AutomaticKill{
		Mode:     kill.Degrade,
		CoolDown: config.Interval(a.CoolDown, defaultKillCoolDown),
		PerHour:  int(or(a.KillsPerHour, defaultKillsPerHour)),
	}
	if a.Mode != "" {
		out.Mode = kill.Mode(strings.ToLower(string(a.Mode)))
	}
	for i := range a.When {
		w := &a.When[i]
		c := KillCriterion{
			BadPercent: or(w.BadPercent, 0), MinRequests: uint64(max(or(w.MinRequests, 0), 0)), Within: config.Interval(w.Within, 0), Safety: w.Safety,
		}
		if w.Detector != v1alpha1.DetectorAny {
			c.Detector = strings.ToLower(string(w.Detector))
		}
		out.When = append(out.When, c)
	}
	return out
}
