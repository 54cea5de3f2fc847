package compile

import (
	"slices"
	"time"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/config"
)

// Model is one Model object, as far as releases go.
type Model struct {
	Name     string         // namespace/name
	Versions []ModelVersion // in the file's order; at least one
	Rollout  *Rollout       // never nil: a Model without one has the defaults
	Kill     *AutomaticKill `json:",omitempty"` // nil: it is not killed by itself
}

// ModelVersion is one version of a Model.
type ModelVersion struct {
	Name   string
	URI    string // of the artifact; empty: none
	Digest string // of the artifact; empty: none
	// CompatibleWith names the versions that this one may be rolled back to, in
	// order; empty: all.
	CompatibleWith []string
	// Weight is the version's share of the model's traffic in the files, in
	// percent: its weights summed over all rules. Those of a model's versions sum
	// to 100, or are all 0 where no rule gives it any.
	Weight int
	// Clusters are those that its traffic goes to, in order; empty: no rule
	// names the version.
	Clusters []string
}

// Rollout is a Model's plan with its defaults filled in.
type Rollout struct {
	Steps            []Step // at least one; weights grow, the last one is 100
	Holdback         int    // percent that stay on the version before, 0 to 50
	Automatic        bool   // a version that fails is rolled back
	External         bool   `json:",omitempty"` // the weights are somebody else's to move
	CoolDown         time.Duration
	RollbacksPerHour int
	MaxBadPercent    float64       // 0: no limit
	MaxP99           time.Duration // 0: no limit
	Checks           []Check       // in the file's order
}

// Step is one step of a rollout.
type Step struct {
	Weight      int // percent
	Duration    time.Duration
	MinRequests uint64
	Manual      bool // a person says when to go on
}

// Check is one number that Prometheus is asked for.
type Check struct {
	Name     string
	URL      string
	Query    string // $namespace, $model and $version are still in it
	Min, Max *float64
	Interval time.Duration
}

// Defaults of a rollout.
const (
	defaultHoldback         = 1
	defaultCoolDown         = 5 * time.Minute
	defaultRollbacksPerHour = 3
	defaultStepDuration     = time.Minute
	defaultStepRequests     = 100
	defaultQueryInterval    = 10 * time.Second
)

// defaultSteps are the weights of a rollout that names none.
var defaultSteps = []int32{5, 25, 50, 100}

// models lists every Model by its name, those that no rule names as well: a
// version's artifact is held against what was registered all the same.
func (c *compiler) models(rules []config.Rule) []Model {
	weights, clusters := map[*v1alpha1.ModelVersion]uint64{}, map[*v1alpha1.ModelVersion][]string{}
	for i := range rules {
		for _, b := range c.backends(&rules[i]) {
			weights[b.version] += uint64(b.weight)
			clusters[b.version] = append(clusters[b.version], b.cluster())
		}
	}
	var out []Model
	for _, m := range c.world.Models {
		spec := &m.Value.Spec
		model := Model{Name: m.Key(), Rollout: rollout(spec.Rollout), Kill: automaticKill(spec.Kill)}
		parts := make([]uint64, len(spec.Versions))
		for i := range spec.Versions {
			v := &spec.Versions[i]
			parts[i] = weights[v]
			slices.Sort(clusters[v])
			version := ModelVersion{Name: v.Name, CompatibleWith: slices.Sorted(slices.Values(v.CompatibleWith)), Clusters: slices.Compact(clusters[v])}
			if v.Artifact != nil {
				version.URI, version.Digest = v.Artifact.URI, v.Artifact.Digest
			}
			model.Versions = append(model.Versions, version)
		}
		for i, share := range apportion(wholeNumbers(parts), 100) {
			model.Versions[i].Weight = int(share)
		}
		out = append(out, model)
	}
	return out
}

func rollout(r *v1alpha1.Rollout) *Rollout {
	if r == nil {
		r = &v1alpha1.Rollout{}
	}
	out := &Rollout{
		Holdback:         int(or(r.HoldbackPercent, defaultHoldback)),
		Automatic:        r.Automatic != v1alpha1.AutomaticDisabled && r.Weights != v1alpha1.WeightsExternal,
		External:         r.Weights == v1alpha1.WeightsExternal,
		CoolDown:         config.Interval(r.CoolDown, defaultCoolDown),
		RollbacksPerHour: int(or(r.RollbacksPerHour, defaultRollbacksPerHour)),
	}
	for i := range r.Steps {
		out.Steps = append(out.Steps, step(&r.Steps[i]))
	}
	if len(r.Steps) == 0 {
		for _, weight := range defaultSteps {
			out.Steps = append(out.Steps, step(&v1alpha1.RolloutStep{Weight: &weight}))
		}
	}
	if l := r.Limits; l != nil {
		out.MaxBadPercent = or(l.MaxBadPercent, 0)
		out.MaxP99 = config.Interval(l.MaxP99, 0)
	}
	for i := range r.Checks {
		k := &r.Checks[i]
		check := Check{Name: k.Name, Min: k.Min, Max: k.Max, Interval: config.Interval(k.Interval, defaultQueryInterval)}
		if k.Prometheus != nil {
			check.URL, check.Query = k.Prometheus.URL, k.Prometheus.Query
		}
		out.Checks = append(out.Checks, check)
	}
	return out
}

func step(s *v1alpha1.RolloutStep) Step {
	out := Step{
		Weight:   int(or(s.Weight, 0)),
		Duration: config.Interval(s.Duration, defaultStepDuration),
		Manual:   s.Gate == v1alpha1.GateManual,
	}
	if out.Weight > 0 {
		out.MinRequests = uint64(max(or(s.MinRequests, defaultStepRequests), 0))
	}
	return out
}
