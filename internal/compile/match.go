package compile

import (
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/internal/config"
)

// ranked is a match and its precedence.
type ranked struct {
	Match
	rank rank
}

// matches reads a rule's matches; one without any matches every request, or
// every gRPC call.
func matches(rule *config.Rule) []ranked {
	var out []ranked
	if rule.GRPC != nil {
		for i := range rule.GRPC.Matches {
			out = append(out, grpcMatch(&rule.GRPC.Matches[i]))
		}
		if len(out) == 0 {
			out = []ranked{grpcMatch(&gatewayv1.GRPCRouteMatch{})}
		}
		return out
	}
	for i := range rule.HTTP.Matches {
		out = append(out, httpMatch(&rule.HTTP.Matches[i]))
	}
	if len(out) == 0 {
		out = []ranked{httpMatch(&gatewayv1.HTTPRouteMatch{})}
	}
	return out
}

func httpMatch(m *gatewayv1.HTTPRouteMatch) ranked {
	out := Match{Path: "/"}
	if m.Path != nil {
		out.Path = or(m.Path.Value, "/")
		switch or(m.Path.Type, gatewayv1.PathMatchPathPrefix) {
		case gatewayv1.PathMatchExact:
			out.PathType = PathExact
		case gatewayv1.PathMatchRegularExpression:
			out.PathType = PathRegex
		default:
			if out.Path = strings.TrimRight(out.Path, "/"); out.Path == "" {
				out.Path = "/"
			}
		}
	}
	out.Method = string(or(m.Method, ""))
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, headerMatch(string(h.Name), h.Value, h.Type != nil && *h.Type == gatewayv1.HeaderMatchRegularExpression))
	}
	for _, q := range m.QueryParams {
		out.Query = append(out.Query, ValueMatch{
			Name:  string(q.Name),
			Value: q.Value,
			Regex: or(q.Type, gatewayv1.QueryParamMatchExact) == gatewayv1.QueryParamMatchRegularExpression,
		})
	}
	return ranked{out, rank{pathRank(out.PathType), len(out.Path), min(len(out.Method), 1), len(out.Headers), len(out.Query)}}
}

func pathRank(t PathType) int {
	return map[PathType]int{PathExact: 2, PathRegex: 1, PathPrefix: 0}[t]
}

// grpcMatch turns a service and a method into a path: /service/method.
func grpcMatch(m *gatewayv1.GRPCRouteMatch) ranked {
	service, method, isRegex := config.GRPCMethod(m)
	out := Match{GRPC: true}
	switch {
	case service == "" && method == "":
		out.Path = "/"
	case isRegex || service == "":
		out.PathType, out.Path = PathRegex, config.GRPCPath(service, method, isRegex)
	case method == "":
		out.Path = "/" + service
	default:
		out.PathType, out.Path = PathExact, "/"+service+"/"+method
	}
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, headerMatch(string(h.Name), h.Value, h.Type != nil && *h.Type == gatewayv1.GRPCHeaderMatchRegularExpression))
	}
	return ranked{out, rank{len(service), len(method), len(out.Headers)}}
}

func headerMatch(name, value string, isRegex bool) ValueMatch {
	return ValueMatch{Name: strings.ToLower(name), Value: value, Regex: isRegex}
}
