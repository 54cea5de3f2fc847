package compile

import (
	"slices"

	"github.com/safestate/safestate/internal/policy"
)

// withOrigin returns the ladder with the stable version as the origin of a
// cache that answers first and may serve stale: only then is the model asked
// in the background, and never for a tenant, whose own headers the request in
// the background would lack. The ladder of a policy is shared by its routes, so what
// changes is copied.
func withOrigin(ladder []policy.Rung, stable *backend, p *policy.Policy) []policy.Rung {
	for i := range ladder {
		c := ladder[i].Cache
		if c == nil || c.When != policy.First || c.StaleWhileRevalidate == 0 || len(c.TenantHeaders) > 0 {
			continue
		}
		spec := &stable.model.Value.Spec
		own := *c
		own.Origin = &policy.Fallback{
			Model: stable.model.Key(), Version: stable.version.Name,
			ServedName: p.ServedName, Protocol: p.Protocol,
			Endpoints: endpoints(stable.version, stable.grpc),
			Deadline:  p.Deadline - p.Reserve,
			MaxBytes:  p.Limits.BodyBytes,
			TLS:       tlsOf(spec),
		}
		if spec.Credentials != nil {
			own.Origin.Credentials = spec.Credentials.AuthorizationFile
		}
		ladder = slices.Clone(ladder)
		ladder[i].Cache = &own
	}
	return ladder
}
