package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ModelKill says when safestate stops a model by itself. A person may at any time.
type ModelKill struct {
	// Automatic kills what is over a criterion. Default: nothing is killed by itself.
	Automatic *AutomaticKill `json:"automatic,omitempty"`
}

// AutomaticKill kills a version that is over a criterion, or the whole model where
// nothing would be left of it. What a rollback takes out is not killed.
type AutomaticKill struct {
	// When lists the criteria, 1 to 8. One is enough. Required.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	When []KillCriterion `json:"when"`
	// Mode is what callers of what was killed get. Default: Degrade.
	// +kubebuilder:default=Degrade
	Mode KillMode `json:"mode,omitempty"`
	// CoolDown is how long after an automatic kill of the model, and after a person's
	// revive, nothing of it is killed by itself, 1m to 24h. Default: 5m.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1m') && duration(self) <= duration('24h')",message="want 1m to 24h"
	// +kubebuilder:default="5m"
	CoolDown *metav1.Duration `json:"coolDown,omitempty"`
	// KillsPerHour bounds the automatic kills of the model, 1 to 60. Default: 3.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=60
	// +kubebuilder:default=3
	KillsPerHour *int32 `json:"killsPerHour,omitempty"`
}

// KillCriterion is met by a version of whose answers enough are bad, also without
// those of any one caller.
type KillCriterion struct {
	// Detector that finds them bad; Any counts all. Default: Any.
	// +kubebuilder:default=Any
	Detector KillDetector `json:"detector,omitempty"`
	// BadPercent is the share of bad answers from which on it is met, over 0 and at
	// most 100. Required.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:ExclusiveMinimum=true
	// +kubebuilder:validation:Maximum=100
	BadPercent *float64 `json:"badPercent"`
	// MinRequests are the least answers that have to be judged, 10 to 1000000.
	// Required.
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=1000000
	MinRequests *int32 `json:"minRequests"`
	// Within is how old the answers may be that count, 1s to 10m. Required.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('10m')",message="want 1s to 10m"
	Within *metav1.Duration `json:"within"`
	// Safety kills even where a rollback would do. Default: false.
	Safety bool `json:"safety,omitempty"`
}

// +kubebuilder:validation:Enum=Degrade;Default;Blackhole

// KillMode is what callers of what was killed get.
type KillMode string

// What callers of what was killed get.
const (
	KillDegrade   KillMode = "Degrade"   // what the ladder answers
	KillDefault   KillMode = "Default"   // the safe default, by Envoy alone
	KillBlackhole KillMode = "Blackhole" // a plain 503
)

// Values lists what callers of what was killed can get.
func (KillMode) Values() []string { return []string{"Degrade", "Default", "Blackhole"} }

// +kubebuilder:validation:Enum=Any;NonFinite;Confidence;Late;Broken;Contract;Constant;Chat;CEL;Dependency

// KillDetector is whose findings count for a criterion.
type KillDetector string

// DetectorAny counts what any of them finds.
const DetectorAny KillDetector = "Any"

// Values lists whose findings can count.
func (KillDetector) Values() []string {
	return []string{"Any", "NonFinite", "Confidence", "Late", "Broken", "Contract", "Constant", "Chat", "CEL", "Dependency"}
}
