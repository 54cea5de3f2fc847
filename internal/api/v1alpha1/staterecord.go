package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// +kubebuilder:object:root=true
// +kubebuilder:printcolumn:name="Key",type=string,JSONPath=`.spec.key`
// +kubebuilder:printcolumn:name="Lease",type=string,JSONPath=`.spec.lease`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`

// StateRecord is internal state of safestate, which nobody but safestate writes:
// what releases, kills and proxies stand at, one object a record. Package
// internal/store/kube reads and writes it. A file of this kind is refused, and an
// object that was written by hand is passed over. Who may read these may read
// the private keys that policies are signed with.
type StateRecord struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata"`
	Spec              StateRecordSpec `json:"spec"`
}

// StateRecordSpec is one record. The object's name and labels follow from the key.
type StateRecordSpec struct {
	// Key of the record. Required.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^/[!-~]*$`
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="never changes; another key is another record"
	Key string `json:"key"`
	// Value is at most 1 MiB, in base64. Default: no bytes.
	// +kubebuilder:validation:MaxLength=1398104
	Value []byte `json:"value,omitempty"`
	// Lease is the Lease that the record lives as long as. Default: it stays.
	// +kubebuilder:validation:MaxLength=63
	Lease string `json:"lease,omitempty"`
	// Replaces is the resourceVersion that this write replaced: an API server does
	// not write what stays the same, and each write of a record has to count.
	// Default: the record is new.
	// +kubebuilder:validation:MaxLength=32
	Replaces string `json:"replaces,omitempty"`
}
