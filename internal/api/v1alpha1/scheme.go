package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// +kubebuilder:object:root=true

// ModelList is how an API server lists Models.
type ModelList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Model `json:"items"`
}

// +kubebuilder:object:root=true

// FailSafePolicyList is how an API server lists FailSafePolicies.
type FailSafePolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []FailSafePolicy `json:"items"`
}

// +kubebuilder:object:root=true

// KillSwitchList is how an API server lists KillSwitches.
type KillSwitchList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []KillSwitch `json:"items"`
}

// +kubebuilder:object:root=true

// StateRecordList is how an API server lists StateRecords.
type StateRecordList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []StateRecord `json:"items"`
}

// GroupVersion is that of the kinds.
var GroupVersion = schema.GroupVersion{Group: Group, Version: Version}

// AddToScheme makes the kinds known to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&Model{}, &ModelList{}, &FailSafePolicy{}, &FailSafePolicyList{}, &KillSwitch{}, &KillSwitchList{},
		&StateRecord{}, &StateRecordList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
