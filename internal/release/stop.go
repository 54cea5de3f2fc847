package release

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// KillPlan bounds the kills that safestate does by itself.
type KillPlan struct {
	// Mode of a kill, as people name it. Default: degrade.
	Mode string `json:"mode,omitempty"`
	// CoolDown is how long after an automatic kill of the model, and after a revive by
	// a person, nothing of it is killed by itself. Default: 5m.
	CoolDown Duration `json:"coolDown,omitempty"`
	// PerHour bounds the automatic kills of the model. Default: 3.
	PerHour int `json:"perHour,omitempty"`
}

const defaultKillsPerHour = 3

func (p KillPlan) withDefaults() KillPlan {
	p.Mode = orElse(line(p.Mode), "degrade")
	if p.CoolDown <= 0 || p.CoolDown > maxDuration {
		p.CoolDown = defaultCoolDown
	}
	if p.PerHour < 1 || p.PerHour > 1000 {
		p.PerHour = defaultKillsPerHour
	}
	return p
}

// Alarm is a version that is over a criterion: by enough of its answers, from enough
// callers.
type Alarm struct {
	Why string `json:"why"` // one line for a person
	// Safety: the version is killed even where a rollback would do.
	Safety   bool   `json:"safety,omitempty"`
	Requests uint64 `json:"requests"` // that were judged
	Bad      uint64 `json:"bad"`
	// Since is when the first of the bad ones came, by the control plane's clock.
	// Required: without it nothing is killed.
	Since time.Time `json:"since,omitzero"`
}

// Stop is an automatic kill: what is to be killed, and what became of it.
type Stop struct {
	// ID of the order. Whoever carries it out twice does it once.
	ID string    `json:"id"`
	At time.Time `json:"at"`
	// Versions to kill; empty: the model as a whole, for nothing would be left of it.
	Versions []string `json:"versions,omitempty"`
	Mode     string   `json:"mode"`
	Reason   string   `json:"reason"`
	// Rate is the share of bad answers before, 0 to 1; After is that since then, of
	// those that are not killed.
	Rate  float64 `json:"rate"`
	After float64 `json:"after"`
	// Seen is when it was found in force; zero: it is to be carried out.
	Seen time.Time `json:"seen,omitzero"`
	// Helped is nil until a minute of it was seen; Result says then what was.
	Helped *bool  `json:"helped,omitempty"`
	Result string `json:"result,omitempty"`
}

// StopFor is how long an automatic kill may wait to be carried out: what led to it
// is no reason any more then.
const StopFor = time.Minute

// Pending reports whether the kill is to be carried out.
func (k *Stop) Pending(now time.Time) bool {
	return k != nil && k.Seen.IsZero() && now.Before(k.At.Add(StopFor))
}

// Order is the automatic kill that is to be carried out; nil: none is, or a person
// has decided since about what has the traffic.
func (s State) Order(now time.Time) *Stop {
	if !s.Stop.Pending(now) {
		return nil
	}
	for _, v := range s.serving() {
		if s.EvidenceSince(v).After(s.Stop.At) {
			return nil
		}
	}
	return s.Stop
}

// Aftermath is what came of a model since an automatic kill was seen in force,
// without the first seconds, in which what was under way ends.
type Aftermath struct {
	ID        string    `json:"id"`             // of the Stop
	Since     time.Time `json:"since,omitzero"` // counted from then on
	Asked     uint64    `json:"asked"`          // requests that went to what was killed
	Requests  uint64    `json:"requests"`       // judged answers of what was not
	Bad       uint64    `json:"bad"`
	Fallbacks uint64    `json:"fallbacks"` // requests that the ladder answered
}

// stop orders the kill of versions that are over a criterion, where a rollback would
// not do, or the criterion is one of safety, and no rail holds it back.
func (t *turn) stop() {
	s := &t.s
	if b := s.KillBound; b != nil && (t.plan.Kill == nil || !t.now.Before(b.Until)) {
		s.KillBound = nil
	}
	if t.plan.Kill == nil || s.Degraded || s.Stop.Pending(t.now) {
		return
	}
	bad := t.condemnable()
	if len(bad) == 0 {
		return
	}
	var why []string
	worst := 0.0
	for _, v := range bad {
		a := t.in.Alarms[v]
		why = append(why, v+": "+a.Why)
		worst = max(worst, rate(a.Bad, a.Requests))
	}
	versions := bad
	if t.nothingLeft(bad) {
		versions = nil
	}
	reason := line(strings.Join(why, "; "))
	if b, held := t.killRail(bad, versions == nil); held {
		t.holdKill(b, reason)
		return
	}
	s.KillBound = nil
	s.Kills = append(t.lastHour(s.Kills), t.now)
	s.Stop = &Stop{
		ID: fmt.Sprintf("automatic-%d-%d", s.Sequence+1, t.now.UnixNano()),
		At: t.now, Versions: versions, Mode: t.plan.Kill.Mode, Reason: reason, Rate: worst,
	}
	t.at(t.now.Add(StopFor))
	t.record(t.seen(Record{Kind: KindAutomaticKill, Version: list(bad), Reason: t.what(versions) + " is killed, " + t.plan.Kill.Mode + ": " + reason}, s.serving()...))
}

// what names what a kill takes in.
func (t *turn) what(versions []string) string {
	if len(versions) == 0 {
		return "the model"
	}
	return list(versions)
}

// condemnable are the versions with traffic, by name, that are over a criterion and
// that no rollback takes out.
func (t *turn) condemnable() []string {
	var out []string
	for _, v := range t.s.serving() {
		if a, over := t.over(v); over && (a.Safety || !t.rollsBack(v)) {
			out = append(out, v)
		}
	}
	return out
}

// over says whether a version is over a criterion by what came after a person's last
// decision for it.
func (t *turn) over(version string) (Alarm, bool) {
	a := t.in.Alarms[version]
	since := clean(a.Since)
	return a, a.Requests > 0 && a.Bad > 0 && !since.IsZero() && !since.Before(t.s.EvidenceSince(version))
}

// rollsBack says that a rollback takes the version out of traffic once it is called
// failing: there is where to go, and no rail.
func (t *turn) rollsBack(version string) bool {
	if i := t.s.Incident; i != nil && i.Ended.IsZero() {
		return false
	}
	if _, held := t.rail(version); held {
		return false
	}
	target, _ := t.target([]string{version})
	_, ill := t.over(target)
	return target != "" && !ill
}

// nothingLeft says that without the versions no other has, or could take, the
// traffic.
func (t *turn) nothingLeft(bad []string) bool {
	fit := func(v string) bool { _, ill := t.over(v); return !ill && t.unfit(v) == "" }
	if slices.ContainsFunc(t.s.serving(), func(v string) bool { return !slices.Contains(bad, v) && fit(v) }) {
		return false
	}
	target, _ := t.target(bad)
	return target == "" || !fit(target)
}

// killRail is what keeps automation from killing versions; false: nothing does.
func (t *turn) killRail(bad []string, whole bool) (Bound, bool) {
	s, p := &t.s, t.plan.Kill
	b, coolDown := Bound{Since: t.now, Version: list(bad)}, time.Duration(p.CoolDown)
	hit := bad
	if whole {
		hit = s.serving()
	}
	for _, v := range hit {
		if until := s.Holds[v].Until; t.now.Before(until) {
			b.Rail, b.Until = RailHold, until
			return b, true
		}
	}
	kills := t.lastHour(s.Kills)
	last := time.Time{}
	if n := len(s.Kills); n > 0 {
		last = s.Kills[n-1]
	}
	switch revived := clean(t.in.Killed.Revived); {
	case !revived.IsZero() && t.now.Before(revived.Add(coolDown)):
		b.Rail, b.Until = RailRevived, clean(revived.Add(coolDown))
	case !last.IsZero() && t.now.Before(last.Add(coolDown)):
		b.Rail, b.Until = RailCoolDown, clean(last.Add(coolDown))
	case len(kills) >= p.PerHour:
		b.Rail, b.Until = RailPerHour, clean(kills[len(kills)-p.PerHour].Add(time.Hour))
	default:
		return b, false
	}
	return b, true
}

// holdKill notes the rail that was met, once while it holds.
func (t *turn) holdKill(b Bound, why string) {
	s := &t.s
	t.at(b.Until)
	if s.KillBound != nil && s.KillBound.Rail == b.Rail && s.KillBound.Version == b.Version {
		return
	}
	s.KillBound = &b
	t.record(t.seen(Record{Kind: KindKillBound, Version: b.Version, Reason: b.SaysOfKill() + "; " + why}, s.serving()...))
}

// SaysOfKill is the rail of an automatic kill in a sentence for a person.
func (b Bound) SaysOfKill() string {
	stays := b.Version + " is over what kills it, and stays until " + b.Until.Format(clock)
	switch b.Rail {
	case RailHold:
		return stays + ": a person forced it"
	case RailRevived:
		return stays + ": a person has revived it, or another part of the model"
	case RailCoolDown:
		return stays + ": the model was killed by itself just before"
	}
	return stays + ": the model had as many automatic kills as it may have in an hour"
}
