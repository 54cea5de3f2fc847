package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// +kubebuilder:validation:XValidation:rule="!has(self.betweenTokens) || !has(self.maxDuration) || duration(self.betweenTokens) <= duration(self.maxDuration)",message="want at most maxDuration",fieldPath=".betweenTokens"

// Stream bounds an answer of protocol OpenAI that comes in pieces. Until its
// first content nothing of it reaches the caller and any rung may answer; from
// then on it is committed, and a failure ends it with an error event.
type Stream struct {
	// FirstToken bounds the time from the request's headers to the model's first
	// content; what is left of the deadline is the ladder's. 1ms up to the
	// deadline less the reserve. Default: the deadline less the reserve.
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s')",message="want over 0"
	FirstToken *metav1.Duration `json:"firstToken,omitempty"`
	// BetweenTokens bounds each silence after the first content, 10ms to 15m and
	// at most MaxDuration. Default: 10s, or MaxDuration where that is less.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10ms') && duration(self) <= duration('15m')",message="want 10ms to 15m"
	BetweenTokens *metav1.Duration `json:"betweenTokens,omitempty"`
	// MaxDuration bounds the whole stream, from the deadline up to 24h. Default:
	// 10m, or the deadline where that is more; at most the route's own request
	// timeout.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('24h')",message="want 1ms to 24h"
	MaxDuration *metav1.Duration `json:"maxDuration,omitempty"`
	// HoldBytes is the most that is held before the first content, 1024 to
	// 1048576 (1 MiB). Default: 65536 (64 KiB).
	// +kubebuilder:validation:Minimum=1024
	// +kubebuilder:validation:Maximum=1048576
	// +kubebuilder:default=65536
	HoldBytes *int64 `json:"holdBytes,omitempty"`
}

// Chat holds completions of protocol OpenAI to more than their form.
type Chat struct {
	// Refusal fails an answer in which the model declined. Default: off.
	Refusal *ChatCheck `json:"refusal,omitempty"`
	// ContentFilter fails finish_reason content_filter. Default: off.
	ContentFilter *ChatCheck `json:"contentFilter,omitempty"`
	// Choices fails another number of choices than the request's n. Default:
	// Enforce.
	Choices *ChatCheck `json:"choices,omitempty"`
	// Format fails content that breaks the request's response_format. Default:
	// off.
	Format *ChatCheck `json:"format,omitempty"`
}

// ChatCheck is one of them; {} enforces it.
type ChatCheck struct {
	// Mode. Default: Enforce.
	// +kubebuilder:default=Enforce
	Mode Mode `json:"mode,omitempty"`
}
