package config

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func (c *checker) route(r *Object[gatewayv1.HTTPRoute]) {
	rules := httpRules(r)
	c.routeNames(r.Value.Spec.Hostnames, rules)
	for i := range rules {
		field, rule := fmt.Sprintf("spec.rules[%d]", i), rules[i].HTTP
		for j := range rule.Matches {
			c.match(fmt.Sprintf("%s.matches[%d]", field, j), &rule.Matches[j])
		}
		c.filters(field+".filters", rule)
		c.backends(field+".backendRefs", &rules[i])
		for j := range rule.BackendRefs {
			if len(rule.BackendRefs[j].Filters) > 0 {
				c.backendFilters(fmt.Sprintf("%s.backendRefs[%d]", field, j))
			}
		}
		if rule.Timeouts != nil {
			c.timeouts(field+".timeouts", rule.Timeouts)
		}
		if rule.Retry != nil {
			c.fail(field+".retry", "is not supported; remove it: what failed is answered from the ladder")
		}
		if rule.SessionPersistence != nil {
			c.session(field+".sessionPersistence", rule.SessionPersistence)
		}
	}
}

func (c *checker) hostnames(hostnames []gatewayv1.Hostname) {
	seen := map[gatewayv1.Hostname]bool{}
	for i, h := range hostnames {
		field := fmt.Sprintf("spec.hostnames[%d]", i)
		switch {
		case !hostname(strings.TrimPrefix(string(h), "*.")):
			c.fail(field, "is %s; want a host name in lower case, or one with *. in front", quote(string(h)))
		case seen[h]:
			c.fail(field, "is %s, which stands there already; want each once", quote(string(h)))
		}
		seen[h] = true
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

// RequestTimeout is what a rule gives a whole exchange by itself; 0: no bound.
// A GRPCRoute has none.
func RequestTimeout(r *Rule) time.Duration {
	if r.HTTP == nil || r.HTTP.Timeouts == nil {
		return 0
	}
	return Duration(r.HTTP.Timeouts.Request)
}
