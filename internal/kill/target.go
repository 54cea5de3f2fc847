package kill

import (
	"fmt"
	"regexp"
	"strings"
)

// Scope is how much a target takes in.
type Scope string

// The scopes.
const (
	All     Scope = "all"     // every route and every model
	Route   Scope = "route"   // one rule of an HTTPRoute or GRPCRoute
	Model   Scope = "model"   // every version of a model, on every route
	Version Scope = "version" // one version of a model, on every route
)

// Scopes lists every scope, the widest first.
func Scopes() []Scope { return []Scope{All, Route, Model, Version} }

// Target is what a kill stops. It is comparable. Its zero value is none.
type Target struct {
	Scope Scope `json:"scope"`
	// Name is "" of All, "namespace/route/rule" of Route, "namespace/model" of
	// Model and "namespace/model/version" of Version.
	Name string `json:"name,omitempty"`
}

// The targets by their names. ForVersion takes a model as "namespace/name".
var Everything = Target{Scope: All}

// ForRoute is the target of one rule, "namespace/route/rule".
func ForRoute(name string) Target { return Target{Route, name} }

// ForModel is the target of one model, "namespace/name".
func ForModel(name string) Target { return Target{Model, name} }

// ForVersion is the target of one version of a model, "namespace/name".
func ForVersion(model, version string) Target { return Target{Version, model + "/" + version} }

// element is one part of a name, as objects of a configuration have it.
var element = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$`)

// Validate says what is wrong with a target; nil: nothing.
func (t Target) Validate() error {
	want := map[Scope]int{All: 0, Route: 3, Model: 2, Version: 3}
	parts, known := want[t.Scope]
	if !known {
		return fmt.Errorf("scope %q: want one of all, route, model, version", t.Scope)
	}
	if parts == 0 {
		if t.Name != "" {
			return fmt.Errorf("a kill of everything has no name, and this has %q", t.Name)
		}
		return nil
	}
	elements := strings.Split(t.Name, "/")
	form := map[Scope]string{Route: "NAMESPACE/ROUTE/RULE", Model: "NAMESPACE/MODEL", Version: "NAMESPACE/MODEL/VERSION"}[t.Scope]
	if len(elements) != parts {
		return fmt.Errorf("%s %q: want %s", t.Scope, t.Name, form)
	}
	for _, e := range elements {
		if !element.MatchString(e) {
			return fmt.Errorf("%s %q: %q is no name: want letters, digits, dots, dashes and underscores, as in %s", t.Scope, t.Name, e, form)
		}
	}
	return nil
}

// Key is the target in one word, for a store: "all", "model/default/fraud".
func (t Target) Key() string {
	if t.Scope == All {
		return string(All)
	}
	return string(t.Scope) + "/" + t.Name
}

// ParseKey is the target of a Key.
func ParseKey(key string) (Target, error) {
	scope, name, _ := strings.Cut(key, "/")
	t := Target{Scope(scope), name}
	return t, t.Validate()
}

// String is the target as a person reads it: "model default/fraud", "everything".
func (t Target) String() string {
	if t.Scope == All {
		return "everything"
	}
	return string(t.Scope) + " " + t.Name
}

// Model is the model that a target is about, "namespace/name"; empty of All and
// Route.
func (t Target) Model() string {
	switch t.Scope {
	case Model:
		return t.Name
	case Version:
		return t.Name[:max(0, strings.LastIndexByte(t.Name, '/'))]
	default:
		return ""
	}
}

// Covers reports whether a request on a route that goes to a version of a model
// is one that t stops. Empty arguments are those that are not known: they match
// nothing but All.
func (t Target) Covers(route, model, version string) bool {
	switch t.Scope {
	case All:
		return true
	case Route:
		return route != "" && t.Name == route
	case Model:
		return model != "" && t.Name == model
	case Version:
		return model != "" && version != "" && len(t.Name) == len(model)+1+len(version) &&
			strings.HasPrefix(t.Name, model) && t.Name[len(model)] == '/' && strings.HasSuffix(t.Name, version)
	default:
		return false
	}
}
