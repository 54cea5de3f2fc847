package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// FailSafePolicy says which answers of a route fail, and what answers instead.
type FailSafePolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              FailSafePolicySpec `json:"spec"`
}

// FailSafePolicySpec is one policy, for every rule that it targets.
type FailSafePolicySpec struct {
	// TargetRefs name HTTPRoutes and GRPCRoutes of the policy's namespace;
	// sectionName is a rule's name, and without one every rule is meant. At
	// least one. A rule has at most one policy.
	TargetRefs []gatewayv1.LocalPolicyTargetReferenceWithSectionName `json:"targetRefs"`

	// Host is what judges the answers: the external processor, the WASM filter
	// inside the proxy, or both, of which the filter judges what the processor
	// has not. WASM and Both are for HTTPRoutes. Default: Processor.
	Host Host `json:"host,omitempty"`

	// Mode is Observe or Enforce. Default: Observe.
	Mode PolicyMode `json:"mode,omitempty"`

	// EnforcePercent is the share of requests that are enforced, over 0 and at
	// most 100; the others are observed. Only with mode Enforce. Default: 100.
	// Under 100 the proxy has no static default, since it cannot draw lots.
	EnforcePercent *float64 `json:"enforcePercent,omitempty"`

	// Deadline bounds the whole answer, fallbacks included, from the request's
	// headers on; of a stream, the time until its first content goes out.
	// Required; 1ms to 15m.
	Deadline *metav1.Duration `json:"deadline"`

	// Reserve is the part of the deadline that the ladder keeps for itself:
	// the model gets the rest. Default: with a fallback rung its deadline and
	// 5ms; else 5ms, or a tenth of the deadline where that is less.
	Reserve *metav1.Duration `json:"reserve,omitempty"`

	// Stream bounds streamed answers; only with protocol OpenAI. Default: as its
	// fields say.
	Stream *Stream `json:"stream,omitempty"`

	// BodyLimit bounds what is read. Default: 1 MiB, over it Answer.
	BodyLimit *BodyLimit `json:"bodyLimit,omitempty"`

	// Detect says which answers and requests fail. Default: nonFinite, broken
	// and late.
	Detect Detect `json:"detect,omitempty"`

	// Ladder answers failed requests, in this order. Required; safeDefault is
	// its last rung, and every kind of rung stands in it at most once.
	Ladder []Rung `json:"ladder"`

	// Breaker of each version of the model. Default: 5 failures, 30s, 3.
	Breaker *Breaker `json:"breaker,omitempty"`

	// MaxConcurrent bounds the requests in flight at the model, per replica of
	// the processor; the excess goes to the ladder at once. Default: no bound.
	MaxConcurrent *int32 `json:"maxConcurrent,omitempty"`

	// Budget bounds the share of requests that the ladder answers. Default:
	// none.
	Budget *Budget `json:"budget,omitempty"`

	// WhenProcessorAway is what the proxy does while no processor answers.
	// Default: SafeDefault.
	WhenProcessorAway Away `json:"whenProcessorAway,omitempty"`

	// GRPCLastRung is what the proxy alone says to a gRPC call that nothing else
	// answered; only with a GRPCRoute among the targets. Default: Unavailable.
	GRPCLastRung GRPCLastRung `json:"grpcLastRung,omitempty"`

	// LogPayloads writes the bodies of failed answers to the log. Default:
	// false.
	LogPayloads bool `json:"logPayloads,omitempty"`
}

// BodyLimit bounds request and response bodies, each.
type BodyLimit struct {
	// Bytes is the limit, 1024 to 67108864 (64 MiB). Default: 1048576 (1 MiB).
	Bytes *int64 `json:"bytes,omitempty"`
	// ResponseOver: what happens to an answer over it. Default: Answer.
	ResponseOver ResponseOver `json:"responseOver,omitempty"`
	// RequestOver: what happens to a request over it, where the policy reads
	// requests. Default: Answer.
	RequestOver OnFail `json:"requestOver,omitempty"`
}

// Breaker stops asking what keeps failing. Closed, it opens after Failures in
// a row, or where a rate over its window passes its threshold. Open, it lets
// nothing through for Recovery. Half-open, HalfOpenRequests decide. Then it
// comes back by a ramp.
type Breaker struct {
	// Disabled: no breaker at all. Default: false.
	Disabled bool `json:"disabled,omitempty"`
	// State that it is held at by hand. Default: Auto.
	State BreakerState `json:"state,omitempty"`
	// Failures in a row; 0 is not used. Default: 5.
	Failures *int32 `json:"failures,omitempty"`
	// Recovery is how long it stays open. Default: 30s.
	Recovery *metav1.Duration `json:"recovery,omitempty"`
	// HalfOpenRequests all have to be clean to close it. Default: 3.
	HalfOpenRequests *int32 `json:"halfOpenRequests,omitempty"`
	// Ramp is the time from closed to full traffic. Default: 10s.
	Ramp *metav1.Duration `json:"ramp,omitempty"`

	// WindowRequests is the length of the rates' window as a count, Window as
	// a time; one of them. Default, where a rate is set: a window of 10s.
	WindowRequests *int32           `json:"windowRequests,omitempty"`
	Window         *metav1.Duration `json:"window,omitempty"`
	// MinRequests in the window before a rate says anything. Default: 20.
	MinRequests *int32 `json:"minRequests,omitempty"`
	// FailurePercent of failures that opens it, over 0 and at most 100.
	// Default: not used.
	FailurePercent *float64 `json:"failurePercent,omitempty"`
	// SlowCall is the time from which an answer is slow. Default: not used.
	SlowCall *metav1.Duration `json:"slowCall,omitempty"`
	// SlowCallPercent of slow answers that opens it, over 0 and at most 100;
	// with SlowCall. Default: 50 where SlowCall is set.
	SlowCallPercent *float64 `json:"slowCallPercent,omitempty"`
}

// Budget bounds the share of a route's requests that the ladder answers.
type Budget struct {
	// FallbackPercent of requests, 0 to 100. Required.
	FallbackPercent *float64 `json:"fallbackPercent"`
	// Window over which the share is taken. Default: 1m.
	Window *metav1.Duration `json:"window,omitempty"`
	// MinRequests in the window before the budget says anything. Default: 20.
	MinRequests *int32 `json:"minRequests,omitempty"`
	// Over: what happens past it. Default: Answer.
	Over BudgetOver `json:"over,omitempty"`
}
