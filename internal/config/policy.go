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
	http     bool                      // some target is an HTTPRoute
	grpc     bool                      // some target is a GRPCRoute
	deadline time.Duration             // 0: unknown
}

func (c *checker) policy(p *Object[v1alpha1.FailSafePolicy]) {
	s := &subject{Object: p}
	spec := &p.Value.Spec
	c.deadline(s)
	c.targets(s)
	c.host(p)
	c.mode(spec)
	c.stream(s)
	c.lastRung(spec, s.grpc)
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
		c.fail("spec.targetRefs", "is missing; want at least one HTTPRoute or GRPCRoute")
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
	switch ref.Kind {
	case KindHTTPRoute, KindVirtualService:
		s.http = true
	case KindGRPCRoute:
		s.grpc = true
	case v1alpha1.KindModel:
		s.http = true
		c.inbound(s, field, ref, taken)
		return
	default:
		c.fail(field+".kind", "is %s; want HTTPRoute or GRPCRoute, or in Istio VirtualService or Model", quote(string(ref.Kind)))
		return
	}
	if want := groupOf(string(ref.Kind)); string(ref.Group) != want {
		c.fail(field+".group", "is %s; want %s", quote(string(ref.Group)), want)
		return
	}
	rules, ok := c.world.rulesOf(string(ref.Kind), s.Namespace, string(ref.Name))
	if !ok {
		c.dangling(field+".name", "is %s, and no %s in namespace %s has that name; %s", quote(string(ref.Name)), ref.Kind, s.Namespace, c.routes(string(ref.Kind), s.Namespace))
		return
	}
	found := false
	known := map[string]bool{}
	for i := range rules {
		known[rules[i].Name] = true
		if ref.SectionName != nil && string(*ref.SectionName) != rules[i].Name {
			continue
		}
		found = true
		c.attach(s, field, &rules[i], taken)
	}
	if !found && ref.SectionName != nil {
		c.fail(field+".sectionName", "is %s, and %s %s/%s has no rule of that name; %s", quote(string(*ref.SectionName)), ref.Kind, s.Namespace, ref.Name, names(known))
	}
}

// attach checks one targeted rule against the policy.
func (c *checker) attach(s *subject, field string, rule *Rule, taken map[string]bool) {
	place := rule.String()
	if taken[place] {
		c.fail(field, "is %s, which the policy targets already; want each once", place)
		return
	}
	taken[place] = true
	if twin := c.world.twinOf(rule); twin != nil {
		c.fail(field, "is %s, and %s is called the same: they would be one in metrics; want another name for the rule or the route", place, twin)
		return
	}
	// The first in order is right, the others are too many.
	if all := c.world.PoliciesFor(rule); len(all) > 0 && all[0] != s.Object {
		c.fail(field, "is %s, which has FailSafePolicy %s already (%s); want one policy for each rule", place, all[0].Key(), all[0].Source.place())
	}
	c.requestTimeout(s, rule)
	for i := range rule.Backends {
		ref := &rule.Backends[i]
		m, _ := c.world.Behind(rule, ref)
		if m == nil {
			continue
		}
		if !c.inspected(field, rule, m) {
			return
		}
		if !containsModel(s.models, m) {
			s.models = append(s.models, m)
		}
	}
}

// requestTimeout holds what the policy bounds to the route's own timeout.
func (c *checker) requestTimeout(s *subject, rule *Rule) {
	request := RequestTimeout(rule)
	if request == 0 {
		return
	}
	if request < s.deadline && c.world.mesh { // whose route it is may not take the policy off it
		c.warn("spec.deadline", "is %s, over the request timeout of %s, %s, which then holds for what is no prediction alone", s.deadline, rule, request)
	} else if request < s.deadline {
		c.fail("spec.deadline", "is %s, over the request timeout of %s, %s; want at most that", s.deadline, rule, request)
	}
	if w := s.Value.Spec.Stream; w != nil && duration(w.MaxDuration) > request {
		c.fail("spec.stream.maxDuration", "is %s, over the request timeout of %s, %s; want at most that", w.MaxDuration.Duration, rule, request)
	}
}

// inspected reports whether what a rule sends to a model can be inspected, and
// says why not.
func (c *checker) inspected(field string, rule *Rule, m *Object[v1alpha1.Model]) bool {
	p := m.Value.Spec.Protocol
	switch {
	case rule.GRPC != nil && p != "" && p != v1alpha1.OpenInferenceV2:
		c.fail(field, "is %s, and Model %s speaks %s; want a model of OpenInferenceV2, the only protocol that is inspected over gRPC", rule, m.Key(), p)
		return false
	case rule.HTTP != nil && rewritesPath(rule.HTTP, p):
		c.fail(field, "is %s, which rewrites the path, and inference is told by the path that callers send; "+
			"want the protocol's own paths from callers, or protocol JSON", rule)
		return false
	}
	return true
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
		if r == nil || r.Path == nil {
			continue
		}
		if p == v1alpha1.OpenAI && !movesCompletions(rule, r.Path) || p != v1alpha1.OpenAI && !renamesModel(rule, r.Path, modelPaths[p]) {
			return true
		}
	}
	return false
}

// movesCompletions reports whether a rewrite only changes what stands before
// /chat/completions or /completions, by which inference is told.
func movesCompletions(rule *gatewayv1.HTTPRouteRule, to *gatewayv1.HTTPPathModifier) bool {
	touches := func(prefix string) bool {
		prefix = strings.TrimRight(prefix, "/")
		return strings.HasSuffix(prefix, "/chat") || strings.HasSuffix(prefix, "/completions")
	}
	if to.ReplacePrefixMatch == nil || touches(*to.ReplacePrefixMatch) {
		return false
	}
	for i := range rule.Matches {
		if m := rule.Matches[i].Path; m != nil && m.Value != nil && touches(*m.Value) {
			return false
		}
	}
	return true
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

func (c *checker) routes(kind, namespace string) string {
	set := map[string]bool{}
	for _, r := range c.world.Rules() {
		if r.Kind == kind && r.Namespace == namespace {
			set[r.Route] = true
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
