package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Model is one served model and its versions.
type Model struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              ModelSpec `json:"spec"`
}

// ModelSpec says what is served and how it is reached.
type ModelSpec struct {
	// Protocol is how requests and answers are shaped. Required.
	Protocol Protocol `json:"protocol"`

	// FailureDomain names what this model fails together with: a GPU pool, a
	// zone, a vendor. A fallback has to be in another one than its primary, so
	// both then need a name. Default: none.
	FailureDomain string `json:"failureDomain,omitempty"`

	// ServedName is what the server calls the model, in paths and model_name.
	// Default: metadata.name.
	ServedName string `json:"servedName,omitempty"`

	// Versions lists what can get traffic. At least one.
	Versions []ModelVersion `json:"versions"`

	// ConnectTimeout bounds one TCP and TLS connect. Default: 250ms.
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
	Name string `json:"name"`

	// BackendRef is the Service by which a route names this version. A
	// version that only serves as another model's fallback needs none.
	// Default: none.
	BackendRef *BackendRef `json:"backendRef,omitempty"`

	// Endpoints say where the Service leads outside Kubernetes. At least one.
	Endpoints []Endpoint `json:"endpoints"`

	// Artifact identifies what is served. Default: none.
	Artifact *Artifact `json:"artifact,omitempty"`

	// ReportedVersion is what the server writes as model_version; the contract
	// detector's modelVersion compares it. Default: not compared.
	ReportedVersion string `json:"reportedVersion,omitempty"`

	// CompatibleWith names the versions that this one may be rolled back to,
	// such as those that read the same features. Default: all.
	CompatibleWith []string `json:"compatibleWith,omitempty"`
}

// BackendRef names a Service of the model's own namespace.
type BackendRef struct {
	// Name of the Service. Required.
	Name string `json:"name"`
	// Port of the Service, 1 to 65535. Required.
	Port int32 `json:"port"`
}

// Endpoint is one address.
type Endpoint struct {
	// Address is an IP address, or a host name that is resolved by DNS.
	// Required.
	Address string `json:"address"`
	// Port, 1 to 65535. Required.
	Port int32 `json:"port"`
	// GRPCPort is the port that calls of a GRPCRoute go to, 1 to 65535. Default:
	// port.
	GRPCPort *int32 `json:"grpcPort,omitempty"`
}

// Artifact identifies what a version serves.
type Artifact struct {
	// URI says where it is, such as s3://models/fraud/1. Required.
	URI string `json:"uri"`
	// Digest is algorithm:hex, such as sha256 and 64 digits. Default: none.
	Digest string `json:"digest,omitempty"`
}

// TLS names files on the host of whoever connects: the proxy, and for a
// fallback the processor.
type TLS struct {
	// ServerName is sent as SNI and checked against the certificate. Default:
	// the endpoint's address.
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
	AuthorizationFile string `json:"authorizationFile"`
}

// HealthCheck is a GET on every endpoint; 200 is healthy.
type HealthCheck struct {
	// Path starts with a slash. Required.
	Path string `json:"path"`
	// Interval between checks. Default: 5s.
	Interval *metav1.Duration `json:"interval,omitempty"`
	// Timeout of one check. Default: 1s.
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// UnhealthyThreshold is failures in a row. Default: 3.
	UnhealthyThreshold *int32 `json:"unhealthyThreshold,omitempty"`
	// HealthyThreshold is successes in a row. Default: 2.
	HealthyThreshold *int32 `json:"healthyThreshold,omitempty"`
}

// Limits are what one proxy lets through to one version; what is over them is
// answered by the ladder at once. Each is 1 to 1048576.
type Limits struct {
	// MaxConnections open. Default: 65536.
	MaxConnections *int32 `json:"maxConnections,omitempty"`
	// MaxPendingRequests wait for a connection. Default: 65536.
	MaxPendingRequests *int32 `json:"maxPendingRequests,omitempty"`
	// MaxRequests in flight. Default: 65536.
	MaxRequests *int32 `json:"maxRequests,omitempty"`
	// MaxRetries in flight; a gRPC call on its way from the model to the ladder
	// is one. Default: 65536.
	MaxRetries *int32 `json:"maxRetries,omitempty"`
}

// OutlierDetection ejects an endpoint for a while. It is no breaker: a version
// whose every endpoint fails is the breaker's and the release's to judge, and
// they could not with its endpoints ejected. A sole endpoint is ejected only
// where MaxEjectionPercent is 100; its version then has none.
type OutlierDetection struct {
	// Consecutive5xx answers with 5xx, resets and refused connections in a row,
	// 1 to 1000. Default: 5.
	Consecutive5xx *int32 `json:"consecutive5xx,omitempty"`
	// Interval between looks at what to bring back, 100ms to 1h. Default: 10s.
	Interval *metav1.Duration `json:"interval,omitempty"`
	// BaseEjectionTime is how long an endpoint is out, times how often it was,
	// 100ms to 5m, which is also the most. Default: 30s.
	BaseEjectionTime *metav1.Duration `json:"baseEjectionTime,omitempty"`
	// MaxEjectionPercent of a version's endpoints are out at a time, 1 to 100.
	// Default: 50.
	MaxEjectionPercent *int32 `json:"maxEjectionPercent,omitempty"`
}
