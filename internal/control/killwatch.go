package control

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/signals"
)

// killWatch holds the answers of every version against the criteria of automatic
// kills, and counts what comes after one. It is safe for concurrent use; only the
// leader feeds it. What it knows is no older than a window, and is not kept: who
// leads next begins anew.
type killWatch struct {
	mu     sync.Mutex
	models map[string]*watchedModel
}

type watchedModel struct {
	versions map[string]*watchedVersion
	after    release.Aftermath
}

type watchedVersion struct {
	since   time.Time // a person's last decision for it
	windows []killWindow
	alarm   *release.Alarm // nil: it is over no criterion
}

func newKillWatch() *killWatch { return &killWatch{models: map[string]*watchedModel{}} }

const (
	// killSettles is how long after a person's decision answers are not counted that
	// hosts tell of: they may have been given before.
	killSettles = time.Second
	// afterSettles is how long after a kill what is told is not counted: what was under
	// way ends, and is told of.
	afterSettles = 5 * time.Second
)

// feed takes in what came since the last time.
func (w *killWatch) feed(came []signals.Increment, models []compile.Model, state func(model string) release.State, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	by := map[string][]*signals.Increment{}
	for i := range came {
		by[came[i].Model] = append(by[came[i].Model], &came[i])
	}
	known := map[string]bool{}
	for i := range models {
		m := &models[i]
		s := state(m.Name)
		if m.Kill == nil && s.Stop == nil {
			continue
		}
		known[m.Name] = true
		x := w.models[m.Name]
		if x == nil {
			x = &watchedModel{versions: map[string]*watchedVersion{}}
			w.models[m.Name] = x
		}
		x.watch(m, by[m.Name], &s, now)
		x.follow(by[m.Name], s.Stop, now)
	}
	maps.DeleteFunc(w.models, func(name string, _ *watchedModel) bool { return !known[name] })
}

// watch counts what came of the versions that have traffic. Nothing is evidence while
// the model is killed.
func (x *watchedModel) watch(m *compile.Model, came []*signals.Increment, s *release.State, now time.Time) {
	if m.Kill == nil || s.Suspended != nil {
		clear(x.versions)
		return
	}
	maps.DeleteFunc(x.versions, func(name string, _ *watchedVersion) bool { return s.Weights[name] == 0 })
	for name, weight := range s.Weights {
		if weight == 0 {
			continue
		}
		since := s.EvidenceSince(name)
		v := x.versions[name]
		if v == nil || !v.since.Equal(since) || len(v.windows) != len(m.Kill.When) {
			v = &watchedVersion{since: since, windows: make([]killWindow, len(m.Kill.When))}
			x.versions[name] = v
		}
		var counts *signals.Counts
		if i := slices.IndexFunc(came, func(i *signals.Increment) bool { return i.Name == name }); i >= 0 && now.Sub(since) >= killSettles {
			counts = &came[i].Counts
		}
		v.take(now, m.Kill.When, counts)
	}
}

// take counts, and finds the first criterion that is met, those of safety before
// others.
func (v *watchedVersion) take(now time.Time, when []compile.KillCriterion, came *signals.Counts) {
	v.alarm = nil
	for i := range when {
		v.windows[i].add(now, &when[i], came)
		if a, over := v.windows[i].over(&when[i]); over && (v.alarm == nil || a.Safety && !v.alarm.Safety) {
			v.alarm = &a
		}
	}
}

// follow counts what comes after an automatic kill that is in force.
func (x *watchedModel) follow(came []*signals.Increment, k *release.Stop, now time.Time) {
	if k == nil || k.Seen.IsZero() {
		return
	}
	if x.after.ID != k.ID {
		x.after = release.Aftermath{ID: k.ID, Since: now}
	}
	if now.Sub(k.Seen) < afterSettles {
		return
	}
	for _, i := range came {
		x.after.Fallbacks += i.Fallbacks
		switch {
		case i.Name == "": // nobody was asked
		case len(k.Versions) == 0 || slices.Contains(k.Versions, i.Name):
			x.after.Asked += i.Asked
		default:
			x.after.Requests += i.Clean + i.Bad
			x.after.Bad += i.Bad
		}
	}
}

// of is what is known of a model.
func (w *killWatch) of(model string) (alarms map[string]release.Alarm, after release.Aftermath) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.models[model]
	if x == nil {
		return nil, release.Aftermath{}
	}
	for name, v := range x.versions {
		if v.alarm != nil {
			if alarms == nil {
				alarms = map[string]release.Alarm{}
			}
			alarms[name] = *v.alarm
		}
	}
	return alarms, x.after
}
