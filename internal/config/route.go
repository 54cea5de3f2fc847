package config

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

// maxWeight is the Gateway API's own bound.
const maxWeight = 1_000_000

func (c *checker) route(r *Object[gatewayv1.HTTPRoute]) {
	spec := &r.Value.Spec
	hosts := map[string]bool{}
	for i, h := range spec.Hostnames {
		field := fmt.Sprintf("spec.hostnames[%d]", i)
		switch name := string(h); {
		case !hostname(strings.TrimPrefix(name, "*.")):
			c.fail(field, "is %s; want a host name in lower case, or one with *. in front", quote(name))
		case hosts[name]:
			c.fail(field, "is %s, which stands there already; want each once", quote(name))
		}
		hosts[string(h)] = true
	}
	if len(spec.Rules) == 0 {
		c.fail("spec.rules", "is missing; want at least one rule with its backendRefs")
	}
	seen := map[string]bool{}
	for i := range spec.Rules {
		field := fmt.Sprintf("spec.rules[%d]", i)
		name := RuleName(r.Value, i)
		if !subdomain(name) {
			c.fail(field+".name", "is %s; want lower-case letters, digits, - and ., 253 at most", quote(name))
		}
		if seen[name] {
			c.fail(field+".name", "is %s, which an earlier rule has too; want one name each", quote(name))
		}
		seen[name] = true
		c.rule(field, r, &spec.Rules[i])
	}
}

func (c *checker) rule(field string, r *Object[gatewayv1.HTTPRoute], rule *gatewayv1.HTTPRouteRule) {
	for i := range rule.Matches {
		c.match(fmt.Sprintf("%s.matches[%d]", field, i), &rule.Matches[i])
	}
	c.filters(field+".filters", rule)
	c.backends(field+".backendRefs", r, rule)
	if rule.Timeouts != nil {
		c.timeouts(field+".timeouts", rule.Timeouts)
	}
	if rule.Retry != nil {
		c.fail(field+".retry", "is not supported; remove it: what failed is answered from the ladder")
	}
	if rule.SessionPersistence != nil {
		c.fail(field+".sessionPersistence", "is not supported; remove it")
	}
}

func (c *checker) match(field string, m *gatewayv1.HTTPRouteMatch) {
	if m.Path != nil {
		c.pathMatch(field+".path", m.Path)
	}
	seen := map[string]bool{}
	for i, h := range m.Headers {
		at := fmt.Sprintf("%s.headers[%d]", field, i)
		name := strings.ToLower(string(h.Name))
		c.valueMatch(at, name, h.Value, h.Type != nil && *h.Type == gatewayv1.HeaderMatchRegularExpression, seen)
	}
	seen = map[string]bool{}
	for i, q := range m.QueryParams {
		at := fmt.Sprintf("%s.queryParams[%d]", field, i)
		c.valueMatch(at, string(q.Name), q.Value, q.Type != nil && *q.Type == gatewayv1.QueryParamMatchRegularExpression, seen)
	}
}

func (c *checker) valueMatch(field, name, value string, isRegex bool, seen map[string]bool) {
	switch {
	case name == "":
		c.fail(field+".name", "is missing; want a name")
	case !token(name):
		c.fail(field+".name", "is %s; want letters, digits and -", quote(name))
	case seen[name]:
		c.fail(field+".name", "is %s, which is compared already; want each once", quote(name))
	}
	seen[name] = true
	switch {
	case value == "":
		c.fail(field+".value", "is missing; want what to compare with")
	case isRegex:
		c.regex(field+".value", value)
	case !headerValue(value):
		c.fail(field+".value", "is %s; want no line breaks", quote(value))
	}
}

func (c *checker) regex(field, value string) {
	if _, err := regexp.Compile(value); err != nil {
		c.fail(field, "is %s, which is no RE2 expression: %s", quote(value), strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
}

// pathMatch holds a path to the Gateway API's rules for one.
func (c *checker) pathMatch(field string, p *gatewayv1.HTTPPathMatch) {
	value := "/"
	if p.Value != nil {
		value = *p.Value
	}
	if p.Type != nil && *p.Type == gatewayv1.PathMatchRegularExpression {
		c.regex(field+".value", value)
		return
	}
	c.path(field+".value", value)
	for _, bad := range []string{"//", "/./", "/../", "%2f", "%2F", "?"} {
		if strings.Contains(value, bad) {
			c.fail(field+".value", "is %s; want a path without %s", quote(value), bad)
		}
	}
	if strings.HasSuffix(value, "/..") || strings.HasSuffix(value, "/.") {
		c.fail(field+".value", "is %s; want a path that does not end in a dot segment", quote(value))
	}
}

var gatewayDuration = regexp.MustCompile(`^([0-9]{1,5}(h|m|s|ms)){1,4}$`)

func (c *checker) timeouts(field string, t *gatewayv1.HTTPRouteTimeouts) {
	request := c.gatewayDuration(field+".request", t.Request)
	backend := c.gatewayDuration(field+".backendRequest", t.BackendRequest)
	if request > 0 && backend > request {
		c.fail(field+".backendRequest", "is %s, over the request's %s; want at most that", short(backend), short(request))
	}
}

// gatewayDuration reads a duration of GEP-2257; nil and unreadable are 0.
func (c *checker) gatewayDuration(field string, d *gatewayv1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	if !gatewayDuration.MatchString(string(*d)) {
		c.fail(field, "is %s; want whole numbers with a unit, such as 80ms or 1m30s", quote(string(*d)))
		return 0
	}
	return Duration(d)
}

// Duration reads a Gateway API duration; nil and what is none are 0.
func Duration(d *gatewayv1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	parsed, err := time.ParseDuration(string(*d))
	if err != nil || parsed < 0 {
		return 0
	}
	return parsed
}

func (c *checker) backends(field string, r *Object[gatewayv1.HTTPRoute], rule *gatewayv1.HTTPRouteRule) {
	if len(rule.BackendRefs) == 0 {
		c.fail(field, "is missing; want at least one Service of a Model's version")
		return
	}
	sum := int64(0)
	seen := map[string]bool{}
	for i := range rule.BackendRefs {
		at := fmt.Sprintf("%s[%d]", field, i)
		ref := &rule.BackendRefs[i]
		if weight := ref.Weight; weight != nil && (*weight < 0 || *weight > maxWeight) {
			c.fail(at+".weight", "is %d; want 0 to %d", *weight, maxWeight)
		}
		sum += int64(Weight(ref))
		c.backend(at, r, ref)
		if ref.Port == nil {
			continue
		}
		key := fmt.Sprintf("%s:%d", ref.Name, *ref.Port)
		if seen[key] {
			c.fail(at, "is Service %s port %d, which stands there already; want each once, with the weights added up", ref.Name, *ref.Port)
		}
		seen[key] = true
	}
	if sum == 0 {
		c.warn(field, "has no weight over 0; every request is answered without a model")
	}
}

// Weight returns a backend's weight: 1 where it has none, as the Gateway API
// says.
func Weight(ref *gatewayv1.HTTPBackendRef) int32 {
	if ref.Weight == nil {
		return 1
	}
	return *ref.Weight
}

func (c *checker) backend(field string, r *Object[gatewayv1.HTTPRoute], ref *gatewayv1.HTTPBackendRef) {
	if len(ref.Filters) > 0 {
		c.fail(field+".filters", "are not supported on a backendRef; move them to the rule")
	}
	kind := "Service"
	if ref.Kind != nil {
		kind = string(*ref.Kind)
	}
	if kind != "Service" || ref.Group != nil && *ref.Group != "" {
		at := field + ".kind"
		if kind == "Service" {
			at = field + ".group"
		}
		group := ""
		if ref.Group != nil {
			group = string(*ref.Group)
		}
		c.fail(at, "is %s of group %q; want a Service of the core group", quote(kind), group)
		return
	}
	if ref.Namespace != nil && string(*ref.Namespace) != r.Namespace {
		c.fail(field+".namespace", "is %s; want the route's own, %s: there is no ReferenceGrant here", quote(string(*ref.Namespace)), r.Namespace)
		return
	}
	if ref.Name == "" {
		c.fail(field+".name", "is missing; want the Service of a Model's version")
		return
	}
	if ref.Port == nil {
		c.fail(field+".port", "is missing; want the Service's port")
		return
	}
	if model, _ := c.world.Backend(r.Namespace, string(ref.Name), *ref.Port); model == nil {
		c.dangling(field, "is Service %s port %d, which no Model's version in namespace %s has as its backendRef; %s",
			ref.Name, *ref.Port, r.Namespace, c.services(r.Namespace))
	}
}

func (c *checker) services(namespace string) string {
	set := map[string]*v1alpha1.BackendRef{}
	for _, m := range c.world.Models {
		for i := range m.Value.Spec.Versions {
			if ref := m.Value.Spec.Versions[i].BackendRef; ref != nil && m.Namespace == namespace {
				set[fmt.Sprintf("%s:%d", ref.Name, ref.Port)] = ref
			}
		}
	}
	return names(set)
}
