package compile

import (
	"time"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/policy"
)

// Defaults of a policy.
const (
	defaultBodyBytes         = 1 << 20
	defaultFailures          = 5
	defaultRecovery          = 30 * time.Second
	defaultHalfOpen          = 3
	defaultRamp              = 10 * time.Second
	defaultRateWindow        = 10 * time.Second
	defaultRateMin           = 20
	defaultSlowPercent       = 50
	defaultBudgetWindow      = time.Minute
	defaultBudgetMin         = 20
	defaultStatus            = 200
	defaultContentType       = "application/json"
	defaultFallbackInFlight  = 64
	defaultProbeInterval     = 5 * time.Second
	defaultRefreshInterval   = time.Minute
	defaultConstantWindow    = time.Minute
	defaultMaxScore          = 1.0
	defaultEnforcePercentAll = 100
)

// policy compiles what all routes of a policy share.
func (c *compiler) policy(p *config.Object[v1alpha1.FailSafePolicy]) *policy.Policy {
	spec := &p.Value.Spec
	out := &policy.Policy{
		Format:      policy.FormatVersion,
		Name:        p.Key(),
		Mode:        policy.Observe,
		Deadline:    policy.Duration(config.Interval(spec.Deadline, 0)),
		Reserve:     policy.Duration(config.Reserve(spec)),
		Limits:      limits(spec.BodyLimit),
		Breaker:     breaker(spec.Breaker),
		Budget:      budget(spec.Budget),
		LogPayloads: spec.LogPayloads,
	}
	if spec.Mode == v1alpha1.PolicyEnforce {
		out.Mode = policy.Enforce
		if percent := or(spec.EnforcePercent, defaultEnforcePercentAll); percent < defaultEnforcePercentAll {
			out.EnforcePercent = percent
		}
	}
	out.Host = hosts[spec.Host]
	out.MaxConcurrent = int(or(spec.MaxConcurrent, 0))
	if spec.WhenProcessorAway == v1alpha1.AwayPass {
		out.WhenProcessorAway = policy.AwayPass
	}
	out.Detect = c.detect(p)
	out.Ladder = c.ladder(p, out.Limits.BodyBytes)
	out.Needs = policy.Needs{RequestBody: readsRequest(spec)}
	return out
}

// hosts are the hosts as policies have them; Processor, and none, is the zero
// value.
var hosts = map[v1alpha1.Host]policy.Host{
	v1alpha1.HostWASM: policy.HostWASM,
	v1alpha1.HostBoth: policy.HostBoth,
}

// attach makes a policy one route's own.
func (c *compiler) attach(p *config.Object[v1alpha1.FailSafePolicy], rule *config.Rule, backends []backend) (*policy.Policy, string) {
	out := *c.policies[p.Key()]
	heaviest := &backends[0]
	for i := range backends {
		if backends[i].weight > heaviest.weight {
			heaviest = &backends[i]
		}
	}
	out.Route = rule.Label()
	out.Protocol = policy.Protocol(heaviest.model.Value.Spec.Protocol)
	if rule.GRPC != nil {
		out.Protocol = policy.OpenInferenceGRPC
	}
	if rule.Kind == v1alpha1.KindModel {
		out.Host = policy.HostProcessor // the filter could not tell what is judged further out
	}
	out.Model = heaviest.model.Key()
	out.ServedName = servedName(heaviest.model)
	out.Versions = make(map[string]policy.Version, len(backends))
	for i := range backends {
		b := &backends[i]
		v := policy.Version{Name: b.version.Name, ReportedVersion: b.version.ReportedVersion}
		if b.model != heaviest.model {
			v.Model = b.model.Key()
		}
		out.Versions[b.cluster()] = v
	}
	c.duplex(p, rule, &out)
	stable := cluster(heaviest)
	made := withStable(&out, &stable)
	text, err := made.Marshal()
	if err != nil {
		c.fail(p.Source, "spec", "cannot be compiled for route %s: %v", out.Route, err)
		return nil, ""
	}
	if size := largest(made, heaviest.model, backends); size > policy.MaxBytes {
		c.fail(p.Source, "spec", "takes %d bytes compiled for route %s; want at most %d: shorten bodies, templates and expressions",
			size, out.Route, policy.MaxBytes)
		return nil, ""
	}
	return made, string(text)
}

// largest is the size of a policy with whichever of its model's versions as the
// stable one: a release may make any of them that.
func largest(p *policy.Policy, model *config.Object[v1alpha1.Model], backends []backend) int {
	most := 0
	for i := range backends {
		if backends[i].model != model {
			continue
		}
		stable := cluster(&backends[i])
		if text, err := withStable(p, &stable).Marshal(); err == nil {
			most = max(most, len(text))
		}
	}
	return most
}

// servedName is what the server calls the model. Of a JSON model nothing says
// that paths hold a name at all, so it has one only where one is written.
func servedName(m *config.Object[v1alpha1.Model]) string {
	spec := &m.Value.Spec
	if spec.ServedName != "" || spec.Protocol == v1alpha1.JSON {
		return spec.ServedName
	}
	return m.Name
}

func limits(l *v1alpha1.BodyLimit) policy.Limits {
	out := policy.Limits{BodyBytes: defaultBodyBytes}
	if l == nil {
		return out
	}
	out.BodyBytes = or(l.Bytes, defaultBodyBytes)
	if l.ResponseOver == v1alpha1.ResponsePass {
		out.ResponseOver = policy.OverPass
	}
	out.RequestOver = act(l.RequestOver)
	return out
}

func act(a v1alpha1.OnFail) policy.Act {
	switch a {
	case v1alpha1.Reject:
		return policy.ActReject
	case v1alpha1.Pass:
		return policy.ActPass
	}
	return policy.ActAnswer
}

// breaker compiles a breaker and its defaults; nil: there is to be none.
// holds are the states of a breaker by hand as policies have them; Auto, and
// none, is the zero value.
var holds = map[v1alpha1.BreakerState]policy.Hold{
	v1alpha1.BreakerOpen:    policy.HoldOpen,
	v1alpha1.BreakerClosed:  policy.HoldClosed,
	v1alpha1.BreakerObserve: policy.HoldObserve,
}

func breaker(b *v1alpha1.Breaker) *policy.Breaker {
	if b == nil {
		b = &v1alpha1.Breaker{}
	}
	if b.Disabled {
		return nil
	}
	out := &policy.Breaker{
		Hold:             holds[b.State],
		Failures:         int(or(b.Failures, defaultFailures)),
		Recovery:         policy.Duration(config.Interval(b.Recovery, defaultRecovery)),
		HalfOpenRequests: int(or(b.HalfOpenRequests, defaultHalfOpen)),
		Ramp:             policy.Duration(config.Interval(b.Ramp, defaultRamp)),
	}
	if b.FailurePercent == nil && b.SlowCall == nil {
		return out
	}
	out.WindowRequests = int(or(b.WindowRequests, 0))
	out.MinRequests = int(or(b.MinRequests, defaultRateMin))
	if out.WindowRequests > 0 {
		out.MinRequests = min(out.MinRequests, out.WindowRequests)
	} else {
		out.Window = policy.Duration(config.Interval(b.Window, defaultRateWindow))
	}
	out.FailurePercent = or(b.FailurePercent, 0)
	if b.SlowCall != nil {
		out.SlowCall = policy.Duration(b.SlowCall.Duration)
		out.SlowCallPercent = or(b.SlowCallPercent, defaultSlowPercent)
	}
	return out
}

func budget(b *v1alpha1.Budget) *policy.Budget {
	if b == nil {
		return nil
	}
	return &policy.Budget{
		FallbackPercent: or(b.FallbackPercent, 0),
		Window:          policy.Duration(config.Interval(b.Window, defaultBudgetWindow)),
		MinRequests:     int(or(b.MinRequests, defaultBudgetMin)),
		Refuse:          b.Over == v1alpha1.BudgetRefuse,
	}
}
