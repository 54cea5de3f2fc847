package notify

import (
	"encoding/json"
	"strings"
	"time"
)

// alert is a postableAlert of Alertmanager's API v2
// (github.com/prometheus/alertmanager, api/v2/openapi.yaml).
type alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"startsAt"`
	EndsAt      time.Time         `json:"endsAt"`
}

// ownLabels are those that alerts have of us.
var ownLabels = []string{"alertname", "severity", "kind", "subject", "model", "event", "source"}

// How long an alert lives in an Alertmanager that hears no more of it: of a
// condition several times the resend, as Prometheus does it; of a moment as long
// as it takes to be seen.
const (
	resendsToLive = 4
	momentLives   = 5 * time.Minute
)

// alertNames are by kind: what routes and silences go by.
var alertNames = map[Kind]string{
	Kill: "SafestateKilled", Approval: "SafestateApprovalWanted", Rollback: "SafestateRolledBack", Degraded: "SafestateDegraded",
	CommonCause: "SafestateCommonCause", Attention: "SafestateAttention", Unproven: "SafestateUnproven", Release: "SafestateRelease",
}

func alertsOf(events []Event, r settings, now time.Time) ([]byte, error) {
	alerts := make([]alert, 0, len(events))
	for _, e := range events {
		alerts = append(alerts, alertOf(e, r, now))
	}
	return json.Marshal(alerts)
}

// alertOf makes an alert. Its labels tell it from every other, and those of what
// ends a condition are those of what began it.
func alertOf(e Event, r settings, now time.Time) alert {
	a := alert{
		Labels:      map[string]string{"alertname": alertNames[e.Kind], "kind": string(e.Kind), "source": "safestate", "subject": e.Subject},
		Annotations: map[string]string{"summary": e.Summary},
		StartsAt:    e.At,
	}
	for _, l := range r.Labels {
		name, value, _ := strings.Cut(l, "=")
		a.Labels[name] = value
	}
	if e.Model != "" {
		a.Labels["model"] = e.Model
	}
	for name, text := range map[string]string{"by": e.By, "reason": e.Reason} {
		if text != "" {
			a.Annotations[name] = text
		}
	}
	switch e.Phase {
	case Firing:
		a.EndsAt = now.Add(resendsToLive * r.Resend).UTC()
		a.Labels["severity"] = string(e.Severity)
	case Resolved:
		a.EndsAt = e.At
		a.Labels["severity"] = string(Critical) // every condition is, while it fires
		// It began earlier, and Alertmanager keeps that: it wants a begin before
		// the end.
		a.StartsAt = e.At.Add(-time.Millisecond)
	default:
		a.EndsAt = now.Add(momentLives).UTC()
		a.Labels["severity"] = string(e.Severity)
		a.Labels["event"] = e.ID
	}
	return a
}
