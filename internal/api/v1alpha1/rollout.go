package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Rollout says how a version comes into traffic, and what takes it out again.
type Rollout struct {
	// Steps lead to all traffic, in this order. Weights grow, and the last one
	// is 100. Default: 5, 25, 50 and 100, each with its own defaults.
	Steps []RolloutStep `json:"steps,omitempty"`
	// HoldbackPercent of the traffic stays on the version before, as the control,
	// once a version has all the rest; 0 to 50. Default: 1.
	HoldbackPercent *int32 `json:"holdbackPercent,omitempty"`
	// Automatic says what is done about a version that fails. Default: Rollback.
	Automatic Automatic `json:"automatic,omitempty"`
	// CoolDown is how long the version that an automatic rollback went to is not
	// rolled back itself, and how long one that lost its holdback has to be well to
	// get it back, 0s to 24h. Default: 5m.
	CoolDown *metav1.Duration `json:"coolDown,omitempty"`
	// RollbacksPerHour bounds the automatic rollbacks, but for those of a running
	// rollout to its stable version, 1 to 60. Default: 3.
	RollbacksPerHour *int32 `json:"rollbacksPerHour,omitempty"`
	// Limits are what never counts as normal. Default: none.
	Limits *RolloutLimits `json:"limits,omitempty"`
	// Checks ask other systems about a version. Names are unique. Default: none.
	Checks []RolloutCheck `json:"checks,omitempty"`
}

// RolloutStep is one share of the traffic and what it takes to go on.
type RolloutStep struct {
	// Weight is the new version's share of the model's traffic in percent, 0 to
	// 100. Required.
	Weight *int32 `json:"weight"`
	// Duration is the least time at this weight, up to 720h. Default: 1m.
	Duration *metav1.Duration `json:"duration,omitempty"`
	// MinRequests are the least answers of the new version at this weight, up to
	// 1000000000. Default: 100; at weight 0, which gives it none, 0.
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
	MaxBadPercent *float64 `json:"maxBadPercent,omitempty"`
	// MaxP99 is the longest that 99 of 100 of its answers may take, 1ms to 15m.
	// Default: no limit.
	MaxP99 *metav1.Duration `json:"maxP99,omitempty"`
}

// RolloutCheck holds a number of another system to bounds. What is no number,
// NaN among it, is an error and neither passes nor fails.
type RolloutCheck struct {
	// Name of the check: letters, digits, -, _ and ., 63 at most. Required.
	Name string `json:"name"`
	// Prometheus is asked for it. Required.
	Prometheus *PrometheusQuery `json:"prometheus"`
	// Min and Max bound it, inclusive. At least one.
	Min *float64 `json:"min,omitempty"`
	Max *float64 `json:"max,omitempty"`
	// Interval between queries, 1s to 1h. Default: 10s.
	Interval *metav1.Duration `json:"interval,omitempty"`
}

// PrometheusQuery yields one number.
type PrometheusQuery struct {
	// URL of the server, http or https, without credentials. Required.
	URL string `json:"url"`
	// Query is PromQL that yields a scalar or one sample. $namespace, $model and
	// $version in it are replaced by the names of the version in question.
	// Required.
	Query string `json:"query"`
}
