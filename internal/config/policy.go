package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

// Bounds of a policy's deadline.
const (
	leastDeadline = time.Millisecond
	mostDeadline  = 15 * time.Minute
)

// subject is a policy with all that its fields are held against.
type subject struct {
	*Object[v1alpha1.FailSafePolicy]
	models   []*Object[v1alpha1.Model] // behind its targets, each once
	protocol v1alpha1.Protocol         // theirs; empty: unknown, or not one
	deadline time.Duration             // 0: unknown
}

func (c *checker) policy(p *Object[v1alpha1.FailSafePolicy]) {
	s := &subject{Object: p}
	spec := &p.Value.Spec
	c.deadline(s)
	c.targets(s)
	c.mode(spec)
	c.bodyLimit("spec.bodyLimit", spec.BodyLimit)
	c.breaker("spec.breaker", spec.Breaker)
	c.count("spec.maxConcurrent", spec.MaxConcurrent, 1, 1_000_000)
	c.budget("spec.budget", spec.Budget)
	if spec.WhenProcessorAway == v1alpha1.AwaySafeDefault && !enforcesAll(spec) {
		c.warn("spec.whenProcessorAway", "is SafeDefault, which has no effect before every request is enforced; until then the model's answer passes")
	}
	c.detect(s)
	c.ladder(s)
}

func enforcesAll(spec *v1alpha1.FailSafePolicySpec) bool {
	return spec.Mode == v1alpha1.PolicyEnforce && (spec.EnforcePercent == nil || *spec.EnforcePercent >= 100)
}

func (c *checker) deadline(s *subject) {
	spec := &s.Value.Spec
	if spec.Deadline == nil {
		c.fail("spec.deadline", "is missing; want the time that a whole answer may take, such as 80ms")
		return
	}
	d := spec.Deadline.Duration
	if d < leastDeadline || d > mostDeadline {
		c.fail("spec.deadline", "is %s; want %s to %s", d, short(leastDeadline), short(mostDeadline))
		return
	}
	s.deadline = d
	if spec.Reserve != nil && (spec.Reserve.Duration <= 0 || spec.Reserve.Duration >= d) {
		c.fail("spec.reserve", "is %s; want over 0 and under the deadline of %s", spec.Reserve.Duration, d)
	}
}

// targets resolves what the policy is attached to.
func (c *checker) targets(s *subject) {
	refs := s.Value.Spec.TargetRefs
	if len(refs) == 0 {
		c.fail("spec.targetRefs", "is missing; want at least one HTTPRoute")
	}
	taken := map[string]bool{}
	for i := range refs {
		c.target(s, fmt.Sprintf("spec.targetRefs[%d]", i), &refs[i], taken)
	}
	protocols := map[v1alpha1.Protocol]string{}
	for _, m := range s.models {
		if p := m.Value.Spec.Protocol; p != "" {
			protocols[p] = m.Key()
			s.protocol = p
		}
	}
	if len(protocols) > 1 {
		var list []string
		for p, key := range protocols {
			list = append(list, fmt.Sprintf("%s (%s)", p, key))
		}
		c.fail("spec.targetRefs", "lead to models of %d protocols: %s; want a policy for each", len(list), sortedList(list))
		s.protocol = ""
	}
}

func (c *checker) target(s *subject, field string, ref *gatewayv1.LocalPolicyTargetReferenceWithSectionName, taken map[string]bool) {
	if ref.Group != gatewayv1.GroupName {
		c.fail(field+".group", "is %s; want %s", quote(string(ref.Group)), gatewayv1.GroupName)
		return
	}
	switch ref.Kind {
	case "HTTPRoute":
	case "GRPCRoute":
		c.fail(field+".kind", "is GRPCRoute, which is not supported yet; want HTTPRoute")
		return
	default:
		c.fail(field+".kind", "is %s; want HTTPRoute", quote(string(ref.Kind)))
		return
	}
	route := c.routeNamed(s.Namespace, string(ref.Name))
	if route == nil {
		c.dangling(field+".name", "is %s, and no HTTPRoute in namespace %s has that name; %s", quote(string(ref.Name)), s.Namespace, c.routes(s.Namespace))
		return
	}
	found := false
	rules := map[string]bool{}
	for i := range route.Value.Spec.Rules {
		name := RuleName(route.Value, i)
		rules[name] = true
		if ref.SectionName != nil && string(*ref.SectionName) != name {
			continue
		}
		found = true
		c.attach(s, field, route, i, taken)
	}
	if !found && ref.SectionName != nil {
		c.fail(field+".sectionName", "is %s, and HTTPRoute %s has no rule of that name; %s", quote(string(*ref.SectionName)), route.Key(), names(rules))
	}
}

// attach checks one targeted rule against the policy.
func (c *checker) attach(s *subject, field string, route *Object[gatewayv1.HTTPRoute], index int, taken map[string]bool) {
	rule := &route.Value.Spec.Rules[index]
	name := RuleName(route.Value, index)
	place := fmt.Sprintf("rule %s of HTTPRoute %s", name, route.Key())
	if taken[place] {
		c.fail(field, "is %s, which the policy targets already; want each once", place)
		return
	}
	taken[place] = true
	// The first in order is right, the others are too many.
	if all := c.world.PoliciesFor(route.Namespace, route.Name, name); len(all) > 0 && all[0] != s.Object {
		c.fail(field, "is %s, which has FailSafePolicy %s already (%s); want one policy for each rule", place, all[0].Key(), all[0].Source.place())
	}
	if rule.Timeouts != nil {
		if request := Duration(rule.Timeouts.Request); request > 0 && request < s.deadline {
			c.fail("spec.deadline", "is %s, over the request timeout of %s, %s; want at most that", s.deadline, place, request)
		}
	}
	for i := range rule.BackendRefs {
		ref := &rule.BackendRefs[i]
		if ref.Port == nil {
			continue
		}
		m, _ := c.world.Backend(route.Namespace, string(ref.Name), *ref.Port)
		if m == nil {
			continue
		}
		if rewritesPath(rule, m.Value.Spec.Protocol) {
			c.fail(field, "is %s, which rewrites the path, and inference is told by the path that callers send; "+
				"want the protocol's own paths from callers, or protocol JSON", place)
			return
		}
		if !containsModel(s.models, m) {
			s.models = append(s.models, m)
		}
	}
}

// modelPaths are what a protocol's inference paths begin with.
var modelPaths = map[v1alpha1.Protocol]string{
	v1alpha1.OpenInferenceV1:   "/v1/models/",
	v1alpha1.OpenInferenceV2:   "/v2/models/",
	v1alpha1.TensorFlowServing: "/v1/models/",
}

// rewritesPath reports whether a rule can make a call an inference that was
// none on its way in, or the other way round: by showing the model another
// path than the caller sent. One model's name in the place of another's is
// fine.
func rewritesPath(rule *gatewayv1.HTTPRouteRule, p v1alpha1.Protocol) bool {
	if p == v1alpha1.JSON {
		return false // every call is an inference
	}
	for i := range rule.Filters {
		r := rule.Filters[i].URLRewrite
		if r != nil && r.Path != nil && !renamesModel(rule, r.Path, modelPaths[p]) {
			return true
		}
	}
	return false
}

func renamesModel(rule *gatewayv1.HTTPRouteRule, to *gatewayv1.HTTPPathModifier, begin string) bool {
	if begin == "" || to.ReplacePrefixMatch == nil || !strings.HasPrefix(*to.ReplacePrefixMatch, begin) {
		return false
	}
	for i := range rule.Matches {
		if m := rule.Matches[i].Path; m == nil || m.Value == nil || !strings.HasPrefix(*m.Value, begin) {
			return false
		}
	}
	return len(rule.Matches) > 0
}

func containsModel(models []*Object[v1alpha1.Model], m *Object[v1alpha1.Model]) bool {
	for _, have := range models {
		if have == m {
			return true
		}
	}
	return false
}

func (c *checker) routeNamed(namespace, name string) *Object[gatewayv1.HTTPRoute] {
	for _, r := range c.world.Routes {
		if r.Namespace == namespace && r.Name == name {
			return r
		}
	}
	return nil
}

func (c *checker) routes(namespace string) string {
	set := map[string]bool{}
	for _, r := range c.world.Routes {
		if r.Namespace == namespace {
			set[r.Name] = true
		}
	}
	return names(set)
}

func (c *checker) mode(spec *v1alpha1.FailSafePolicySpec) {
	if spec.EnforcePercent == nil {
		return
	}
	c.percent("spec.enforcePercent", spec.EnforcePercent, false)
	if spec.Mode != v1alpha1.PolicyEnforce {
		c.fail("spec.enforcePercent", "is set, and nothing is enforced; want mode: Enforce with it")
	}
}

func (c *checker) bodyLimit(field string, l *v1alpha1.BodyLimit) {
	if l != nil && l.Bytes != nil && (*l.Bytes < 1024 || *l.Bytes > 64<<20) {
		c.fail(field+".bytes", "is %d; want 1024 to %d", *l.Bytes, 64<<20)
	}
}

func (c *checker) budget(field string, b *v1alpha1.Budget) {
	if b == nil {
		return
	}
	if b.FallbackPercent == nil {
		c.fail(field+".fallbackPercent", "is missing; want the share of requests that the ladder may answer, 0 to 100")
	}
	c.percent(field+".fallbackPercent", b.FallbackPercent, true)
	c.within(field+".window", b.Window, time.Second, time.Hour)
	c.count(field+".minRequests", b.MinRequests, 1, 1_000_000)
}

func (c *checker) breaker(field string, b *v1alpha1.Breaker) {
	if b == nil || b.Disabled {
		return
	}
	c.count(field+".failures", b.Failures, 0, 100_000)
	c.within(field+".recovery", b.Recovery, 100*time.Millisecond, time.Hour)
	c.count(field+".halfOpenRequests", b.HalfOpenRequests, 1, 1000)
	c.within(field+".ramp", b.Ramp, 0, time.Hour)
	c.count(field+".windowRequests", b.WindowRequests, 2, 100_000)
	c.within(field+".window", b.Window, time.Second, time.Hour)
	c.count(field+".minRequests", b.MinRequests, 1, 100_000)
	c.percent(field+".failurePercent", b.FailurePercent, false)
	c.within(field+".slowCall", b.SlowCall, time.Millisecond, mostDeadline)
	c.percent(field+".slowCallPercent", b.SlowCallPercent, false)
	if b.WindowRequests != nil && b.Window != nil {
		c.fail(field+".windowRequests", "is set beside window; want one of them")
	}
	if b.WindowRequests != nil && b.MinRequests != nil && *b.MinRequests > *b.WindowRequests {
		c.fail(field+".minRequests", "is %d, over windowRequests, %d; want at most that", *b.MinRequests, *b.WindowRequests)
	}
	if b.SlowCallPercent != nil && b.SlowCall == nil {
		c.fail(field+".slowCall", "is missing beside slowCallPercent; want the time from which an answer is slow")
	}
	if b.Failures != nil && *b.Failures == 0 && b.FailurePercent == nil && b.SlowCall == nil {
		c.fail(field+".failures", "is 0 and no rate is set, so that it never opens; want disabled: true for no breaker")
	}
}

// Reserve returns what the ladder keeps of a policy's deadline for itself.
func Reserve(spec *v1alpha1.FailSafePolicySpec) time.Duration {
	// localRungs is the time of the rungs that ask nobody, and of the way home.
	const localRungs = 5 * time.Millisecond
	if spec.Reserve != nil {
		return spec.Reserve.Duration
	}
	for i := range spec.Ladder {
		if f := spec.Ladder[i].Fallback; f != nil {
			return duration(f.Deadline) + localRungs
		}
	}
	return min(localRungs, duration(spec.Deadline)/10)
}

func duration(d *metav1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return d.Duration
}

func sortedList(list []string) string {
	set := map[string]bool{}
	for _, item := range list {
		set[item] = true
	}
	return allOf(slices.Sorted(maps.Keys(set)))
}
