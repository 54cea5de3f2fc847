package notify

import (
	"fmt"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/release"
)

// told is what is told of a kind of release record.
type told struct {
	kind     Kind
	phase    Phase
	severity Severity
	what     string // follows the model's name
}

// releases is what is told of releases; what is not here stays in the history.
var releases = map[release.Kind]told{
	release.KindStarted:       {Release, Once, Info, "a rollout began"},
	release.KindGate:          {Release, Once, Warning, "a rollout waits for a person's promote"},
	release.KindPaused:        {Release, Once, Info, "a rollout is paused"},
	release.KindPromoted:      {Release, Once, Info, "a version was promoted"},
	release.KindAborted:       {Release, Once, Warning, "a rollout was aborted"},
	release.KindRollback:      {Rollback, Once, Critical, "rolled back"},
	release.KindDegraded:      {Degraded, Firing, Critical, "no good version: the ladder answers"},
	release.KindRecovered:     {Degraded, Resolved, Info, "there is a good version again"},
	release.KindNotHelped:     {Attention, Once, Critical, "the rollback did not help: the cause is elsewhere"},
	release.KindCommonCause:   {CommonCause, Firing, Critical, "the version and its control fail alike: nothing was rolled back"},
	release.KindCauseOver:     {CommonCause, Resolved, Info, "the version and its control fail alike no more"},
	release.KindBound:         {Attention, Once, Critical, "a limit kept safestate from rolling back"},
	release.KindKillNotHelped: {Attention, Once, Critical, "the kill did not help: the cause is elsewhere"},
	release.KindKillBound:     {Attention, Once, Critical, "a limit kept safestate from killing"},
	release.KindRefusedConfig: {Attention, Once, Warning, "a proxy refuses the weights"},
}

// FromRelease makes an event of a record; false: it is nothing to tell.
func FromRelease(r release.Record) (Event, bool) {
	t, ok := releases[r.Kind]
	if !ok {
		return Event{}, false
	}
	automatic := r.By == release.By
	if t.kind == Rollback && !automatic || r.Kind == release.KindPaused && automatic {
		t.severity = Warning
	}
	e := Event{
		ID: fmt.Sprintf("release/%s/%d", r.Model, r.Sequence), Kind: t.kind, Phase: t.phase, Severity: t.severity,
		At: r.At, Subject: "model " + r.Model, Model: r.Model, By: r.By, Reason: r.Reason,
		Summary: "model " + r.Model + ": " + t.what + versions(r),
	}
	if t.phase != Once {
		e.Key = string(t.kind) + "/" + r.Model
	}
	if t.kind == CommonCause {
		e.Group = string(CommonCause)
	}
	return e, true
}

func versions(r release.Record) string {
	switch {
	case r.Version != "" && r.Target != "":
		return fmt.Sprintf(" (%s, in its place %s)", r.Version, r.Target)
	case r.Version != "":
		return " (" + r.Version + ")"
	default:
		return ""
	}
}

// FromKill makes an event of a record; false: it is nothing to tell.
func FromKill(r kill.Record) (Event, bool) {
	e := Event{
		ID: fmt.Sprintf("kill/%s/%d/%d", r.Target.Key(), r.Generation, r.Sequence), Kind: Kill, Phase: Firing, Key: KillKey(r.Target), Severity: Critical,
		At: r.At, Subject: r.Target.String(), By: r.By, Reason: r.Reason,
	}
	switch r.Target.Scope {
	case kill.Model:
		e.Model = r.Target.Name
	case kill.Version:
		e.Model = r.Target.Name[:max(strings.LastIndexByte(r.Target.Name, '/'), 0)]
	}
	how := ""
	if r.Automatic {
		how = " by itself"
	}
	switch r.Kind {
	case kill.KindKill:
		e.Summary = fmt.Sprintf("%s was killed%s (%s)", r.Target, how, r.Mode)
	case kill.KindMerged:
		e.Summary = fmt.Sprintf("%s is killed (%s): a replica that was cut off had taken the kill", r.Target, r.Mode)
	case kill.KindRevive:
		e.Phase, e.Severity = Resolved, Info
		e.Summary = fmt.Sprintf("%s was revived", r.Target)
		if r.Ramp != nil {
			e.Summary += fmt.Sprintf(", over %s", r.Ramp.Over)
		}
	case kill.KindAsked:
		e.Kind, e.Phase, e.Key, e.Severity = Approval, Once, "", Warning
		e.Summary = fmt.Sprintf("a revive of %s waits for a second person", r.Target)
	default:
		return Event{}, false
	}
	return e, true
}

// KillKey is the key of the condition that a target is killed.
func KillKey(t kill.Target) string { return string(Kill) + "/" + t.Key() }

// NotProven is that proxies may still serve what was taken away, long after it
// was: since then. change names it in one word, such as a kill's target and
// generation, and what names it for people, such as "the kill of model
// shop/rank". The same change since the same time is one event.
func NotProven(change, what string, missing []string, since time.Time) Event {
	const most = 10
	list := strings.Join(missing[:min(len(missing), most)], ", ")
	if len(missing) > most {
		list += fmt.Sprintf(" and %d more", len(missing)-most)
	}
	return Event{
		ID: fmt.Sprintf("unproven/%s/%d", change, since.UnixMilli()), Kind: Unproven, Phase: Firing, Key: UnprovenKey(change),
		Group: string(Unproven), Severity: Critical, At: since, Subject: what,
		Summary: fmt.Sprintf("%s is not proven: %d proxies may still serve the old state: %s", what, len(missing), list),
	}
}

// Proven ends NotProven.
func Proven(change, what string, at time.Time) Event {
	return Event{
		ID: fmt.Sprintf("proven/%s/%d", change, at.UnixMilli()), Kind: Unproven, Phase: Resolved, Key: UnprovenKey(change),
		Group: string(Unproven), Severity: Info, At: at, Subject: what, Summary: what + " is proven",
	}
}

// UnprovenKey is the key of the condition that a change is not proven.
func UnprovenKey(change string) string { return string(Unproven) + "/" + change }
