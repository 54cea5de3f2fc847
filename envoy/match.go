package envoy

import (
	"fmt"
	"regexp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
)

// routeMatch is one match of the Gateway API. Envoy's path_separated_prefix
// compares by whole elements, as the Gateway API does; it refuses "/", which
// matches everything.
func routeMatch(m *compile.Match) (*routev3.RouteMatch, error) {
	out := &routev3.RouteMatch{}
	switch {
	case m.PathType == compile.PathExact:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: m.Path}
	case m.PathType == compile.PathRegex:
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: regex(m.Path)}
	case m.PathType == compile.PathPrefix && m.Path == "/":
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/"}
	case m.PathType == compile.PathPrefix:
		out.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: m.Path}
	default:
		return nil, fmt.Errorf("path type %d is not known", m.PathType)
	}
	if m.GRPC {
		out.Grpc = &routev3.RouteMatch_GrpcRouteMatchOptions{}
	}
	if m.Method != "" {
		out.Headers = append(out.Headers, header(":method", exactly(m.Method)))
	}
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, header(h.Name, valueMatcher(h)))
	}
	for _, q := range m.Query {
		out.QueryParameters = append(out.QueryParameters, &routev3.QueryParameterMatcher{
			Name:                         q.Name,
			QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_StringMatch{StringMatch: valueMatcher(q)},
		})
	}
	return out, nil
}

// inferenceCalls returns matchers that hold for exactly the requests that ask
// for a prediction, as protocol.Inference has it. A test compares the two.
func inferenceCalls(p policy.Protocol) ([]*routev3.HeaderMatcher, error) {
	// The path ends here or in slashes, before any query; the colon of a verb
	// may be escaped.
	const end, verb = `/*([?#].*)?`, `[^?#]*(:|%3[Aa])`
	var path string
	switch p {
	case policy.OpenInferenceV2:
		path = `[^?#]*/infer` + end
	case policy.OpenInferenceV1:
		path = verb + `predict` + end
	case policy.TensorFlowServing:
		path = verb + `(predict|classify|regress)` + end
	case policy.MLflow:
		path = `[^?#]*/invocations` + end
	case policy.OpenAI:
		path = `[^?#]*/completions` + end
	case policy.JSON:
		return []*routev3.HeaderMatcher{asking()}, nil
	default:
		return nil, fmt.Errorf("protocol %q is not rendered", p)
	}
	return []*routev3.HeaderMatcher{
		asking(),
		header(":path", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: regex(path)}}),
	}, nil
}

// asking matches the methods that can ask for a prediction.
func asking() *routev3.HeaderMatcher {
	m := header(":method", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: regex("HEAD|OPTIONS|TRACE|CONNECT")}})
	m.InvertMatch = true
	return m
}

func valueMatcher(v compile.ValueMatch) *matcherv3.StringMatcher {
	if v.Regex {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: regex(v.Value)}}
	}
	return exactly(v.Value)
}

func exactly(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s}}
}

func header(name string, m *matcherv3.StringMatcher) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: m}}
}

func regex(text string) *matcherv3.RegexMatcher { return &matcherv3.RegexMatcher{Regex: text} }

// rewrite applies the Gateway API's URLRewrite to an action. Envoy's
// prefix_rewrite replaces text, so that a prefix of "/" or a replacement by
// nothing needs care for its slashes.
func rewrite(action *routev3.RouteAction, rw *compile.Rewrite, m *compile.Match) error {
	if rw == nil {
		return nil
	}
	if rw.Hostname != "" {
		action.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: rw.Hostname}
	}
	switch {
	case rw.FullPath != nil:
		action.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{Pattern: regex(`^.*$`), Substitution: literal(*rw.FullPath)}
	case rw.Prefix == nil:
	case m.PathType != compile.PathPrefix:
		return fmt.Errorf("a prefix is rewritten where the match of path %q is no PathPrefix", m.Path)
	default:
		from, to := strings.TrimRight(m.Path, "/"), strings.TrimRight(*rw.Prefix, "/")
		switch {
		case to == "":
			action.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{Pattern: regex(`^` + regexp.QuoteMeta(from) + `/*`), Substitution: "/"}
		case from == "":
			action.PrefixRewrite = to + "/"
		default:
			action.PrefixRewrite = to
		}
	}
	return nil
}

// literal keeps RE2 from reading a substitution's backslashes as groups.
func literal(s string) string { return strings.ReplaceAll(s, `\`, `\\`) }
