package config

import (
	"reflect"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// lister is an enumeration that knows its values.
type lister interface{ Values() []string }

// gatewayEnums gives the Gateway API's enumerations, which do not know theirs.
var gatewayEnums = map[reflect.Type][]string{
	reflect.TypeFor[gatewayv1.PathMatchType]():       {"Exact", "PathPrefix", "RegularExpression"},
	reflect.TypeFor[gatewayv1.HeaderMatchType]():     {"Exact", "RegularExpression"},
	reflect.TypeFor[gatewayv1.QueryParamMatchType](): {"Exact", "RegularExpression"},
	reflect.TypeFor[gatewayv1.HTTPMethod](): {
		"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"},
	reflect.TypeFor[gatewayv1.HTTPPathModifierType](): {"ReplaceFullPath", "ReplacePrefixMatch"},
	reflect.TypeFor[gatewayv1.HTTPRouteFilterType](): {
		"RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite", "RequestMirror",
		"CORS", "ExternalAuth", "ExtensionRef"},
	reflect.TypeFor[gatewayv1.SessionPersistenceType](): {"Cookie", "Header"},
	reflect.TypeFor[gatewayv1.CookieLifetimeType]():     {"Permanent", "Session"},
	reflect.TypeFor[gatewayv1.GRPCMethodMatchType]():    {"Exact", "RegularExpression"},
	reflect.TypeFor[gatewayv1.GRPCHeaderMatchType]():    {"Exact", "RegularExpression"},
	reflect.TypeFor[gatewayv1.GRPCRouteFilterType](): {
		"RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef"},
}

// enumValues returns the values of an enumeration's type; nil: it is none.
func enumValues(t reflect.Type) []string {
	if v, ok := reflect.Zero(t).Interface().(lister); ok {
		return v.Values()
	}
	return gatewayEnums[t]
}

// nearest returns the candidate that a misspelt word most likely means; empty:
// none is near.
func nearest(word string, candidates []string) string {
	best, least := "", len(word)/3+2
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(word), strings.ToLower(c)); d < least {
			best, least = c, d
		}
	}
	return best
}

// editDistance is Levenshtein's, in two rows. Words past 64 bytes are as far
// apart as they are long: nobody misspells those.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// oneOf writes a choice for a person: "A, B or C".
func oneOf(values []string) string { return listed(values, " or ") }

// allOf writes a list for a person: "A, B and C".
func allOf(values []string) string { return listed(values, " and ") }

func listed(values []string, word string) string {
	if len(values) < 2 {
		return strings.Join(values, "")
	}
	last := len(values) - 1
	return strings.Join(values[:last], ", ") + word + values[last]
}
