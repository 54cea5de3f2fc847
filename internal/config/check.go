package config

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// checker collects what is wrong with one object.
type checker struct {
	world    *World
	source   *Source
	problems *Problems
}

// fail reports a mistake, unless it only follows from an unreadable field.
func (c *checker) fail(field, format string, args ...any) {
	if !c.source.Unreadable(field) {
		*c.problems = append(*c.problems, c.source.Problem(field, format, args...))
	}
}

// warn reports what is applied all the same.
func (c *checker) warn(field, format string, args ...any) {
	if !c.source.Unreadable(field) {
		p := c.source.Problem(field, format, args...)
		p.Warning = true
		*c.problems = append(*c.problems, p)
	}
}

// dangling reports a reference to an object that is not there, unless some
// file could not be read: it may be in that.
func (c *checker) dangling(field, format string, args ...any) {
	if !c.world.partial {
		c.fail(field, format, args...)
	}
}

// validate finds what is wrong with a world whose objects have been decoded.
func validate(w *World) Problems {
	var problems Problems
	checkNames(w.Routes, w, &problems)
	checkNames(w.GRPCRoutes, w, &problems)
	labels(w, &problems)
	checkNames(w.Models, w, &problems)
	grants := slices.DeleteFunc(slices.Clone(w.Grants), func(g *Object[gatewayv1.ReferenceGrant]) bool { return g.Source == nil })
	checkNames(grants, w, &problems)
	checkNames(w.Policies, w, &problems)
	for _, m := range w.Models {
		(&checker{w, m.Source, &problems}).model(m)
	}
	for _, g := range grants {
		(&checker{w, g.Source, &problems}).grant(g)
	}
	for _, r := range w.Routes {
		(&checker{w, r.Source, &problems}).route(r)
	}
	for _, r := range w.GRPCRoutes {
		(&checker{w, r.Source, &problems}).grpcRoute(r)
	}
	for _, p := range w.Policies {
		(&checker{w, p.Source, &problems}).policy(p)
	}
	return slices.Concat(problems, ungranted(w), tellTwins(w))
}

// checkNames looks at the names of the objects of one kind, which are sorted.
func checkNames[T any](objects []*Object[T], w *World, problems *Problems) {
	seen := map[string]*Object[T]{}
	for _, o := range objects {
		c := &checker{w, o.Source, problems}
		if o.Name == "" {
			c.fail("metadata.name", "is missing; want a name such as fraud")
			continue
		}
		if !subdomain(o.Name) {
			c.fail("metadata.name", "is %s; want lower-case letters, digits, - and ., 253 at most", quote(o.Name))
		}
		if !label(o.Namespace) {
			c.fail("metadata.namespace", "is %s; want lower-case letters, digits and -, 63 at most", quote(o.Namespace))
		}
		if first, twice := seen[o.Key()]; twice {
			c.fail("metadata.name", "is %s, which %s has too; want one name each", quote(o.Name), first.Source.place())
			continue
		}
		seen[o.Key()] = o
	}
}

// place names an object in a message about another.
func (s *Source) place() string {
	if s == nil {
		return "another object"
	}
	return fmt.Sprintf("%s:%d", s.file, s.line(""))
}

var (
	labelPattern     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	subdomainPattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	reasonPattern    = regexp.MustCompile(`^[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?$`)
	tokenPattern     = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+\\-.^_`|~]+$")
)

// label: a DNS label, RFC 1123.
func label(s string) bool { return len(s) <= 63 && labelPattern.MatchString(s) }

// subdomain: DNS labels with dots, RFC 1123.
func subdomain(s string) bool { return len(s) <= 253 && subdomainPattern.MatchString(s) }

// hostname: a DNS name in lower case that no one takes for an IP address.
func hostname(s string) bool {
	if !subdomain(s) || slices.ContainsFunc(strings.Split(s, "."), func(l string) bool { return len(l) > 63 }) {
		return false
	}
	last := s[strings.LastIndexByte(s, '.')+1:]
	return strings.Trim(last, "0123456789") != ""
}

// address: an IP address or a host name.
func address(s string) bool {
	ip, err := netip.ParseAddr(s)
	return err == nil && ip.Zone() == "" || err != nil && hostname(s)
}

// reason: a name that stands in a header and a metric label.
func reason(s string) bool { return reasonPattern.MatchString(s) }

// token: a header's name, RFC 9110.
func token(s string) bool { return len(s) <= 256 && tokenPattern.MatchString(s) }

// headerValue: visible characters and blanks, no line break.
func headerValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

func (c *checker) port(field string, port int32) {
	if port < 1 || port > 65535 {
		c.fail(field, "is %d; want 1 to 65535", port)
	}
}

func (c *checker) path(field, path string) {
	if !strings.HasPrefix(path, "/") || !headerValue(path) || strings.ContainsAny(path, " #") {
		c.fail(field, "is %s; want a path that starts with /", quote(path))
	}
}

// within checks an optional duration; nil is fine.
func (c *checker) within(field string, d *metav1.Duration, least, most time.Duration) {
	if d != nil && (d.Duration < least || d.Duration > most) {
		c.fail(field, "is %s; want %s to %s", d.Duration, short(least), short(most))
	}
}

// percent checks an optional share; nil is fine.
func (c *checker) percent(field string, p *float64, zero bool) {
	switch {
	case p == nil:
	case zero && !(*p >= 0 && *p <= 100):
		c.fail(field, "is %v; want 0 to 100", *p)
	case !zero && !(*p > 0 && *p <= 100):
		c.fail(field, "is %v; want over 0 and at most 100", *p)
	}
}

// count checks an optional whole number; nil is fine.
func (c *checker) count(field string, n *int32, least, most int32) {
	if n != nil && (*n < least || *n > most) {
		c.fail(field, "is %d; want %d to %d", *n, least, most)
	}
}

// short writes a duration without empty minutes and seconds.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// names lists what would have been right, or says that there is nothing.
func names[T any](set map[string]T) string {
	if len(set) == 0 {
		return "there is none"
	}
	all := slices.Sorted(maps.Keys(set))
	const most = 10
	if len(all) > most {
		return "there are " + strings.Join(all[:most], ", ") + " and more"
	}
	if len(all) == 1 {
		return "there is " + all[0]
	}
	return "there are " + allOf(all)
}
