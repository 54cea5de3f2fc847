package compile

import (
	"slices"

	"github.com/safestate/safestate/internal/policy"
)

// withStable returns p with a version of its own model as the stable one.
func withStable(p *policy.Policy, stable *Cluster) *policy.Policy {
	out := *p
	out.Stable = stable.Version
	out.Ladder = withOrigin(out.Ladder, stable, &out)
	return &out
}

// withFallen returns p with a version as the stable one that is not asked: only
// what the cache has of it counts. Empty: nothing that the cache has does.
func withFallen(p *policy.Policy, version string) *policy.Policy {
	out := *p
	out.Stable = version
	for i := range out.Ladder {
		if c := out.Ladder[i].Cache; c != nil && c.Origin != nil {
			own := *c
			own.Origin = nil
			out.Ladder = slices.Clone(out.Ladder)
			out.Ladder[i].Cache = &own
		}
	}
	return &out
}

// withOrigin returns the ladder with the stable version as the origin of a
// cache that answers first and may serve stale: only then is the model asked
// in the background, and never for a tenant, whose own headers the request in
// the background would lack. The ladder of a policy is shared by its routes, so what
// changes is copied.
func withOrigin(ladder []policy.Rung, stable *Cluster, p *policy.Policy) []policy.Rung {
	for i := range ladder {
		c := ladder[i].Cache
		if c == nil || c.When != policy.First || c.StaleWhileRevalidate == 0 || len(c.TenantHeaders) > 0 {
			continue
		}
		own := *c
		own.Origin = &policy.Fallback{
			Model: stable.model(), Version: stable.Version,
			ServedName: p.ServedName, Protocol: p.Protocol,
			Endpoints:   stable.Endpoints,
			Deadline:    p.Deadline - p.Reserve,
			MaxBytes:    p.Limits.BodyBytes,
			TLS:         stable.TLS,
			Credentials: stable.AuthorizationFile,
		}
		ladder = slices.Clone(ladder)
		ladder[i].Cache = &own
	}
	return ladder
}
