package config

import (
	"fmt"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

// KindReferenceGrant is the Gateway API's kind by which a namespace lets routes of
// another one name its Services.
const KindReferenceGrant = "ReferenceGrant"

// In is the namespace of the Service that a backend names, in a route of a namespace.
func (b *Backend) In(namespace string) string {
	if b.Namespace == nil || *b.Namespace == "" {
		return namespace
	}
	return string(*b.Namespace)
}

// Behind returns the model and the index of its version that a rule's backend is;
// nil: it is none, or one of another namespace that has no ReferenceGrant for it.
func (w *World) Behind(r *Rule, b *Backend) (*Object[v1alpha1.Model], int) {
	m, index := w.leadsTo(r, b)
	if m == nil || !w.granted(r, m.Namespace, referentOf(&m.Value.Spec.Versions[index])) {
		return nil, 0
	}
	return m, index
}

// leadsTo is Behind whether or not the rule may name it.
func (w *World) leadsTo(r *Rule, b *Backend) (*Object[v1alpha1.Model], int) {
	if b.Port == nil {
		return nil, 0
	}
	return w.Backend(b.In(r.Namespace), string(b.Name), *b.Port, b.Subset)
}

// referent is what a backendRef names.
type referent struct{ group, kind, name string }

// referentOf is what a route names of a version. It has a backendRef.
func referentOf(v *v1alpha1.ModelVersion) referent {
	if v.BackendRef.Kind == v1alpha1.BackendInferencePool {
		return referent{GroupInference, string(v1alpha1.BackendInferencePool), v.BackendRef.Name}
	}
	return referent{"", "Service", v.BackendRef.Name}
}

// granted reports whether a rule may name what is in a namespace: one of its own always,
// else by a ReferenceGrant there.
func (w *World) granted(r *Rule, namespace string, to referent) bool {
	return namespace == r.Namespace || slices.ContainsFunc(w.Grants, func(g *Object[gatewayv1.ReferenceGrant]) bool {
		return g.Namespace == namespace &&
			slices.ContainsFunc(g.Value.Spec.From, func(f gatewayv1.ReferenceGrantFrom) bool {
				return string(f.Group) == groupOf(r.Kind) && string(f.Kind) == r.Kind && string(f.Namespace) == r.Namespace
			}) &&
			slices.ContainsFunc(g.Value.Spec.To, func(t gatewayv1.ReferenceGrantTo) bool {
				return string(t.Group) == to.group && string(t.Kind) == to.kind && (t.Name == nil || *t.Name == "" || string(*t.Name) == to.name)
			})
	})
}

// wantsGrant says what of a namespace a rule names that it may not, and what would let
// it.
func wantsGrant(r *Rule, namespace string, names ...referent) string {
	var texts []string
	for _, n := range names {
		texts = append(texts, fmt.Sprintf("%s %s/%s", n.kind, namespace, n.name))
	}
	return fmt.Sprintf("names %s; want a ReferenceGrant in %s for %ss of %s", allOf(texts), namespace, r.Kind, r.Namespace)
}

// Ungranted is a rule that names versions of another namespace's Model, which has no
// ReferenceGrant for it. To the rule they are none.
type Ungranted struct {
	Rule     Rule
	Model    string // namespace/name
	Versions []string
	names    []referent // of the versions
}

// String says what the rule names, and what would let it.
func (u *Ungranted) String() string {
	namespace, _, _ := strings.Cut(u.Model, "/")
	return wantsGrant(&u.Rule, namespace, u.names...)
}

// Ungranted lists what rules of a mesh name and may not, in their order. Of files it is
// a mistake.
func (w *World) Ungranted() []Ungranted {
	var out []Ungranted
	for i := range w.Mesh {
		r, before := &w.Mesh[i], len(out)
		for j := range r.Backends {
			m, index := w.leadsTo(r, &r.Backends[j])
			if m == nil {
				continue
			}
			version := &m.Value.Spec.Versions[index]
			name := referentOf(version)
			if w.granted(r, m.Namespace, name) {
				continue
			}
			at := slices.IndexFunc(out[before:], func(u Ungranted) bool { return u.Model == m.Key() })
			if at < 0 {
				out, at = append(out, Ungranted{Rule: *r, Model: m.Key()}), len(out)-before
			}
			u := &out[before+at]
			u.Versions, u.names = append(u.Versions, version.Name), append(u.names, name)
		}
	}
	return out
}

// ungranted warns of them: nothing of the mesh's is refused here.
func ungranted(w *World) (out Problems) {
	for _, u := range w.Ungranted() {
		out = append(out, Problem{Object: fmt.Sprintf("%s %s/%s", u.Rule.Kind, u.Rule.Namespace, u.Rule.Route), Warning: true, Message: fmt.Sprintf("rule %s %s", u.Rule.Name, &u)})
	}
	return out
}

// grant checks a ReferenceGrant. What it is for besides routes is somebody else's.
func (c *checker) grant(g *Object[gatewayv1.ReferenceGrant]) {
	if len(g.Value.Spec.From) == 0 {
		c.fail("spec.from", "is missing; want the kind and the namespace of the routes that may name Services here")
	}
	for i, f := range g.Value.Spec.From {
		field := fmt.Sprintf("spec.from[%d]", i)
		if f.Kind == "" {
			c.fail(field+".kind", "is missing; want such as HTTPRoute")
		}
		if want := groupOf(string(f.Kind)); want != "" && string(f.Group) != want {
			c.fail(field+".group", "is %s; want %s for kind %s", quote(string(f.Group)), want, f.Kind)
		}
		if !label(string(f.Namespace)) {
			c.fail(field+".namespace", "is %s; want the namespace of the routes", quote(string(f.Namespace)))
		}
	}
	if len(g.Value.Spec.To) == 0 {
		c.fail("spec.to", "is missing; want {group: \"\", kind: Service}, with a name for one alone")
	}
	for i, t := range g.Value.Spec.To {
		if t.Kind == "" {
			c.fail(fmt.Sprintf("spec.to[%d].kind", i), "is missing; want Service")
		}
	}
}
