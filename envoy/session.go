package envoy

import (
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/safestate/safestate/internal/compile"
)

// A session is a name that a caller gets with its first answer and sends back.
// Envoy hashes it and takes the version at that place of the weights: a caller
// stays while the weights stand, a shift moves those callers that it has to, and
// a version without weight has nobody. Envoy's own stateful sessions name the
// endpoint instead, and hold a caller on a version that was taken away.
//
// Of a request without a name the request id is hashed, and becomes the name: so
// that the first answer is by the same version as the second. Envoy's cookie
// with a lifetime would be made only once the version is chosen.

// requestID is a header that Envoy has put on a request before it is routed.
const requestID = "x-request-id"

// newName is the request id, where it is one: a caller can send its own, and may
// not write attributes of a cookie. Without one there is no session.
const newName = "%CEL('" + requestID + "' in request.headers && request.headers['" + requestID + "'].matches('^[A-Za-z0-9-]+$')" +
	" ? request.headers['" + requestID + "'] : '')%"

// withSession gives the routes of a rule whose callers have sessions. Envoy can
// look for a cookie and not add one where it is missing: so each route that
// leads to versions is there twice, first for those who have a name.
func withSession(routes []*routev3.Route, s *compile.Session) []*routev3.Route {
	if s == nil {
		return routes
	}
	var out []*routev3.Route
	for _, rt := range routes {
		weighted := rt.GetRoute().GetWeightedClusters()
		if weighted == nil {
			out = append(out, rt)
			continue
		}
		weighted.RandomValueSpecifier = &routev3.WeightedCluster_UseHashPolicy{UseHashPolicy: wrapperspb.Bool(true)}
		if s.Header {
			rt.GetRoute().HashPolicy = []*routev3.RouteAction_HashPolicy{byHeader(s.Name), byHeader(requestID)}
			rt.ResponseHeadersToAdd = append(rt.ResponseHeadersToAdd, setHeader(s.Name, "%REQ("+s.Name+"?"+requestID+")%"))
			out = append(out, rt)
			continue
		}
		known := proto.Clone(rt).(*routev3.Route)
		known.Match.Cookies = append(known.Match.Cookies, &routev3.CookieMatcher{Name: s.Name, StringMatch: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: regex(".+")},
		}})
		known.GetRoute().HashPolicy = []*routev3.RouteAction_HashPolicy{byCookie(s.Name)}
		rt.GetRoute().HashPolicy = []*routev3.RouteAction_HashPolicy{byHeader(requestID)}
		rt.ResponseHeadersToAdd = append(rt.ResponseHeadersToAdd, setCookie(s))
		out = append(out, known, rt)
	}
	return out
}

// byHeader is the last word where the request has the header.
func byHeader(name string) *routev3.RouteAction_HashPolicy {
	return &routev3.RouteAction_HashPolicy{
		PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: name}},
		Terminal:        true,
	}
}

func byCookie(name string) *routev3.RouteAction_HashPolicy {
	return &routev3.RouteAction_HashPolicy{
		PolicySpecifier: &routev3.RouteAction_HashPolicy_Cookie_{Cookie: &routev3.RouteAction_HashPolicy_Cookie{Name: name}},
		Terminal:        true,
	}
}

func setCookie(s *compile.Session) *corev3.HeaderValueOption {
	value := s.Name + "=" + newName + "; Path=/; HttpOnly; SameSite=Lax"
	if s.MaxAge > 0 {
		value += "; Max-Age=" + strconv.FormatInt(int64(s.MaxAge/time.Second), 10)
	}
	out := setHeader("set-cookie", value)
	out.AppendAction = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
	return out
}
