package access

import (
	"fmt"
	"regexp"
	"strings"
)

// Kind is what a target is.
type Kind string

// The kinds. The zero value is none, and nobody may do anything to it.
const (
	KindEverything Kind = "everything" // all models, routes, policies and proxies
	KindOverview   Kind = "overview"   // a list; what is in it is asked for one by one
	KindModel      Kind = "model"      // with all its versions
	KindRoute      Kind = "route"
	KindPolicy     Kind = "policy"
	KindProxy      Kind = "proxy"
)

// Target is what an action is done to.
type Target struct {
	Kind Kind
	// Name is "namespace/name"; of a route also "namespace/name/rule"; of a proxy
	// its node id. Empty for everything and for an overview.
	Name string
}

// Everything is all there is: a kill of it stops all models.
func Everything() Target { return Target{Kind: KindEverything} }

// Overview is a list of what there is. Whoever may read anything may ask for it;
// each entry is another question.
func Overview() Target { return Target{Kind: KindOverview} }

// Model is a model, or a version of it, by "namespace/name".
func Model(name string) Target { return Target{KindModel, name} }

// Route is a route by "namespace/name", or one rule of it by
// "namespace/name/rule".
func Route(name string) Target { return Target{KindRoute, name} }

// OfPolicy is a policy by "namespace/name".
func OfPolicy(name string) Target { return Target{KindPolicy, name} }

// Proxy is a proxy by its node id.
func Proxy(node string) Target { return Target{KindProxy, node} }

func (t Target) String() string {
	if t.Name == "" {
		return string(t.Kind)
	}
	return string(t.Kind) + " " + t.Name
}

// well reports whether the name is one of its kind: nothing that a pattern could
// be mistaken for, and nothing that is not there.
func (t Target) well() bool {
	switch t.Kind {
	case KindEverything, KindOverview:
		return t.Name == ""
	case KindModel, KindPolicy:
		return parts(t.Name) == 2
	case KindRoute:
		n := parts(t.Name)
		return n == 2 || n == 3
	case KindProxy:
		return t.Name != ""
	default:
		return false
	}
}

// parts counts the parts of a name; 0 where one of them is empty or a pattern.
func parts(name string) int {
	all := strings.Split(name, "/")
	for _, part := range all {
		if part == "" || strings.Contains(part, "*") {
			return 0
		}
	}
	return len(all)
}

// Pattern says which names a grant is for: "*", "namespace/*", "namespace/name",
// and of routes "namespace/name/rule".
type Pattern string

var patternText = regexp.MustCompile(`^(\*|[a-z0-9]([-a-z0-9.]*[a-z0-9])?/(\*|[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?)?))$`)

// UnmarshalText reads a pattern.
func (p *Pattern) UnmarshalText(text []byte) error {
	if !patternText.Match(text) {
		return fmt.Errorf("is %q; want *, NAMESPACE/* or NAMESPACE/NAME", clip(string(text)))
	}
	*p = Pattern(text)
	return nil
}

// fits reports whether a name is one that the pattern is for. A pattern without
// a rule is for all rules of a route.
func (p Pattern) fits(name string) bool {
	text := string(p)
	if text == "*" {
		return true
	}
	if namespace, ok := strings.CutSuffix(text, "/*"); ok {
		return strings.HasPrefix(name, namespace+"/")
	}
	return name == text || strings.HasPrefix(name, text+"/")
}

// Scope is what a grant is for. Models with "*" in it is a scope of everything:
// models, routes, policies, proxies and the store.
type Scope struct {
	Models []Pattern
	Routes []Pattern
}

// all reports whether the scope is everything.
func (s Scope) all() bool {
	for _, p := range s.Models {
		if p == "*" {
			return true
		}
	}
	return false
}

// covers reports whether a target lies within the scope.
func (s Scope) covers(t Target) bool {
	switch {
	case s.all():
		return true
	case t.Kind == KindOverview:
		return len(s.Models)+len(s.Routes) > 0
	case t.Kind == KindModel:
		return anyFits(s.Models, t.Name)
	case t.Kind == KindRoute:
		return anyFits(s.Routes, t.Name)
	case t.Kind == KindPolicy: // it may be for any model of its namespace
		namespace, _, _ := strings.Cut(t.Name, "/")
		return anyFits(wholeNamespaces(s.Models), namespace+"/")
	default: // everything, and proxies, which serve everybody
		return false
	}
}

func anyFits(patterns []Pattern, name string) bool {
	for _, p := range patterns {
		if p.fits(name) {
			return true
		}
	}
	return false
}

func wholeNamespaces(patterns []Pattern) (out []Pattern) {
	for _, p := range patterns {
		if strings.HasSuffix(string(p), "/*") {
			out = append(out, p)
		}
	}
	return out
}
