package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=safestate;gateway-api,shortName=fsp
// +kubebuilder:metadata:labels=gateway.networking.k8s.io/policy=Direct
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Deadline",type=string,JSONPath=`.spec.deadline`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.ancestors[*].conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.ancestors[*].conditions[?(@.type=="Programmed")].status`
// +kubebuilder:printcolumn:name="Host",type=string,JSONPath=`.spec.host`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`

// FailSafePolicy says which answers of a route fail, and what answers instead.
type FailSafePolicy struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata"`
	Spec              FailSafePolicySpec `json:"spec"`
	// Status is written by safestate, an ancestor for each target, as GEP-713 has
	// it; what a file says of it is ignored.
	// +optional
	Status gatewayv1.PolicyStatus `json:"status,omitzero"`
}

// +kubebuilder:validation:XValidation:rule="!has(self.enforcePercent) || (has(self.mode) && self.mode == 'Enforce')",message="is set, and nothing is enforced; want mode: Enforce with it",fieldPath=".enforcePercent"
// +kubebuilder:validation:XValidation:rule="!has(self.reserve) || (duration(self.reserve) > duration('0s') && duration(self.reserve) < duration(self.deadline))",message="want over 0 and under the deadline",fieldPath=".reserve"
// +kubebuilder:validation:XValidation:rule="!has(self.ladder) || self.ladder.all(r, !has(r.fallback) || duration(r.fallback.deadline) < duration(self.deadline))",message="has a fallback whose deadline is not under the policy's; want less than that",fieldPath=".ladder"
// +kubebuilder:validation:XValidation:rule="has(self.reserve) || self.ladder.all(r, !has(r.fallback) || duration(r.fallback.deadline) + duration('5ms') < duration(self.deadline))",message="has a fallback whose deadline leaves the model nothing; want at least 6ms less than the policy's deadline, or a reserve",fieldPath=".ladder"
// +kubebuilder:validation:XValidation:rule="!has(self.grpcLastRung) || self.targetRefs.exists(t, t.kind == 'GRPCRoute')",message="is set, and no target is a GRPCRoute; remove it",fieldPath=".grpcLastRung"
// +kubebuilder:validation:XValidation:rule="!self.targetRefs.exists(t, t.kind == 'GRPCRoute') || self.ladder.all(r, (!has(r.rules) || !has(r.rules.status) || r.rules.status == 200) && (!has(r.safeDefault) || !has(r.safeDefault.status) || r.safeDefault.status == 200))",message="has a status, and a message of gRPC is an answer with status OK only; remove it",fieldPath=".ladder"
// +kubebuilder:validation:XValidation:rule="self.targetRefs.exists(t, t.kind != 'GRPCRoute') || self.ladder.all(r, !has(r.fallback) || ((!has(r.fallback.path) || r.fallback.path == '') && !has(r.fallback.probe)))",message="has a fallback with a path or a probe, and over gRPC there is neither; remove it",fieldPath=".ladder"
// +kubebuilder:validation:XValidation:rule="!has(self.stream) || !has(self.stream.maxDuration) || duration(self.stream.maxDuration) >= duration(self.deadline)",message="want the deadline to 24h",fieldPath=".stream.maxDuration"
// +kubebuilder:validation:XValidation:rule="!has(self.stream) || !has(self.stream.betweenTokens) || has(self.stream.maxDuration) || duration(self.stream.betweenTokens) <= (duration(self.deadline) > duration('10m') ? duration(self.deadline) : duration('10m'))",message="want at most maxDuration, which is 10m or the deadline where that is more",fieldPath=".stream.betweenTokens"
// +kubebuilder:validation:XValidation:rule="!has(self.stream) || !has(self.stream.firstToken) || !has(self.reserve) || duration(self.reserve) >= duration(self.deadline) || duration(self.stream.firstToken) <= duration(self.deadline) - duration(self.reserve)",message="want at most the deadline less the reserve",fieldPath=".stream.firstToken"
// +kubebuilder:validation:XValidation:rule="!has(self.stream) || !has(self.stream.firstToken) || has(self.reserve) || (self.ladder.exists(r, has(r.fallback)) ? self.ladder.all(r, !has(r.fallback) || duration(self.stream.firstToken) + duration(r.fallback.deadline) + duration('5ms') <= duration(self.deadline)) : duration(self.stream.firstToken) + (duration(self.deadline) < duration('50ms') ? duration('0s') : duration('5ms')) <= duration(self.deadline))",message="want at most the deadline less what the ladder keeps: its fallback's deadline and 5ms",fieldPath=".stream.firstToken"
// +kubebuilder:validation:XValidation:rule="!has(self.host) || self.host == 'Processor' || self.targetRefs.all(t, t.kind != 'GRPCRoute')",message="has a GRPCRoute, which host WASM and Both do not read; want a policy of its own with host: Processor for it",fieldPath=".targetRefs"
// +kubebuilder:validation:XValidation:rule="!has(self.host) || self.host != 'WASM' || !has(self.detect) || !has(self.detect.constant) || (has(self.detect.constant.mode) && self.detect.constant.mode == 'Disabled')",message="compares many requests, of which one worker's filter sees a few; want host: Processor or Both for it, or remove it",fieldPath=".detect.constant"
// +kubebuilder:validation:XValidation:rule="!has(self.host) || self.host != 'WASM' || !has(self.maxConcurrent)",message="counts in the processor, which host: WASM has none of; want limits.maxRequests of the Model, or host: Processor or Both",fieldPath=".maxConcurrent"
// +kubebuilder:validation:XValidation:rule="!has(self.host) || self.host != 'WASM' || !has(self.logPayloads) || !self.logPayloads",message="writes to the processor's log, and the filter has none of its own; want host: Processor or Both for it, or remove it",fieldPath=".logPayloads"
// +kubebuilder:validation:XValidation:rule="!has(self.host) || self.host != 'WASM' || self.ladder.all(r, !has(r.cache) || !has(r.cache.when) || r.cache.when != 'First')",message="has a cache with when: First, and the filter asks a cache only once the model failed; want when: OnFailure, or host: Processor or Both",fieldPath=".ladder"
// +kubebuilder:validation:XValidation:rule="!has(self.host) || self.host != 'WASM' || self.ladder.all(r, !has(r.safeDefault) || !has(r.safeDefault.refresh))",message="has a refresh, which reads what the filter cannot; want body or template alone, or host: Processor or Both",fieldPath=".ladder"
// +kubebuilder:validation:XValidation:rule="!has(self.stream) || self.targetRefs.all(t, t.kind != 'GRPCRoute')",message="is set, and answers over gRPC come whole; want it with OpenAI on an HTTPRoute only",fieldPath=".stream"
// +kubebuilder:validation:XValidation:rule="!has(self.detect) || !has(self.detect.chat) || self.targetRefs.all(t, t.kind != 'GRPCRoute')",message="is set, and answers over gRPC are no completions; want it with OpenAI on an HTTPRoute only",fieldPath=".detect.chat"

// FailSafePolicySpec is one policy, for every rule that it targets.
type FailSafePolicySpec struct {
	// TargetRefs name HTTPRoutes, GRPCRoutes and, in Istio, VirtualServices of the
	// policy's namespace; sectionName is a rule's name, of a VirtualService that of
	// an entry of its http, and without one every rule is meant. At
	// least one. A rule has at most one policy. In Istio a Model may stand beside its
	// route, for the sidecars of the model's own workloads; sectionName is the name
	// of a version then.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +kubebuilder:validation:XValidation:rule="self.all(t, t.group == 'gateway.networking.k8s.io' && t.kind in ['HTTPRoute', 'GRPCRoute'] || t.group == 'networking.istio.io' && t.kind == 'VirtualService' || t.group == 'safestate.dev' && t.kind == 'Model')",message="want an HTTPRoute or a GRPCRoute of group gateway.networking.k8s.io, a VirtualService of group networking.istio.io, or a Model of group safestate.dev"
	// +kubebuilder:validation:XValidation:rule="self.all(t, self.exists_one(u, u.kind == t.kind && u.name == t.name && (!has(u.sectionName) || !has(t.sectionName) || u.sectionName == t.sectionName)))",message="have a rule twice; want each once, and no sectionName beside the whole route"
	TargetRefs []gatewayv1.LocalPolicyTargetReferenceWithSectionName `json:"targetRefs"`

	// Host is what judges the answers: the external processor, the WASM filter
	// inside the proxy, or both, of which the filter judges what the processor
	// has not. WASM and Both are for HTTPRoutes. Default: Processor.
	// +kubebuilder:default=Processor
	Host Host `json:"host,omitempty"`

	// Mode is Observe or Enforce. Default: Observe.
	// +kubebuilder:default=Observe
	Mode PolicyMode `json:"mode,omitempty"`

	// EnforcePercent is the share of requests that are enforced, over 0 and at
	// most 100; the others are observed. Only with mode Enforce. Default: 100.
	// Under 100 the proxy has no static default, since it cannot draw lots.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:ExclusiveMinimum=true
	// +kubebuilder:validation:Maximum=100
	EnforcePercent *float64 `json:"enforcePercent,omitempty"`

	// Deadline bounds the whole answer, fallbacks included, from the request's
	// headers on; of a stream, the time until its first content goes out.
	// Required; 1ms to 15m.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('15m')",message="want 1ms to 15m"
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
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	// +listType=atomic
	// +kubebuilder:validation:XValidation:rule="size(self) == 0 || has(self[size(self) - 1].safeDefault)",message="want a safeDefault as the last rung"
	// +kubebuilder:validation:XValidation:rule="self.filter(r, has(r.cache)).size() <= 1 && self.filter(r, has(r.fallback)).size() <= 1 && self.filter(r, has(r.rules)).size() <= 1 && self.filter(r, has(r.safeDefault)).size() <= 1",message="want each kind of rung once"
	Ladder []Rung `json:"ladder"`

	// Breaker of each version of the model. Default: 5 failures, 30s, 3.
	Breaker *Breaker `json:"breaker,omitempty"`

	// MaxConcurrent bounds the requests in flight at the model, per replica of
	// the processor; the excess goes to the ladder at once. Default: no bound.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
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
	// +kubebuilder:validation:Minimum=1024
	// +kubebuilder:validation:Maximum=67108864
	// +kubebuilder:default=1048576
	Bytes *int64 `json:"bytes,omitempty"`
	// ResponseOver: what happens to an answer over it. Default: Answer.
	// +kubebuilder:default=Answer
	ResponseOver ResponseOver `json:"responseOver,omitempty"`
	// RequestOver: what happens to a request over it, where the policy reads
	// requests. Default: Answer.
	// +kubebuilder:default=Answer
	RequestOver OnFail `json:"requestOver,omitempty"`
}

// +kubebuilder:validation:XValidation:rule="(has(self.disabled) && self.disabled) || !has(self.failures) || (self.failures >= 0 && self.failures <= 100000)",message="want 0 to 100000",fieldPath=".failures"
// +kubebuilder:validation:XValidation:rule="(has(self.disabled) && self.disabled) || !has(self.recovery) || (duration(self.recovery) >= duration('100ms') && duration(self.recovery) <= duration('1h'))",message="want 100ms to 1h",fieldPath=".recovery"
// +kubebuilder:validation:XValidation:rule="(has(self.disabled) && self.disabled) || !has(self.halfOpenRequests) || (self.halfOpenRequests >= 1 && self.halfOpenRequests <= 1000)",message="want 1 to 1000",fieldPath=".halfOpenRequests"
// +kubebuilder:validation:XValidation:rule="(has(self.disabled) && self.disabled) || !has(self.ramp) || (duration(self.ramp) >= duration('0s') && duration(self.ramp) <= duration('1h'))",message="want 0s to 1h",fieldPath=".ramp"
// +kubebuilder:validation:XValidation:rule="(has(self.disabled) && self.disabled) || !has(self.windowRequests) || (self.windowRequests >= 2 && self.windowRequests <= 100000)",message="want 2 to 100000",fieldPath=".windowRequests"
// +kubebuilder:validation:XValidation:rule="(has(self.disabled) && self.disabled) || !has(self.window) || (duration(self.window) >= duration('1s') && duration(self.window) <= duration('1h'))",message="want 1s to 1h",fieldPath=".window"
// +kubebuilder:validation:XValidation:rule="(has(self.disabled) && self.disabled) || !has(self.minRequests) || (self.minRequests >= 1 && self.minRequests <= 100000)",message="want 1 to 100000",fieldPath=".minRequests"
// +kubebuilder:validation:XValidation:rule="(has(self.disabled) && self.disabled) || !has(self.failurePercent) || (self.failurePercent > 0.0 && self.failurePercent <= 100.0)",message="want over 0 and at most 100",fieldPath=".failurePercent"
// +kubebuilder:validation:XValidation:rule="(has(self.disabled) && self.disabled) || !has(self.slowCall) || (duration(self.slowCall) >= duration('1ms') && duration(self.slowCall) <= duration('15m'))",message="want 1ms to 15m",fieldPath=".slowCall"
// +kubebuilder:validation:XValidation:rule="(has(self.disabled) && self.disabled) || !has(self.slowCallPercent) || (self.slowCallPercent > 0.0 && self.slowCallPercent <= 100.0)",message="want over 0 and at most 100",fieldPath=".slowCallPercent"
// +kubebuilder:validation:XValidation:rule="(has(self.disabled) && self.disabled) || !has(self.windowRequests) || !has(self.window)",message="is set beside window; want one of them",fieldPath=".windowRequests"
// +kubebuilder:validation:XValidation:rule="(has(self.disabled) && self.disabled) || !has(self.windowRequests) || !has(self.minRequests) || self.minRequests <= self.windowRequests",message="want at most windowRequests",fieldPath=".minRequests"
// +kubebuilder:validation:XValidation:rule="(has(self.disabled) && self.disabled) || !has(self.slowCallPercent) || has(self.slowCall)",message="slowCall is missing beside it; want the time from which an answer is slow",fieldPath=".slowCallPercent"
// +kubebuilder:validation:XValidation:rule="(has(self.disabled) && self.disabled) || !has(self.failures) || self.failures != 0 || has(self.failurePercent) || has(self.slowCall)",message="is 0 and no rate is set, so that it never opens; want disabled: true for no breaker",fieldPath=".failures"

// Breaker stops asking what keeps failing. Closed, it opens after Failures in
// a row, or where a rate over its window passes its threshold. Open, it lets
// nothing through for Recovery. Half-open, HalfOpenRequests decide. Then it
// comes back by a ramp.
type Breaker struct {
	// Disabled: no breaker at all. Default: false.
	Disabled bool `json:"disabled,omitempty"`
	// State that it is held at by hand. Default: Auto.
	// +kubebuilder:default=Auto
	State BreakerState `json:"state,omitempty"`
	// Failures in a row; 0 is not used. Default: 5.
	// +kubebuilder:default=5
	Failures *int32 `json:"failures,omitempty"`
	// Recovery is how long it stays open. Default: 30s.
	// +kubebuilder:validation:XValidation:rule="duration(self) == duration(self)",message="want a duration such as 80ms, 1.5s or 1m30s"
	// +kubebuilder:default="30s"
	Recovery *metav1.Duration `json:"recovery,omitempty"`
	// HalfOpenRequests all have to be clean to close it. Default: 3.
	// +kubebuilder:default=3
	HalfOpenRequests *int32 `json:"halfOpenRequests,omitempty"`
	// Ramp is the time from closed to full traffic. Default: 10s.
	// +kubebuilder:validation:XValidation:rule="duration(self) == duration(self)",message="want a duration such as 80ms, 1.5s or 1m30s"
	// +kubebuilder:default="10s"
	Ramp *metav1.Duration `json:"ramp,omitempty"`

	// WindowRequests is the length of the rates' window as a count, Window as
	// a time; one of them. Default, where a rate is set: a window of 10s.
	WindowRequests *int32 `json:"windowRequests,omitempty"`
	// +kubebuilder:validation:XValidation:rule="duration(self) == duration(self)",message="want a duration such as 80ms, 1.5s or 1m30s"
	Window *metav1.Duration `json:"window,omitempty"`
	// MinRequests in the window before a rate says anything. Default: 20.
	MinRequests *int32 `json:"minRequests,omitempty"`
	// FailurePercent of failures that opens it, over 0 and at most 100.
	// Default: not used.
	FailurePercent *float64 `json:"failurePercent,omitempty"`
	// SlowCall is the time from which an answer is slow. Default: not used.
	// +kubebuilder:validation:XValidation:rule="duration(self) == duration(self)",message="want a duration such as 80ms, 1.5s or 1m30s"
	SlowCall *metav1.Duration `json:"slowCall,omitempty"`
	// SlowCallPercent of slow answers that opens it, over 0 and at most 100;
	// with SlowCall. Default: 50 where SlowCall is set.
	SlowCallPercent *float64 `json:"slowCallPercent,omitempty"`
}

// Budget bounds the share of a route's requests that the ladder answers.
type Budget struct {
	// FallbackPercent of requests, 0 to 100. Required.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	FallbackPercent *float64 `json:"fallbackPercent"`
	// Window over which the share is taken. Default: 1m.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="want 1s to 1h"
	// +kubebuilder:default="1m"
	Window *metav1.Duration `json:"window,omitempty"`
	// MinRequests in the window before the budget says anything. Default: 20.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	// +kubebuilder:default=20
	MinRequests *int32 `json:"minRequests,omitempty"`
	// Over: what happens past it. Default: Answer.
	// +kubebuilder:default=Answer
	Over BudgetOver `json:"over,omitempty"`
}
