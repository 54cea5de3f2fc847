package detect

import (
	"strings"

	"github.com/safestate/safestate/internal/verdict"
)

// viaUpstream is the code details of an answer that came from the model.
const viaUpstream = "via_upstream"

// ViaUpstream reports whether code details say that an answer is an upstream's
// own, and none that Envoy made in its place.
func ViaUpstream(details string) bool { return details == "" || details == viaUpstream }

// cause is what Envoy's response code details say of a reply that Envoy made
// itself.
type cause struct {
	code    verdict.Code // "": none of the model's doing
	foreign bool
}

// causeOf reads response code details. The words are Envoy's own, from its
// StreamInfo::ResponseCodeDetails; "upstream_reset_before_response_started"
// carries the reset's reason in braces. Everything that is not listed is the
// reply of another filter, and is never touched: an authorization that failed
// must not become an answer.
func causeOf(details string) cause {
	switch {
	case details == "" || details == viaUpstream:
		return cause{}
	case details == "response_timeout", details == "max_duration_timeout",
		strings.HasPrefix(details, "upstream_") && strings.Contains(name(details), "timeout"),
		strings.HasPrefix(details, "upstream_max_stream_duration"):
		return cause{code: verdict.LateAnswer}
	case details == "no_healthy_upstream", details == "cluster_not_found":
		return cause{code: verdict.BrokenUnavailable}
	case details == "response_payload_too_large":
		return cause{code: verdict.BrokenTooLarge}
	case strings.HasPrefix(details, "upstream_"):
		return cause{code: resetCode(details)}
	}
	return cause{foreign: true}
}

// name is the details without what stands in braces: a reset's reason may be
// the connection's timeout, which is a refusal and not a late answer.
func name(details string) string {
	before, _, _ := strings.Cut(details, "{")
	return before
}

func resetCode(details string) verdict.Code {
	_, reason, _ := strings.Cut(details, "{")
	switch {
	case strings.Contains(reason, "connection_failure"), strings.Contains(reason, "connection_timeout"):
		return verdict.BrokenRefused
	case strings.HasPrefix(reason, "overflow"):
		return verdict.BrokenUnavailable
	}
	return verdict.BrokenReset
}
