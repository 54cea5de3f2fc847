package policy

// Stream bounds an answer that comes in pieces. Until its first content nothing
// of it reaches the caller and any rung may answer; from then on it is
// committed, and a failure ends it with an error event.
type Stream struct {
	// FirstToken bounds the time from the request's headers to the model's
	// first content. More than 0 and less than the policy's deadline, whose rest
	// is the ladder's.
	FirstToken Duration `json:"firstToken"`
	// BetweenTokens bounds each silence after the first content.
	BetweenTokens Duration `json:"betweenTokens"`
	// MaxDuration bounds the whole stream.
	MaxDuration Duration `json:"maxDuration"`
	// HoldBytes is the most that is held before the first content.
	HoldBytes int64 `json:"holdBytes"`
}

// Chat is what a completion is held to beyond its form. An empty mode is off.
type Chat struct {
	Refusal       Mode `json:"refusal,omitempty"`       // the model declined
	ContentFilter Mode `json:"contentFilter,omitempty"` // finish_reason content_filter
	Choices       Mode `json:"choices,omitempty"`       // not the number of choices that was asked for
	Format        Mode `json:"format,omitempty"`        // content that breaks the request's response_format
}

// LastRung is what Envoy alone says to a gRPC call that nothing else answered.
type LastRung string

// The last rungs of a gRPC route. The zero value is LastRungUnavailable.
const (
	LastRungUnavailable LastRung = ""       // status UNAVAILABLE
	LastRungAnswer      LastRung = "answer" // the safe default as a message with status OK
)
