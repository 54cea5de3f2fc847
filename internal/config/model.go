package config

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

var digestPattern = regexp.MustCompile(`^[a-z0-9]+([+._-][a-z0-9]+)*:[0-9a-fA-F]{32,}$`)

func (c *checker) model(m *Object[v1alpha1.Model]) {
	spec := &m.Value.Spec
	if spec.Protocol == "" {
		c.fail("spec.protocol", "is missing; want %s", oneOf(spec.Protocol.Values()))
	}
	if strings.ContainsFunc(spec.ServedName, func(r rune) bool { return r <= ' ' || r == 0x7f }) || len(spec.ServedName) > 253 {
		c.fail("spec.servedName", "is %s; want a name without blanks, 253 characters at most", quote(spec.ServedName))
	}
	if len(spec.FailureDomain) > 253 {
		c.fail("spec.failureDomain", "is %d characters long; want 253 at most", len(spec.FailureDomain))
	}
	c.within("spec.connectTimeout", spec.ConnectTimeout, time.Millisecond, time.Minute)
	c.tls("spec.tls", m.Namespace, spec.TLS)
	if spec.Credentials != nil {
		if spec.Credentials.AuthorizationFile == "" {
			c.fail("spec.credentials.authorizationFile", "is missing; want a file that holds the Authorization header's value")
		}
		c.file("spec.credentials.authorizationFile", m.Namespace, spec.Credentials.AuthorizationFile)
	}
	c.healthCheck("spec.healthCheck", spec.HealthCheck)
	c.limits("spec.limits", spec.Limits)
	c.outliers("spec.outlierDetection", spec.OutlierDetection)
	c.rollout("spec.rollout", spec.Rollout)
	c.kill("spec.kill", spec.Kill)
	if len(spec.Versions) == 0 {
		c.fail("spec.versions", "is missing; want at least one version with its endpoints")
	}
	seen := map[string]bool{}
	for i := range spec.Versions {
		c.version(fmt.Sprintf("spec.versions[%d]", i), m, i, seen)
	}
	for i := range spec.Versions {
		c.compatible(fmt.Sprintf("spec.versions[%d].compatibleWith", i), &spec.Versions[i], seen)
	}
}

func (c *checker) version(field string, m *Object[v1alpha1.Model], index int, seen map[string]bool) {
	v := &m.Value.Spec.Versions[index]
	switch {
	case v.Name == "":
		c.fail(field+".name", "is missing; want a name such as v1")
	case !label(v.Name):
		c.fail(field+".name", "is %s; want lower-case letters, digits and -, 63 at most", quote(v.Name))
	case seen[v.Name]:
		c.fail(field+".name", "is %s, which an earlier version has too; want one name each", quote(v.Name))
	}
	seen[v.Name] = true
	if v.BackendRef != nil {
		c.backendRef(field+".backendRef", m, index)
	}
	switch {
	case len(v.Endpoints) > 0:
	case v.BackendRef == nil:
		c.fail(field+".endpoints", "is missing; want at least one {address, port}, or in Kubernetes a backendRef")
	default:
		c.warn(field+".endpoints", "is missing; the Service is asked for by its name in Kubernetes, %s", Endpoints(m.Namespace, v)[0].Address)
	}
	places := map[string]bool{}
	for i, e := range v.Endpoints {
		at, place := fmt.Sprintf("%s.endpoints[%d]", field, i), fmt.Sprintf("%s:%d", e.Address, e.Port)
		switch {
		case e.Address == "":
			c.fail(at+".address", "is missing; want an IP address or a host name")
		case !address(e.Address):
			c.fail(at+".address", "is %s; want an IP address or a host name in lower case, without scheme and port", quote(e.Address))
		case places[place]:
			c.fail(at, "is %s, which an earlier endpoint is too; want each once", place)
		}
		c.port(at+".port", e.Port)
		if e.GRPCPort != nil {
			c.port(at+".grpcPort", *e.GRPCPort)
		}
		places[place] = true
	}
	if v.Artifact == nil {
		return
	}
	if v.Artifact.URI == "" {
		c.fail(field+".artifact.uri", "is missing; want where the artifact is, such as s3://models/fraud/1")
	}
	if d := v.Artifact.Digest; d != "" && !digestPattern.MatchString(d) {
		c.warn(field+".artifact.digest", "is %s, which identifies nothing; want algorithm:hex, such as sha256: and 64 digits", quote(d))
	}
}

// backendRef checks that one Service leads to one version.
func (c *checker) backendRef(field string, m *Object[v1alpha1.Model], index int) {
	ref := m.Value.Spec.Versions[index].BackendRef
	if !label(ref.Name) {
		c.fail(field+".name", "is %s; want a Service's name: lower-case letters, digits and -, 63 at most", quote(ref.Name))
	}
	c.port(field+".port", ref.Port)
	if ref.Kind == v1alpha1.BackendInferencePool && ref.Subset != "" {
		c.fail(field+".subset", "is set, and an InferencePool has no subsets; remove it")
	}
	name, port := ServiceOf(ref)
	other, first := c.world.Backend(m.Namespace, name, port, ref.Subset)
	if other != nil && (other != m || first != index) {
		c.fail(field, "is Service %s port %d, which already leads to version %s of %s; want one Service for each version",
			ref.Name, ref.Port, other.Value.Spec.Versions[first].Name, other.Key())
	}
}

func (c *checker) tls(field, namespace string, t *v1alpha1.TLS) {
	if t == nil {
		return
	}
	if t.ServerName != "" && !hostname(t.ServerName) {
		c.fail(field+".serverName", "is %s; want a host name in lower case", quote(t.ServerName))
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		c.fail(field, "has one of certFile and keyFile; want both or neither")
	}
	c.file(field+".caFile", namespace, t.CAFile)
	c.file(field+".certFile", namespace, t.CertFile)
	c.file(field+".keyFile", namespace, t.KeyFile)
}

func (c *checker) healthCheck(field string, h *v1alpha1.HealthCheck) {
	if h == nil {
		return
	}
	if h.Path == "" {
		c.fail(field+".path", "is missing; want a path such as /v2/health/ready")
	} else {
		c.path(field+".path", h.Path)
	}
	c.within(field+".interval", h.Interval, 100*time.Millisecond, time.Hour)
	c.within(field+".timeout", h.Timeout, 10*time.Millisecond, time.Minute)
	c.count(field+".unhealthyThreshold", h.UnhealthyThreshold, 1, math.MaxInt16)
	c.count(field+".healthyThreshold", h.HealthyThreshold, 1, math.MaxInt16)
}

func (c *checker) limits(field string, l *v1alpha1.Limits) {
	if l == nil {
		return
	}
	const most = 1 << 20
	c.count(field+".maxConnections", l.MaxConnections, 1, most)
	c.count(field+".maxPendingRequests", l.MaxPendingRequests, 1, most)
	c.count(field+".maxRequests", l.MaxRequests, 1, most)
	c.count(field+".maxRetries", l.MaxRetries, 1, most)
}

func (c *checker) outliers(field string, o *v1alpha1.OutlierDetection) {
	if o == nil {
		return
	}
	c.count(field+".consecutive5xx", o.Consecutive5xx, 1, 1000)
	c.within(field+".interval", o.Interval, 100*time.Millisecond, time.Hour)
	c.within(field+".baseEjectionTime", o.BaseEjectionTime, 100*time.Millisecond, 5*time.Minute)
	c.count(field+".maxEjectionPercent", o.MaxEjectionPercent, 1, 100)
}

// Endpoints are where a version of a namespace is reached: what is written, or else
// the name that its Service has for every resolver in Kubernetes. That of a pool is
// headless: its name is that of the servers, which have the pool's own port.
func Endpoints(namespace string, v *v1alpha1.ModelVersion) []v1alpha1.Endpoint {
	if len(v.Endpoints) > 0 || v.BackendRef == nil {
		return v.Endpoints
	}
	name, _ := ServiceOf(v.BackendRef)
	return []v1alpha1.Endpoint{{Address: name + "." + namespace + ".svc", Port: v.BackendRef.Port}}
}
