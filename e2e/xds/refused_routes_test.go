package xds

import (
	"math"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// refusedRoutes are mistakes in RDS.
func refusedRoutes() []refusal {
	out := refusedRegexes()
	out = append(out, refusedHeaders()...)
	out = append(out, refusedHosts()...)
	out = append(out, refusedActions()...)
	return append(out, refusedDurations()...)
}

func regex(text string) *matcherv3.RegexMatcher { return &matcherv3.RegexMatcher{Regex: text} }

func matches(text string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: regex(text)}}
}

func substitution(text string) *matcherv3.RegexMatchAndSubstitute {
	return &matcherv3.RegexMatchAndSubstitute{Pattern: regex(text), Substitution: "x"}
}

func refusedRegexes() []refusal {
	var out []refusal
	for _, r := range [][2]string{
		{"(", "missing )"}, {"a)", "unexpected )"}, {"[a", "missing ]"}, {"*a", "no argument for repetition operator"},
		{"a**", "bad repetition operator"}, {"a{2,1}", "invalid repetition size"}, {"a{2000}", "invalid repetition size"},
		{"\\8", "invalid escape sequence"}, {"\\", "trailing \\"}, {"(?P<n", "invalid named capture group"},
		{"[z-a]", "invalid character class range"}, {"[[:nope:]]", "invalid character class range"},
		{"\\p{Nope}", "invalid character class range"}, {"(?<!a)b", "invalid perl operator"},
	} {
		out = append(out, inRoute("path regex "+r[0], r[1], func(rt *routev3.Route) {
			rt.Match.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: regex(r[0])}
		}))
	}
	const bad, says = "(", "missing )"
	header := &routev3.HeaderMatcher{Name: "x-a", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: matches(bad)}}
	return append(out,
		inRoute("regex of a header", says, func(rt *routev3.Route) { rt.Match.Headers = []*routev3.HeaderMatcher{header} }),
		inRoute("regex of a query parameter", says, func(rt *routev3.Route) {
			rt.Match.QueryParameters = []*routev3.QueryParameterMatcher{{Name: "q",
				QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_StringMatch{StringMatch: matches(bad)}}}
		}),
		inRoute("regex of a redirect", says, func(rt *routev3.Route) {
			rt.Action = &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{
				PathRewriteSpecifier: &routev3.RedirectAction_RegexRewrite{RegexRewrite: substitution(bad)}}}
		}),
		inAction("regex of a rewrite", says, func(a *routev3.RouteAction) { a.RegexRewrite = substitution(bad) }),
		inAction("regex of a host's rewrite", says, func(a *routev3.RouteAction) {
			a.HostRewriteSpecifier = &routev3.RouteAction_HostRewritePathRegex{HostRewritePathRegex: substitution(bad)}
		}),
		inAction("regex of a hash", says, func(a *routev3.RouteAction) {
			a.HashPolicy = []*routev3.RouteAction_HashPolicy{{PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{
				Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: "x-a", RegexRewrite: substitution(bad)}}}}
		}),
		inAction("regex of a retry", says, func(a *routev3.RouteAction) {
			a.RetryPolicy = &routev3.RetryPolicy{RetryOn: "retriable-headers", RetriableHeaders: []*routev3.HeaderMatcher{header}}
		}),
		inHost("regex of an origin", says, func(vh *routev3.VirtualHost) {
			vh.TypedPerFilterConfig = map[string]*anypb.Any{"envoy.filters.http.cors": packed(&corsv3.CorsPolicy{
				AllowOriginStringMatch: []*matcherv3.StringMatcher{matches(bad)}})}
		}),
	)
}

// badFormats are texts that Envoy cannot fill in.
var badFormats = [][2]string{
	{"%NOPE%", "Not supported field in StreamInfo: NOPE"}, {"%REQ(", "Couldn't find valid command at position 0"},
	{"%", "Couldn't find valid command at position 0"}, {"%START_TIME", "Couldn't find valid command at position 0"},
	{"%REQ(a):x%", "Couldn't find valid command at position 0"}, {"%REQ(a?b?c)%", "More than 1 alternative header"},
	{"%REQ%", "REQ requires parameters"}, {"%DYNAMIC_METADATA%", "DYNAMIC_METADATA requires parameters"},
	{"%FILTER_STATE%", "key cannot be empty"}, {"%ENVIRONMENT%", "ENVIRONMENT requires parameters"},
}

func written(name, value string) []*corev3.HeaderValueOption {
	return []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: name, Value: value}}}
}

func refusedHeaders() []refusal {
	var out []refusal
	for _, f := range badFormats {
		out = append(out,
			inRoute("request header's value "+f[0], f[1], func(rt *routev3.Route) { rt.RequestHeadersToAdd = written("x-a", f[0]) }),
			inHost("response header's value "+f[0], f[1], func(vh *routev3.VirtualHost) { vh.ResponseHeadersToAdd = written("x-a", f[0]) }))
	}
	for _, name := range []string{":path", ":authority", "Host"} {
		out = append(out,
			inRoute("request header "+name+" written", "may not be modified", func(rt *routev3.Route) { rt.RequestHeadersToAdd = written(name, "a") }),
			inHost("request header "+name+" removed", "may not be removed", func(vh *routev3.VirtualHost) { vh.RequestHeadersToRemove = []string{name} }),
			inRoutes("response header "+name+" removed", "may not be removed", func(rc *routev3.RouteConfiguration) { rc.ResponseHeadersToRemove = []string{name} }))
	}
	return out
}

func refusedHosts() []refusal {
	var out []refusal
	for domain, says := range map[string]string{
		"*": "Only a single wildcard domain", "a.example.com": "Duplicate entry of domain a.example.com",
		"*.example.com": "Duplicate entry of domain *.example.com", "a.example.*": "Duplicate entry of domain a.example.*",
	} {
		out = append(out, inRoutes("domain "+domain+" twice", says, func(rc *routev3.RouteConfiguration) {
			for _, n := range []string{"one", "two"} {
				rc.VirtualHosts = append(rc.VirtualHosts, &routev3.VirtualHost{Name: n, Domains: []string{domain}, Routes: rc.VirtualHosts[0].Routes})
			}
		}))
	}
	const says = "doesn't support virtual host or route specific configurations"
	for _, name := range []string{"envoy.filters.http.router", "envoy.filters.http.ext_proc", "nobody", "safestate"} {
		wrong := map[string]*anypb.Any{name: packed(nothing())}
		out = append(out,
			inRoute("a route's settings of the filter "+name, says, func(rt *routev3.Route) { rt.TypedPerFilterConfig = wrong }),
			inHost("a host's settings of the filter "+name, says, func(vh *routev3.VirtualHost) { vh.TypedPerFilterConfig = wrong }))
	}
	return append(out, inRoutes("plugin of nobody's", unregistered, func(rc *routev3.RouteConfiguration) {
		rc.ClusterSpecifierPlugins = []*routev3.ClusterSpecifierPlugin{{Extension: nobodys()}}
	}))
}

func refusedActions() []refusal {
	weigh := func(weight uint32) func(*routev3.RouteAction) {
		return func(a *routev3.RouteAction) {
			for _, w := range a.GetWeightedClusters().GetClusters() {
				w.Weight = wrapperspb.UInt32(weight)
			}
		}
	}
	answer := func(body *corev3.DataSource) func(*routev3.Route) {
		return func(rt *routev3.Route) {
			rt.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 200, Body: body}}
		}
	}
	retry := func(p *routev3.RetryPolicy) func(*routev3.RouteAction) {
		p.RetryOn = "5xx"
		return func(a *routev3.RouteAction) { a.RetryPolicy = p }
	}
	return []refusal{
		inAction("weights of nothing", "Sum of weights in the weighted_cluster must be greater than 0", weigh(0)),
		inAction("weights beyond 32 bits", "exceeds 4294967295", weigh(math.MaxUint32)),
		inAction("rewrites of two kinds", "Specify only one of", func(a *routev3.RouteAction) {
			a.PrefixRewrite, a.RegexRewrite = "/a", substitution("a")
		}),
		inAction("upgrade twice", "Duplicate upgrade websocket", func(a *routev3.RouteAction) {
			a.UpgradeConfigs = []*routev3.RouteAction_UpgradeConfig{{UpgradeType: "websocket"}, {UpgradeType: "websocket"}}
		}),
		inAction("CONNECT settings without CONNECT", "has ConnectConfig", func(a *routev3.RouteAction) {
			a.UpgradeConfigs = []*routev3.RouteAction_UpgradeConfig{{UpgradeType: "websocket", ConnectConfig: &routev3.RouteAction_UpgradeConfig_ConnectConfig{}}}
		}),
		inAction("plugin that is not there", "Unknown cluster specifier plugin", func(a *routev3.RouteAction) {
			a.ClusterSpecifier = &routev3.RouteAction_ClusterSpecifierPlugin{ClusterSpecifierPlugin: "nobody"}
		}),
		inRoute("answer from a missing file", "does not exist", answer(file("/nonexistent/body"))),
		inRoute("answer beyond the limit", "response body size is 5000 bytes", answer(inline(strings.Repeat("a", 5000)))),
		inRoute("answer from a missing variable", "Environment variable doesn't exist", answer(&corev3.DataSource{
			Specifier: &corev3.DataSource_EnvironmentVariable{EnvironmentVariable: "SAFESTATE_NOBODY_SETS_THIS"}})),
		inRoute("path by nobody", unregistered, func(rt *routev3.Route) {
			rt.Match.PathSpecifier = &routev3.RouteMatch_PathMatchPolicy{PathMatchPolicy: nobodys()}
		}),
		inAction("retries that wait longer at first", "max_interval must", retry(&routev3.RetryPolicy{RetryBackOff: &routev3.RetryPolicy_RetryBackOff{
			BaseInterval: durationpb.New(time.Second), MaxInterval: durationpb.New(time.Millisecond)}})),
		inAction("retries at hosts of nobody's", unregistered, retry(&routev3.RetryPolicy{RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
			Name: "nobody", ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: packed(nothing())}}}})),
		inAction("retries at a priority of nobody's", unregistered, retry(&routev3.RetryPolicy{RetryPriority: &routev3.RetryPolicy_RetryPriority{
			Name: "nobody", ConfigType: &routev3.RetryPolicy_RetryPriority_TypedConfig{TypedConfig: packed(nothing())}}})),
		inAction("retries with options of nobody's", unregistered, retry(&routev3.RetryPolicy{RetryOptionsPredicates: []*corev3.TypedExtensionConfig{nobodys()}})),
	}
}

// badDurations are durations that protobuf can say and nobody can wait.
var badDurations = map[string]*durationpb.Duration{
	"negative":          {Seconds: -1},
	"of two signs":      {Seconds: 1, Nanos: -5},
	"longer than all":   {Seconds: math.MaxInt64},
	"of too many nanos": {Nanos: 2e9},
}

func refusedDurations() []refusal {
	var out []refusal
	for what, d := range badDurations {
		out = append(out,
			inAction("timeout "+what, "Invalid duration", func(a *routev3.RouteAction) { a.Timeout = d }),
			inAction("idle timeout "+what, "Invalid duration", func(a *routev3.RouteAction) { a.IdleTimeout = d }),
			inAction("longest stream "+what, "Invalid duration", func(a *routev3.RouteAction) {
				a.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: d}
			}))
	}
	return out
}
