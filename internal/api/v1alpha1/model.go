package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=safestate
// +kubebuilder:printcolumn:name="Protocol",type=string,JSONPath=`.spec.protocol`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="WeightsHeld",type=string,JSONPath=`.status.conditions[?(@.type=="WeightsHeld")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`

// Model is one served model and its versions.
type Model struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata"`
	Spec              ModelSpec `json:"spec"`
	// Status is written by safestate; what a file says of it is ignored.
	// +optional
	Status ModelStatus `json:"status,omitzero"`
}

// ModelStatus says what became of a Model.
type ModelStatus struct {
	// ObservedGeneration is metadata.generation of what the status is about.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions: Accepted, and Programmed once every expected proxy has it.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ModelSpec says what is served and how it is reached.
type ModelSpec struct {
	// Protocol is how requests and answers are shaped. Required.
	Protocol Protocol `json:"protocol"`

	// FailureDomain names what this model fails together with: a GPU pool, a
	// zone, a vendor. A fallback has to be in another one than its primary, so
	// both then need a name. Default: none.
	// +kubebuilder:validation:MaxLength=253
	FailureDomain string `json:"failureDomain,omitempty"`

	// ServedName is what the server calls the model, in paths and model_name.
	// Default: metadata.name.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^\\\\x00-\\\\x20\\\\x7f]*$')",message="want a name without blanks"
	ServedName string `json:"servedName,omitempty"`

	// Versions lists what can get traffic. At least one.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:XValidation:rule="self.all(v, !has(v.backendRef) || self.exists_one(w, has(w.backendRef) && w.backendRef.name == v.backendRef.name && w.backendRef.port == v.backendRef.port && (has(w.backendRef.subset) ? w.backendRef.subset : '') == (has(v.backendRef.subset) ? v.backendRef.subset : '')))",message="have a backendRef twice; want one Service, or one subset, for each version"
	// +kubebuilder:validation:XValidation:rule="self.all(v, has(v.backendRef) || has(v.endpoints) && size(v.endpoints) > 0)",message="have one with neither endpoints nor a backendRef; want where it is"
	// +kubebuilder:validation:XValidation:rule="self.all(v, !has(v.compatibleWith) || v.compatibleWith.all(c, c != v.name && self.exists(w, w.name == c)))",message="have a compatibleWith that names no other version of the model; want the versions that it may be rolled back to"
	Versions []ModelVersion `json:"versions"`

	// ConnectTimeout bounds one TCP and TLS connect. Default: 250ms.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('1m')",message="want 1ms to 1m"
	// +kubebuilder:default="250ms"
	ConnectTimeout *metav1.Duration `json:"connectTimeout,omitempty"`

	// TLS secures the connection. Default: plain text.
	TLS *TLS `json:"tls,omitempty"`

	// Credentials are sent to the model. Default: none.
	Credentials *Credentials `json:"credentials,omitempty"`

	// HealthCheck probes every endpoint's port; a grpcPort is not probed.
	// Default: none.
	HealthCheck *HealthCheck `json:"healthCheck,omitempty"`

	// Limits bound what the proxy has under way at each version. Default: as its
	// fields say.
	Limits *Limits `json:"limits,omitempty"`

	// OutlierDetection leaves out single endpoints of a version that keep
	// failing while others of it do not. Default: off.
	OutlierDetection *OutlierDetection `json:"outlierDetection,omitempty"`

	// Rollout says how a version comes into traffic, and what takes it out
	// again. Default: as its fields say.
	Rollout *Rollout `json:"rollout,omitempty"`

	// Kill says when safestate stops the model by itself. Default: never.
	Kill *ModelKill `json:"kill,omitempty"`
}

// ModelVersion is one immutable version: its name and artifact never change,
// its endpoints may.
type ModelVersion struct {
	// Name, such as v1. Required; a DNS label.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="want lower-case letters, digits and -, 63 at most"
	Name string `json:"name"`

	// BackendRef is the Service by which a route names this version. A
	// version that only serves as another model's fallback needs none.
	// Default: none.
	BackendRef *BackendRef `json:"backendRef,omitempty"`

	// Endpoints say where the Service leads outside Kubernetes. Default: the
	// Service's own name, which is known in Kubernetes only.
	// +kubebuilder:validation:MaxItems=64
	// +listType=map
	// +listMapKey=address
	// +listMapKey=port
	Endpoints []Endpoint `json:"endpoints,omitempty"`

	// Artifact identifies what is served. Default: none.
	Artifact *Artifact `json:"artifact,omitempty"`

	// ReportedVersion is what the server writes as model_version; the contract
	// detector's modelVersion compares it. Default: not compared.
	ReportedVersion string `json:"reportedVersion,omitempty"`

	// CompatibleWith names the versions that this one may be rolled back to,
	// such as those that read the same features. Default: all.
	// +kubebuilder:validation:MaxItems=64
	// +listType=set
	// +kubebuilder:validation:items:MaxLength=63
	CompatibleWith []string `json:"compatibleWith,omitempty"`
}

// +kubebuilder:validation:XValidation:rule="!has(self.kind) || self.kind == 'Service' || !has(self.subset) || self.subset == ''",message="is set, and an InferencePool has no subsets; remove it",fieldPath=".subset"

// BackendRef names a Service of the model's own namespace, or an InferencePool.
type BackendRef struct {
	// Kind of it; InferencePools are served by Istio alone. Default: Service.
	// +kubebuilder:default=Service
	Kind BackendKind `json:"kind,omitempty"`
	// Name of it. Required.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="want lower-case letters, digits and -, 63 at most"
	Name string `json:"name"`
	// Port of the Service, or that the pool's servers have, 1 to 65535. Required.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
	// Subset of the Service's DestinationRule that is the version, where
	// VirtualServices of Istio tell versions by it. Default: the whole Service.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="want lower-case letters, digits and -, 63 at most"
	Subset string `json:"subset,omitempty"`
}

// Endpoint is one address.
type Endpoint struct {
	// Address is an IP address, or a host name that is resolved by DNS.
	// Required.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.contains(':') || self.matches('^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])*[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",message="want an IP address or a host name in lower case, without scheme and port"
	// +kubebuilder:validation:XValidation:rule="!self.contains(':') || self.startsWith('::ffff:') || isIP(self)",message="want an IP address or a host name in lower case, without scheme and port"
	// +kubebuilder:validation:XValidation:rule="self.contains(':') || isIP(self) || !self.matches('(^|[.])[0-9]+$')",message="want an IP address or a host name in lower case, without scheme and port"
	Address string `json:"address"`
	// Port, 1 to 65535. Required.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
	// GRPCPort is the port that calls of a GRPCRoute go to, 1 to 65535. Default:
	// port.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	GRPCPort *int32 `json:"grpcPort,omitempty"`
}

// Artifact identifies what a version serves.
type Artifact struct {
	// URI says where it is, such as s3://models/fraud/1. Required.
	// +kubebuilder:validation:MinLength=1
	URI string `json:"uri"`
	// Digest is algorithm:hex, such as sha256 and 64 digits. Default: none.
	Digest string `json:"digest,omitempty"`
}

// +kubebuilder:validation:XValidation:rule="(has(self.certFile) && self.certFile != '') == (has(self.keyFile) && self.keyFile != '')",message="has one of certFile and keyFile; want both or neither"

// TLS names files on the host of whoever connects: the proxy, and for a
// fallback the processor.
type TLS struct {
	// ServerName is sent as SNI and checked against the certificate. Default:
	// the endpoint's address.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == '' || (size(self) <= 253 && self.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?([.][a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$') && !self.matches('(^|[.])[0-9]+$'))",message="want a host name in lower case"
	ServerName string `json:"serverName,omitempty"`
	// CAFile holds the accepted authorities, PEM. Default: the system's.
	CAFile string `json:"caFile,omitempty"`
	// CertFile and KeyFile identify us, PEM. Both or neither. Default: none.
	CertFile string `json:"certFile,omitempty"`
	KeyFile  string `json:"keyFile,omitempty"`
}

// Credentials are references: no secret stands in a configuration.
type Credentials struct {
	// AuthorizationFile is a file whose content is the Authorization header's
	// value, such as "Bearer …". Required.
	// +kubebuilder:validation:MinLength=1
	AuthorizationFile string `json:"authorizationFile"`
}

// HealthCheck is a GET on every endpoint; 200 is healthy.
type HealthCheck struct {
	// Path starts with a slash. Required.
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:XValidation:rule="self.matches('^/[^\\\\x00-\\\\x08\\\\x0a-\\\\x20#\\\\x7f]*$')",message="want a path that starts with /, such as /v2/health/ready"
	Path string `json:"path"`
	// Interval between checks. Default: 5s.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('100ms') && duration(self) <= duration('1h')",message="want 100ms to 1h"
	// +kubebuilder:default="5s"
	Interval *metav1.Duration `json:"interval,omitempty"`
	// Timeout of one check. Default: 1s.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10ms') && duration(self) <= duration('1m')",message="want 10ms to 1m"
	// +kubebuilder:default="1s"
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// UnhealthyThreshold is failures in a row. Default: 3.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=32767
	// +kubebuilder:default=3
	UnhealthyThreshold *int32 `json:"unhealthyThreshold,omitempty"`
	// HealthyThreshold is successes in a row. Default: 2.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=32767
	// +kubebuilder:default=2
	HealthyThreshold *int32 `json:"healthyThreshold,omitempty"`
}

// Limits are what one proxy lets through to one version; what is over them is
// answered by the ladder at once. Each is 1 to 1048576.
type Limits struct {
	// MaxConnections open. Default: 65536.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1048576
	MaxConnections *int32 `json:"maxConnections,omitempty"`
	// MaxPendingRequests wait for a connection. Default: 65536.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1048576
	MaxPendingRequests *int32 `json:"maxPendingRequests,omitempty"`
	// MaxRequests in flight. Default: 65536.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1048576
	MaxRequests *int32 `json:"maxRequests,omitempty"`
	// MaxRetries in flight; a gRPC call on its way from the model to the ladder
	// is one. Default: 65536.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1048576
	MaxRetries *int32 `json:"maxRetries,omitempty"`
}

// OutlierDetection ejects an endpoint for a while. It is no breaker: a version
// whose every endpoint fails is the breaker's and the release's to judge, and
// they could not with its endpoints ejected. A sole endpoint is ejected only
// where MaxEjectionPercent is 100; its version then has none.
type OutlierDetection struct {
	// Consecutive5xx answers with 5xx, resets and refused connections in a row,
	// 1 to 1000. Default: 5.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +kubebuilder:default=5
	Consecutive5xx *int32 `json:"consecutive5xx,omitempty"`
	// Interval between looks at what to bring back, 100ms to 1h. Default: 10s.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('100ms') && duration(self) <= duration('1h')",message="want 100ms to 1h"
	// +kubebuilder:default="10s"
	Interval *metav1.Duration `json:"interval,omitempty"`
	// BaseEjectionTime is how long an endpoint is out, times how often it was,
	// 100ms to 5m, which is also the most. Default: 30s.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('100ms') && duration(self) <= duration('5m')",message="want 100ms to 5m"
	// +kubebuilder:default="30s"
	BaseEjectionTime *metav1.Duration `json:"baseEjectionTime,omitempty"`
	// MaxEjectionPercent of a version's endpoints are out at a time, 1 to 100.
	// Default: 50.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +kubebuilder:default=50
	MaxEjectionPercent *int32 `json:"maxEjectionPercent,omitempty"`
}
