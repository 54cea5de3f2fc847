package config

import (
	"fmt"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

// World is every object of a configuration, each kind in the order of its
// names. It is not to be changed once loaded, and then safe for concurrent
// use.
type World struct {
	Routes     []*Object[gatewayv1.HTTPRoute]
	GRPCRoutes []*Object[gatewayv1.GRPCRoute]
	Models     []*Object[v1alpha1.Model]
	Policies   []*Object[v1alpha1.FailSafePolicy]
	Grants     []*Object[gatewayv1.ReferenceGrant]
	// Mesh are rules that a mesh serves: whoever reads them there has checked them, and
	// what they say beside their names, backends and timeouts is the mesh's.
	Mesh []Rule

	// twins are rules of a mesh's that are called as others of another kind are: these
	// alone count.
	twins []Rule
	// mesh: the routes are a mesh's, so that models may have sidecars of their own.
	mesh bool
	// partial: some document could not be read, so that a missing object may
	// well be there.
	partial bool
}

// Object is one object and where it was read.
type Object[T any] struct {
	Namespace string // "default" where the object names none
	Name      string // empty where it was unreadable
	Value     *T
	Source    *Source
}

// Key returns namespace/name.
func (o *Object[T]) Key() string { return o.Namespace + "/" + o.Name }

// DefaultNamespace is that of an object that names none.
const DefaultNamespace = "default"

// Source knows the place of every field of one object. A nil Source knows
// none: objects that came from no file have their name for a place.
type Source struct {
	file   string
	kind   string
	object string
	lines  map[string]int  // by field path; "" is the object itself
	broken map[string]bool // paths that could not be read and were reported
}

// Problem returns an error at a field.
func (s *Source) Problem(field, format string, args ...any) Problem {
	p := Problem{Field: field, Message: fmt.Sprintf(format, args...)}
	if s != nil {
		p.File, p.Line, p.Object = s.file, s.line(field), s.kind+" "+s.object
	}
	return p
}

// line returns a field's line, or that of the nearest field around it.
func (s *Source) line(field string) int {
	for {
		if line, ok := s.lines[field]; ok {
			return line
		}
		if field == "" {
			return 0
		}
		field = parent(field)
	}
}

// everything stands in broken for all fields: the object was given up.
const everything = "*"

// Unreadable reports whether a problem at a field only follows from one that
// the decoder has reported: at the field, inside it, around it, or directly
// above it.
func (s *Source) Unreadable(field string) bool {
	if s == nil {
		return false
	}
	if s.broken[everything] {
		return true
	}
	for bad := range s.broken {
		if field == bad || strings.HasPrefix(field, bad+".") || strings.HasPrefix(field, bad+"[") || parent(bad) == field {
			return true
		}
	}
	return false
}

// parent returns the path of the field around one.
func parent(field string) string {
	return field[:max(strings.LastIndexAny(field, ".["), 0)]
}

// Model returns a model by namespace and name; nil: there is none.
func (w *World) Model(namespace, name string) *Object[v1alpha1.Model] {
	return named(w.Models, namespace, name)
}

// Backend returns the model and the index of its version that stand behind a
// Service's port, or a subset of it; nil: there is none.
func (w *World) Backend(namespace, service string, port int32, subset string) (*Object[v1alpha1.Model], int) {
	for _, m := range w.Models {
		if m.Namespace != namespace {
			continue
		}
		for i := range m.Value.Spec.Versions {
			ref := m.Value.Spec.Versions[i].BackendRef
			if ref == nil {
				continue
			}
			if name, own := ServiceOf(ref); name == service && own == port && ref.Subset == subset {
				return m, i
			}
		}
	}
	return nil, 0
}

// PoliciesFor returns the policies that target a rule, the oldest first where it is
// known when they were made (GEP-713), else by their names. A valid world has at most
// one.
func (w *World) PoliciesFor(r *Rule) []*Object[v1alpha1.FailSafePolicy] {
	var found []*Object[v1alpha1.FailSafePolicy]
	for _, p := range w.Policies {
		if p.Namespace == r.Namespace && targets(p.Value, r) {
			found = append(found, p)
		}
	}
	slices.SortStableFunc(found, func(a, b *Object[v1alpha1.FailSafePolicy]) int {
		return a.Value.CreationTimestamp.Compare(b.Value.CreationTimestamp.Time)
	})
	return found
}

func targets(p *v1alpha1.FailSafePolicy, r *Rule) bool {
	for i := range p.Spec.TargetRefs {
		ref := &p.Spec.TargetRefs[i]
		if string(ref.Group) == groupOf(r.Kind) && string(ref.Kind) == r.Kind && string(ref.Name) == r.Route &&
			(ref.SectionName == nil || string(*ref.SectionName) == r.Name) {
			return true
		}
	}
	return false
}
