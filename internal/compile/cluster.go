package compile

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/policy"
)

// Defaults of a connection to a model.
const (
	defaultConnectTimeout     = 250 * time.Millisecond
	defaultCheckInterval      = 5 * time.Second
	defaultCheckTimeout       = time.Second
	defaultUnhealthyThreshold = 3
	defaultHealthyThreshold   = 2
	defaultConsecutive5xx     = 5
	defaultOutlierInterval    = 10 * time.Second
	defaultBaseEjectionTime   = 30 * time.Second
	defaultMaxEjectionPercent = 50
)

// clusters renders every version that some route names, once.
func (c *compiler) clusters(rules []config.Rule) []Cluster {
	seen := map[string]bool{}
	var out []Cluster
	for i := range rules {
		for _, b := range c.backends(&rules[i]) {
			if name := b.cluster(); !seen[name] {
				seen[name] = true
				out = append(out, cluster(&b))
			}
		}
	}
	slices.SortFunc(out, func(a, b Cluster) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func cluster(b *backend) Cluster {
	spec := &b.model.Value.Spec
	out := Cluster{
		Name:           b.cluster(),
		Namespace:      b.model.Namespace,
		Model:          b.model.Name,
		Version:        b.version.Name,
		Service:        serviceOf(b),
		Endpoints:      endpoints(b.model.Namespace, b.version, b.grpc),
		DNS:            slices.ContainsFunc(config.Endpoints(b.model.Namespace, b.version), isHostName),
		HTTP2:          b.grpc,
		TLS:            tlsOf(spec),
		ConnectTimeout: config.Interval(spec.ConnectTimeout, defaultConnectTimeout),
		Limits:         connectionLimits(spec.Limits),
		Outliers:       outliers(spec.OutlierDetection),
	}
	if spec.Credentials != nil {
		out.AuthorizationFile = spec.Credentials.AuthorizationFile
	}
	if h := spec.HealthCheck; h != nil && !b.grpc {
		out.HealthCheck = &HealthCheck{
			Path:               h.Path,
			Interval:           config.Interval(h.Interval, defaultCheckInterval),
			Timeout:            config.Interval(h.Timeout, defaultCheckTimeout),
			UnhealthyThreshold: uint32(or(h.UnhealthyThreshold, defaultUnhealthyThreshold)),
			HealthyThreshold:   uint32(or(h.HealthyThreshold, defaultHealthyThreshold)),
		}
	}
	return out
}

func connectionLimits(l *v1alpha1.Limits) Limits {
	if l == nil {
		return Limits{}
	}
	return Limits{
		MaxConnections:     uint32(or(l.MaxConnections, 0)),
		MaxPendingRequests: uint32(or(l.MaxPendingRequests, 0)),
		MaxRequests:        uint32(or(l.MaxRequests, 0)),
		MaxRetries:         uint32(or(l.MaxRetries, 0)),
	}
}

func outliers(o *v1alpha1.OutlierDetection) *Outliers {
	if o == nil {
		return nil
	}
	return &Outliers{
		Consecutive5xx:     uint32(or(o.Consecutive5xx, defaultConsecutive5xx)),
		Interval:           config.Interval(o.Interval, defaultOutlierInterval),
		BaseEjectionTime:   config.Interval(o.BaseEjectionTime, defaultBaseEjectionTime),
		MaxEjectionPercent: uint32(or(o.MaxEjectionPercent, defaultMaxEjectionPercent)),
	}
}

func serviceOf(b *backend) Service {
	if b.version.BackendRef == nil {
		return Service{}
	}
	name, port := config.ServiceOf(b.version.BackendRef)
	return Service{Name: name, Port: port, Subset: b.version.BackendRef.Subset}
}

func endpoints(namespace string, v *v1alpha1.ModelVersion, grpc bool) []policy.Endpoint {
	written := config.Endpoints(namespace, v)
	out := make([]policy.Endpoint, len(written))
	for i, e := range written {
		port := e.Port
		if grpc {
			port = or(e.GRPCPort, port)
		}
		out[i] = policy.Endpoint{Address: e.Address, Port: int(port)}
	}
	return out
}

func isHostName(e v1alpha1.Endpoint) bool {
	_, err := netip.ParseAddr(e.Address)
	return err != nil
}

func tlsOf(spec *v1alpha1.ModelSpec) *policy.TLS {
	if spec.TLS == nil {
		return nil
	}
	return &policy.TLS{
		ServerName: spec.TLS.ServerName,
		CAFile:     spec.TLS.CAFile,
		CertFile:   spec.TLS.CertFile,
		KeyFile:    spec.TLS.KeyFile,
	}
}

// or returns an optional field or its default.
func or[T any](field *T, otherwise T) T {
	if field == nil {
		return otherwise
	}
	return *field
}
