package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=safestate,shortName=kill
// +kubebuilder:printcolumn:name="Scope",type=string,JSONPath=`.spec.target.scope`
// +kubebuilder:printcolumn:name="Model",type=string,JSONPath=`.spec.target.model`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.spec.target.version`
// +kubebuilder:printcolumn:name="Route",type=string,JSONPath=`.spec.target.route`,priority=1
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Killed",type=boolean,JSONPath=`.status.killed`
// +kubebuilder:printcolumn:name="Applied",type=string,JSONPath=`.status.conditions[?(@.type=="Applied")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.spec.reason`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`

// KillSwitch stops what it targets, and gives it back when its revive says so.
// It is a custom resource only: beside plain Envoy `safestate kill` is the
// command for it, and a file of this kind is refused.
type KillSwitch struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata"`
	Spec              KillSwitchSpec `json:"spec"`
	// Status is written by safestate and read by nobody else.
	// +optional
	Status KillSwitchStatus `json:"status,omitzero"`
}

// KillSwitchSpec is one kill. What it kills never changes: another target is
// another KillSwitch.
type KillSwitchSpec struct {
	// Target is what is stopped. Required.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="never changes; want another KillSwitch for another target"
	Target KillTarget `json:"target"`
	// Mode is what callers of it get. Default: Degrade.
	// +kubebuilder:default=Degrade
	Mode KillMode `json:"mode,omitempty"`
	// Reason says why, to whoever finds it: 1 to 1024 bytes. Required.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason"`
	// Revive gives the target its traffic back. Default: it stays killed.
	Revive *KillRevive `json:"revive,omitempty"`
}

// +kubebuilder:validation:XValidation:rule="self.scope == 'Route' ? has(self.route) && has(self.rule) : !has(self.route) && !has(self.rule)",message="want route and rule with scope Route, and with no other"
// +kubebuilder:validation:XValidation:rule="has(self.model) == (self.scope in ['Model', 'Version'])",message="want model with scope Model and Version, and with no other"
// +kubebuilder:validation:XValidation:rule="has(self.version) == (self.scope == 'Version')",message="want version with scope Version, and with no other"

// KillTarget names objects of the KillSwitch's own namespace.
type KillTarget struct {
	// Scope is how much is stopped. Required.
	Scope KillScope `json:"scope"`
	// Route is the HTTPRoute or GRPCRoute of scope Route. Default: none.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$')",message="want a route's name: letters, digits, dots, dashes and underscores"
	Route string `json:"route,omitempty"`
	// Rule is the name of its rule; rule-N is the unnamed rule N, from 0.
	// Default: none.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$')",message="want a rule's name: letters, digits, dots, dashes and underscores"
	Rule string `json:"rule,omitempty"`
	// Model is the Model of scope Model and Version. Default: none.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$')",message="want a model's name: letters, digits, dots, dashes and underscores"
	Model string `json:"model,omitempty"`
	// Version of it, of scope Version. Default: none.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$')",message="want a version's name: letters, digits, dots, dashes and underscores"
	Version string `json:"version,omitempty"`
}

// +kubebuilder:validation:Enum=All;Route;Model;Version

// KillScope is how much a target takes in; the words of package kill.
type KillScope string

// The scopes, the widest first. All takes in every namespace.
const (
	ScopeAll     KillScope = "All"
	ScopeRoute   KillScope = "Route"
	ScopeModel   KillScope = "Model"
	ScopeVersion KillScope = "Version"
)

// Values lists the scopes.
func (KillScope) Values() []string { return []string{"All", "Route", "Model", "Version"} }

// KillRevive gives a target its traffic back. It counts for one kill, which its
// generation names: one that stands in an object since before is no revive.
type KillRevive struct {
	// Generation is status.generation of the kill that whoever revives has seen.
	// Required.
	// +kubebuilder:validation:Minimum=1
	Generation int64 `json:"generation"`
	// Reason says why it is safe again: 1 to 1024 bytes. Required.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason"`
	// Ramp is the time until all traffic is back, over 0 and at most 24h. Default:
	// at once.
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s') && duration(self) <= duration('24h')",message="want over 0 and at most 24h"
	Ramp *metav1.Duration `json:"ramp,omitempty"`
}

// KillSwitchStatus is how the target stands.
type KillSwitchStatus struct {
	// ObservedGeneration is metadata.generation of what the status is about.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Generation counts what changed what the target's traffic may do; it only
	// grows, and is not metadata.generation.
	Generation int64 `json:"generation,omitempty"`
	// Killed: the target gets no traffic, or is about to lose it.
	Killed bool `json:"killed,omitempty"`
	// Since is when it was killed, or where it is not when it was revived.
	Since *metav1.Time `json:"since,omitempty"`
	// Conditions: Accepted, and Applied once every expected proxy has acknowledged
	// the kill and its traffic showed it.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
