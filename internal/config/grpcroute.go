package config

import (
	"fmt"
	"regexp"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func (c *checker) grpcRoute(r *Object[gatewayv1.GRPCRoute]) {
	rules := grpcRules(r)
	c.routeNames(r.Value.Spec.Hostnames, rules)
	for i := range rules {
		field, rule := fmt.Sprintf("spec.rules[%d]", i), rules[i].GRPC
		for j := range rule.Matches {
			c.grpcMatch(fmt.Sprintf("%s.matches[%d]", field, j), &rule.Matches[j])
		}
		c.grpcFilters(field+".filters", rule)
		c.backends(field+".backendRefs", &rules[i])
		for j := range rule.BackendRefs {
			if len(rule.BackendRefs[j].Filters) > 0 {
				c.backendFilters(fmt.Sprintf("%s.backendRefs[%d]", field, j))
			}
		}
		if rule.SessionPersistence != nil {
			c.fail(field+".sessionPersistence", "is not supported on a GRPCRoute; remove it")
		}
	}
}

// The Gateway API's own patterns of a service and a method.
var (
	grpcService = regexp.MustCompile(`^\.?[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*$`)
	grpcMethod  = regexp.MustCompile(`^[A-Za-z_][A-Za-z_0-9]*$`)
)

// GRPCMethod returns what a match compares: a service and a method, either of
// which may be empty, for any, and whether they are expressions.
func GRPCMethod(m *gatewayv1.GRPCRouteMatch) (service, method string, isRegex bool) {
	if m.Method == nil {
		return "", "", false
	}
	if m.Method.Service != nil {
		service = *m.Method.Service
	}
	if m.Method.Method != nil {
		method = *m.Method.Method
	}
	return service, method, m.Method.Type != nil && *m.Method.Type == gatewayv1.GRPCMethodMatchRegularExpression
}

// GRPCPath returns the expression that the whole path of a matching call fits.
func GRPCPath(service, method string, isRegex bool) string {
	part := func(s string) string {
		switch {
		case s == "":
			return "[^/]+"
		case isRegex:
			return "(?:" + s + ")"
		}
		return regexp.QuoteMeta(s)
	}
	return "/" + part(service) + "/" + part(method)
}

// grpcMatch holds a match to the Gateway API's rules for one.
func (c *checker) grpcMatch(field string, m *gatewayv1.GRPCRouteMatch) {
	service, method, isRegex := GRPCMethod(m)
	at := field + ".method"
	switch {
	case m.Method == nil:
	case service == "" && method == "":
		c.fail(at, "has neither service nor method; want one of them, or no method for every call")
	case isRegex:
		before := len(*c.problems)
		c.regex(at+".service", service)
		c.regex(at+".method", method)
		if len(*c.problems) == before {
			c.regex(at, GRPCPath(service, method, true)) // a quotation left open takes in what follows it
		}
	default:
		if service != "" && !grpcService.MatchString(service) {
			c.fail(at+".service", "is %s; want a service with its package, such as inference.GRPCInferenceService", quote(service))
		}
		if method != "" && !grpcMethod.MatchString(method) {
			c.fail(at+".method", "is %s; want a method's name, such as ModelInfer", quote(method))
		}
	}
	seen := map[string]bool{}
	for i, h := range m.Headers {
		name := strings.ToLower(string(h.Name))
		c.valueMatch(fmt.Sprintf("%s.headers[%d]", field, i), name, h.Value, h.Type != nil && *h.Type == gatewayv1.GRPCHeaderMatchRegularExpression, seen)
	}
}

// grpcFilters accepts the editing of headers.
func (c *checker) grpcFilters(field string, rule *gatewayv1.GRPCRouteRule) {
	seen := map[gatewayv1.GRPCRouteFilterType]bool{}
	for i := range rule.Filters {
		f := &rule.Filters[i]
		at := fmt.Sprintf("%s[%d]", field, i)
		if f.Type == "" {
			c.fail(at+".type", "is missing; want RequestHeaderModifier or ResponseHeaderModifier")
			continue
		}
		if seen[f.Type] {
			c.filterTwice(at, string(f.Type))
		}
		seen[f.Type] = true
		switch f.Type {
		case gatewayv1.GRPCRouteFilterRequestHeaderModifier:
			c.headerFilter(at+".requestHeaderModifier", f.RequestHeaderModifier)
		case gatewayv1.GRPCRouteFilterResponseHeaderModifier:
			c.headerFilter(at+".responseHeaderModifier", f.ResponseHeaderModifier)
		default:
			c.fail(at+".type", "is %s, which is not supported on a GRPCRoute; want RequestHeaderModifier or ResponseHeaderModifier", f.Type)
		}
		c.filterUnion(at, string(f.Type), []filterMember{
			{string(gatewayv1.GRPCRouteFilterRequestHeaderModifier), "requestHeaderModifier", f.RequestHeaderModifier != nil},
			{string(gatewayv1.GRPCRouteFilterResponseHeaderModifier), "responseHeaderModifier", f.ResponseHeaderModifier != nil},
			{string(gatewayv1.GRPCRouteFilterRequestMirror), "requestMirror", f.RequestMirror != nil},
			{string(gatewayv1.GRPCRouteFilterExtensionRef), "extensionRef", f.ExtensionRef != nil},
		})
	}
}
