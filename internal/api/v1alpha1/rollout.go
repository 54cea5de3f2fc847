package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Rollout says how a version comes into traffic, and what takes it out again.
type Rollout struct {
	// Steps lead to all traffic, in this order. Weights grow, and the last one
	// is 100. Default: 5, 25, 50 and 100, each with its own defaults.
	// +kubebuilder:validation:MaxItems=101
	// +listType=atomic
	// +kubebuilder:validation:XValidation:rule="self.map(s, s.weight).isSorted() && self.all(s, self.exists_one(t, t.weight == s.weight))",message="want weights that grow with every step"
	// +kubebuilder:validation:XValidation:rule="size(self) == 0 || self[size(self) - 1].weight == 100",message="want weight 100 in the last step"
	Steps []RolloutStep `json:"steps,omitempty"`
	// HoldbackPercent of the traffic stays on the version before, as the control,
	// once a version has all the rest; 0 to 50. Default: 1.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=50
	// +kubebuilder:default=1
	HoldbackPercent *int32 `json:"holdbackPercent,omitempty"`
	// Automatic says what is done about a version that fails. Default: Rollback.
	// +kubebuilder:default=Rollback
	Automatic Automatic `json:"automatic,omitempty"`
	// Weights says who moves them. Default: Safestate.
	// +kubebuilder:default=Safestate
	Weights WeightsBy `json:"weights,omitempty"`
	// CoolDown is how long the version that an automatic rollback went to is not
	// rolled back itself, and how long one that lost its holdback has to be well to
	// get it back, 0s to 24h. Default: 5m.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('24h')",message="want 0s to 24h"
	// +kubebuilder:default="5m"
	CoolDown *metav1.Duration `json:"coolDown,omitempty"`
	// RollbacksPerHour bounds the automatic rollbacks, but for those of a running
	// rollout to its stable version, 1 to 60. Default: 3.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=60
	// +kubebuilder:default=3
	RollbacksPerHour *int32 `json:"rollbacksPerHour,omitempty"`
	// Limits are what never counts as normal. Default: none.
	Limits *RolloutLimits `json:"limits,omitempty"`
	// Checks ask other systems about a version. Names are unique. Default: none.
	// +kubebuilder:validation:MaxItems=64
	// +listType=map
	// +listMapKey=name
	Checks []RolloutCheck `json:"checks,omitempty"`
}

// +kubebuilder:validation:XValidation:rule="self.weight != 0 || !has(self.minRequests) || self.minRequests == 0",message="is set at weight 0, which gives the version no request; want 0, or a weight",fieldPath=".minRequests"

// RolloutStep is one share of the traffic and what it takes to go on.
type RolloutStep struct {
	// Weight is the new version's share of the model's traffic in percent, 0 to
	// 100. Required.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Weight *int32 `json:"weight"`
	// Duration is the least time at this weight, up to 720h. Default: 1m.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('720h')",message="want 0s to 720h"
	// +kubebuilder:default="1m"
	Duration *metav1.Duration `json:"duration,omitempty"`
	// MinRequests are the least answers of the new version at this weight, up to
	// 1000000000. Default: 100; at weight 0, which gives it none, 0.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000000
	MinRequests *int32 `json:"minRequests,omitempty"`
	// Gate Manual waits for a person at the end of the step. Default: none.
	Gate Gate `json:"gate,omitempty"`
}

// RolloutLimits are what never counts as normal, however a version and the one
// beside it were before. Where both are over a limit at once it is a common cause:
// nothing is rolled back, since that would help nobody, and a person is asked for.
type RolloutLimits struct {
	// MaxBadPercent is the most of a version's answers that may count as normally
	// bad, over 0 and at most 100. Default: no limit.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:ExclusiveMinimum=true
	// +kubebuilder:validation:Maximum=100
	MaxBadPercent *float64 `json:"maxBadPercent,omitempty"`
	// MaxP99 is the longest that 99 of 100 of its answers may take, 1ms to 15m.
	// Default: no limit.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('15m')",message="want 1ms to 15m"
	MaxP99 *metav1.Duration `json:"maxP99,omitempty"`
}

// +kubebuilder:validation:XValidation:rule="has(self.min) || has(self.max)",message="has neither min nor max; want one of them, or both"
// +kubebuilder:validation:XValidation:rule="!has(self.min) || !has(self.max) || self.min <= self.max",message="want at most max",fieldPath=".min"

// RolloutCheck holds a number of another system to bounds. What is no number,
// NaN among it, is an error and neither passes nor fails.
type RolloutCheck struct {
	// Name of the check: letters, digits, -, _ and ., 63 at most. Required.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$')",message="want letters, digits, -, _ and ., 63 at most"
	Name string `json:"name"`
	// Prometheus is asked for it. Required.
	Prometheus *PrometheusQuery `json:"prometheus"`
	// Min and Max bound it, inclusive. At least one.
	Min *float64 `json:"min,omitempty"`
	Max *float64 `json:"max,omitempty"`
	// Interval between queries, 1s to 1h. Default: 10s.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="want 1s to 1h"
	// +kubebuilder:default="10s"
	Interval *metav1.Duration `json:"interval,omitempty"`
}

// PrometheusQuery yields one number.
type PrometheusQuery struct {
	// URL of the server, http or https, without credentials. Required.
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="(isURL(self) && self.matches('^(?i:https?)://[^/?#]+'))",message="want an http or https URL"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[^/]*//[^/?#]*@')",message="carries credentials; want a URL without"
	URL string `json:"url"`
	// Query is PromQL that yields a scalar or one sample. $namespace, $model and
	// $version in it are replaced by the names of the version in question.
	// Required.
	// +kubebuilder:validation:MinLength=1
	Query string `json:"query"`
}
