package config

import (
	"fmt"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// filters accepts what can be done without a second place to keep state or to
// send to: editing headers and rewriting the URL.
func (c *checker) filters(field string, rule *gatewayv1.HTTPRouteRule) {
	seen := map[gatewayv1.HTTPRouteFilterType]bool{}
	for i := range rule.Filters {
		f := &rule.Filters[i]
		at := fmt.Sprintf("%s[%d]", field, i)
		if f.Type == "" {
			c.fail(at+".type", "is missing; want RequestHeaderModifier, ResponseHeaderModifier or URLRewrite")
			continue
		}
		if seen[f.Type] {
			c.filterTwice(at, string(f.Type))
		}
		seen[f.Type] = true
		switch f.Type {
		case gatewayv1.HTTPRouteFilterRequestHeaderModifier:
			c.headerFilter(at+".requestHeaderModifier", f.RequestHeaderModifier)
		case gatewayv1.HTTPRouteFilterResponseHeaderModifier:
			c.headerFilter(at+".responseHeaderModifier", f.ResponseHeaderModifier)
		case gatewayv1.HTTPRouteFilterURLRewrite:
			c.rewrite(at+".urlRewrite", f.URLRewrite, rule)
		default:
			c.fail(at+".type", "is %s, which is not supported; want RequestHeaderModifier, ResponseHeaderModifier or URLRewrite", f.Type)
		}
		c.filterUnion(at, string(f.Type), []filterMember{
			{string(gatewayv1.HTTPRouteFilterRequestHeaderModifier), "requestHeaderModifier", f.RequestHeaderModifier != nil},
			{string(gatewayv1.HTTPRouteFilterResponseHeaderModifier), "responseHeaderModifier", f.ResponseHeaderModifier != nil},
			{string(gatewayv1.HTTPRouteFilterURLRewrite), "urlRewrite", f.URLRewrite != nil},
			{string(gatewayv1.HTTPRouteFilterRequestMirror), "requestMirror", f.RequestMirror != nil},
			{string(gatewayv1.HTTPRouteFilterRequestRedirect), "requestRedirect", f.RequestRedirect != nil},
			{string(gatewayv1.HTTPRouteFilterCORS), "cors", f.CORS != nil},
			{string(gatewayv1.HTTPRouteFilterExternalAuth), "externalAuth", f.ExternalAuth != nil},
			{string(gatewayv1.HTTPRouteFilterExtensionRef), "extensionRef", f.ExtensionRef != nil},
		})
	}
}

func (c *checker) filterTwice(field, kind string) {
	c.fail(field+".type", "is %s, which stands there already; want each once", kind)
}

// filterMember is one member of a filter's union.
type filterMember struct {
	kind string // the filter's type that uses it
	name string
	set  bool
}

// filterUnion refuses members that the filter's type does not use.
func (c *checker) filterUnion(field, kind string, members []filterMember) {
	for _, m := range members {
		if m.set && m.kind != kind {
			c.fail(field+"."+m.name, "is set in a filter of type %s; want it in a filter of type %s", kind, m.kind)
		}
	}
}

func (c *checker) headerFilter(field string, f *gatewayv1.HTTPHeaderFilter) {
	if f == nil {
		c.fail(field, "is missing; want set, add or remove")
		return
	}
	seen := map[string]bool{}
	for i, h := range f.Set {
		c.header(fmt.Sprintf("%s.set[%d]", field, i), string(h.Name), h.Value, seen)
	}
	seen = map[string]bool{}
	for i, h := range f.Add {
		c.header(fmt.Sprintf("%s.add[%d]", field, i), string(h.Name), h.Value, seen)
	}
	seen = map[string]bool{}
	for i, name := range f.Remove {
		c.headerName(fmt.Sprintf("%s.remove[%d]", field, i), name, seen)
	}
}

func (c *checker) header(field, name, value string, seen map[string]bool) {
	c.headerName(field+".name", name, seen)
	if !headerValue(value) {
		c.fail(field+".value", "is %s; want no line breaks", quote(value))
	}
}

// headerName refuses what a proxy does not let a route edit, and our own
// headers: a route could otherwise forge where an answer came from.
func (c *checker) headerName(field, name string, seen map[string]bool) {
	lower := strings.ToLower(name)
	switch {
	case !token(name):
		c.fail(field, "is %s; want a header's name", quote(name))
	case lower == "host":
		c.fail(field, "is %s; want urlRewrite.hostname for that", quote(name))
	case strings.HasPrefix(lower, "x-safestate-"):
		c.fail(field, "is %s; x-safestate- headers are safestate's own", quote(name))
	case lower == "content-length" || lower == "transfer-encoding":
		c.fail(field, "is %s, which frames the message; remove it", quote(name))
	case seen[lower]:
		c.fail(field, "is %s, which stands there already; want each once", quote(name))
	}
	seen[lower] = true
}

func (c *checker) rewrite(field string, f *gatewayv1.HTTPURLRewriteFilter, rule *gatewayv1.HTTPRouteRule) {
	if f == nil || f.Hostname == nil && f.Path == nil {
		c.fail(field, "is missing; want hostname or path")
		return
	}
	if f.Hostname != nil && !hostname(string(*f.Hostname)) {
		c.fail(field+".hostname", "is %s; want a host name in lower case", quote(string(*f.Hostname)))
	}
	if f.Path == nil {
		return
	}
	switch f.Path.Type {
	case gatewayv1.FullPathHTTPPathModifier:
		if f.Path.ReplaceFullPath == nil {
			c.fail(field+".path.replaceFullPath", "is missing; want the new path")
			return
		}
		c.path(field+".path.replaceFullPath", *f.Path.ReplaceFullPath)
		if f.Path.ReplacePrefixMatch != nil {
			c.fail(field+".path.replacePrefixMatch", "is set with type ReplaceFullPath; remove one of them")
		}
	case gatewayv1.PrefixMatchHTTPPathModifier:
		c.prefixRewrite(field+".path", f.Path, rule)
	default:
		c.fail(field+".path.type", "is missing; want ReplaceFullPath or ReplacePrefixMatch")
	}
}

func (c *checker) prefixRewrite(field string, p *gatewayv1.HTTPPathModifier, rule *gatewayv1.HTTPRouteRule) {
	if p.ReplacePrefixMatch == nil {
		c.fail(field+".replacePrefixMatch", "is missing; want the new prefix")
		return
	}
	if *p.ReplacePrefixMatch != "" {
		c.path(field+".replacePrefixMatch", *p.ReplacePrefixMatch)
	}
	if p.ReplaceFullPath != nil {
		c.fail(field+".replaceFullPath", "is set with type ReplacePrefixMatch; remove one of them")
	}
	for i := range rule.Matches {
		m := &rule.Matches[i]
		if m.Path != nil && m.Path.Type != nil && *m.Path.Type != gatewayv1.PathMatchPathPrefix {
			c.fail(field+".type", "is ReplacePrefixMatch, and matches[%d] compares by %s; want PathPrefix there", i, *m.Path.Type)
		}
	}
}
