package admin

import (
	"time"

	"github.com/safestate/safestate/internal/release"
)

// Need is why a model waits for a person: what automation leaves alone on purpose.
// A model without a good version is not among them, that is Degraded.
type Need string

// The needs.
const (
	NeedBound       Need = "bound"        // a version fails, and a limit keeps safestate from rolling it back
	NeedCommonCause Need = "common-cause" // a version and its control fail alike
	NeedNotHelped   Need = "not-helped"   // a rollback did not help: the cause is elsewhere
	NeedRefused     Need = "refused"      // a proxy refuses the weights
	NeedPaused      Need = "paused"       // safestate paused the rollout
)

// NeedsOf finds why a model waits for a person. It is pure. refused is what a proxy
// says of the present generation, nil: none refuses it.
func NeedsOf(s release.State, refused *release.Refused, now time.Time) []Need {
	out := []Need{}
	if s.Bound != nil {
		out = append(out, NeedBound)
	}
	if i := s.Incident; i != nil && i.Ended.IsZero() {
		out = append(out, NeedCommonCause)
	}
	if notHelped(s, now) {
		out = append(out, NeedNotHelped)
	}
	if refused != nil {
		out = append(out, NeedRefused)
	}
	if r := s.Rollout; r != nil && r.Paused != nil && r.Paused.By == release.By {
		out = append(out, NeedPaused)
	}
	return out
}

// notHelped: and no person has decided anything about the model since, which every
// decision for a version leaves a mark of.
func notHelped(s release.State, now time.Time) bool {
	w := s.Withdrawal
	if w == nil || w.Helped == nil || *w.Helped || w.Kind == release.KindAborted || s.Degraded || now.Sub(w.Decided) >= newsFor {
		return false
	}
	for _, m := range s.Marks {
		if m.At.After(w.Decided) {
			return false
		}
	}
	return true
}
