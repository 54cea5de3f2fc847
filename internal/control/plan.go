package control

import (
	"maps"
	"strings"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/release"
)

// planOf is a model's plan as releases are decided by.
func planOf(m *compile.Model) release.Plan {
	r := m.Rollout
	holdback, perHour := r.Holdback, r.RollbacksPerHour
	if !r.Automatic {
		perHour = 0
	}
	p := release.Plan{
		Holdback: &holdback, RollbacksPerHour: &perHour,
		CoolDown: max(release.Duration(r.CoolDown), 1), // none would be the default
		Kill:     killPlanOf(m),
	}
	for _, s := range r.Steps {
		p.Steps = append(p.Steps, release.Step{
			Weight: s.Weight, Duration: release.Duration(s.Duration), MinRequests: s.MinRequests, Gate: s.Manual,
		})
	}
	for i := range r.Checks {
		p.Checks = append(p.Checks, r.Checks[i].Name)
	}
	return p
}

// externalOf are the models whose weights somebody else moves: whatever was released
// of them, theirs are the files'.
func externalOf(s *compile.Snapshot) map[string]bool {
	out := map[string]bool{}
	for i := range s.Models {
		if m := &s.Models[i]; m.Rollout.External {
			out[m.Name] = true
		}
	}
	return out
}

// versionsOf is what the files say of a model's versions.
func versionsOf(m *compile.Model) map[string]release.VersionInfo {
	out := make(map[string]release.VersionInfo, len(m.Versions))
	for i := range m.Versions {
		v := &m.Versions[i]
		info := release.VersionInfo{URI: v.URI, Digest: v.Digest, CompatibleWith: v.CompatibleWith, FileWeight: v.Weight}
		if len(v.Clusters) == 0 { // no route leads to it
			no := false
			info.Ready = &no
		}
		out[v.Name] = info
	}
	return out
}

// queryOf fills in what a check asks about.
func queryOf(check *compile.Check, model, version string) string {
	namespace, name, _ := strings.Cut(model, "/")
	return strings.NewReplacer("$namespace", namespace, "$model", name, "$version", version).Replace(check.Query)
}

// releaseOf is what a state makes of its model's traffic.
func releaseOf(s *release.State) compile.Release {
	if !s.Released {
		return compile.Release{} // the files', which need no word of a release
	}
	out := compile.Release{Generation: s.Generation}
	out.Weights = map[string]int{} // degraded: none has any
	maps.Copy(out.Weights, s.Weights)
	for _, g := range s.Good { // the newest last
		if _, bad := s.Condemned[g.Version]; !bad {
			out.Fallen = g.Version
		}
	}
	return out
}
