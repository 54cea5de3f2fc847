package notify

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Kind is what an event is about; receivers choose by it.
type Kind string

// The kinds.
const (
	Kill        Kind = "kill"         // a kill, and the revive that ends it
	Approval    Kind = "approval"     // a revive waits for a second person
	Rollback    Kind = "rollback"     // a model went back to an earlier version
	Degraded    Kind = "degraded"     // a model has no good version: the ladder answers
	CommonCause Kind = "common-cause" // a version and its control fail alike
	Attention   Kind = "attention"    // automation stopped and waits for a person
	Unproven    Kind = "unproven"     // proxies may still serve what was taken away
	Release     Kind = "release"      // a rollout began, stands, or ended
)

// Kinds returns all kinds.
func Kinds() []Kind {
	return []Kind{Kill, Approval, Rollback, Degraded, CommonCause, Attention, Unproven, Release}
}

// UnmarshalText reads a kind by its name.
func (k *Kind) UnmarshalText(text []byte) error {
	if !slices.Contains(Kinds(), Kind(text)) {
		return fmt.Errorf("is %q; want one of %v", clean(string(text), 60), Kinds())
	}
	*k = Kind(text)
	return nil
}

// Severity says how much somebody has to do about it.
type Severity string

// The severities.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

var severities = []Severity{Info, Warning, Critical}

// UnmarshalText reads a severity by its name.
func (s *Severity) UnmarshalText(text []byte) error {
	if !slices.Contains(severities, Severity(text)) {
		return fmt.Errorf("is %q; want info, warning or critical", clean(string(text), 60))
	}
	*s = Severity(text)
	return nil
}

// rank orders severities.
func (s Severity) rank() int { return slices.Index(severities, s) }

// Phase says whether an event is one moment, or begins or ends a condition.
type Phase string

// The phases.
const (
	Once     Phase = "once"
	Firing   Phase = "firing"
	Resolved Phase = "resolved"
)

// Event is one thing that happened. Its texts may hold what others wrote: each
// form escapes them.
type Event struct {
	// ID is the same for the same thing, also when it is told again after a
	// restart: "release/shop/rank/17".
	ID   string `json:"id"`
	Kind Kind   `json:"kind"`
	// Phase, and the Key that Firing and Resolved of one condition share; empty
	// with Once.
	Phase Phase  `json:"phase"`
	Key   string `json:"key,omitempty"`
	// Group is the cause that it has in common with others: told together. Empty:
	// it stands alone.
	Group    string    `json:"group,omitempty"`
	Severity Severity  `json:"severity"`
	At       time.Time `json:"at"`
	// Subject for people, such as "model shop/rank"; Model is "namespace/name"
	// where it is about one.
	Subject string `json:"subject"`
	Model   string `json:"model,omitempty"`
	Summary string `json:"summary"` // one sentence
	By      string `json:"by,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// each reports whether every one is told, however soon after another: what was
// decided about a kill, and no state that comes and goes.
func (e Event) each() bool { return e.Kind == Kill }

// cleaned returns an event whose texts are of one line and of a bounded length.
func (e Event) cleaned() Event {
	e.Subject, e.Model, e.Summary = clean(e.Subject, 300), clean(e.Model, 300), clean(e.Summary, 1000)
	e.By, e.Reason = clean(e.By, 300), clean(e.Reason, 1000)
	e.At = e.At.UTC()
	return e
}

// clean takes out what a terminal or a page would act on (control characters,
// marks that turn the writing direction, line breaks), and cuts what is longer
// than most characters.
func clean(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}
