package config

import (
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

// A policy that names a Model holds at the sidecars of the model's own workloads as
// well, behind whatever its routes have: there it meets callers who come by no
// gateway and have no sidecar.

// PoliciesInbound returns the policies that target a version of a Model. A valid world
// has at most one.
func (w *World) PoliciesInbound(m *Object[v1alpha1.Model], version string) []*Object[v1alpha1.FailSafePolicy] {
	var found []*Object[v1alpha1.FailSafePolicy]
	for _, p := range w.Policies {
		if p.Namespace != m.Namespace {
			continue
		}
		for i := range p.Value.Spec.TargetRefs {
			ref := &p.Value.Spec.TargetRefs[i]
			if string(ref.Group) == v1alpha1.Group && ref.Kind == v1alpha1.KindModel && string(ref.Name) == m.Name &&
				(ref.SectionName == nil || string(*ref.SectionName) == version) {
				found = append(found, p)
				break
			}
		}
	}
	return found
}

// inbound resolves a target that is a Model, or with a sectionName one version of it.
func (c *checker) inbound(s *subject, field string, ref *gatewayv1.LocalPolicyTargetReferenceWithSectionName, taken map[string]bool) {
	if ref.Group != v1alpha1.Group {
		c.fail(field+".group", "is %s; want %s", quote(string(ref.Group)), v1alpha1.Group)
		return
	}
	m := c.world.Model(s.Namespace, string(ref.Name))
	if m != nil && !containsModel(s.models, m) {
		s.models = append(s.models, m)
	}
	if !c.world.mesh {
		c.fail(field, "is Model %s, and only a mesh has sidecars of a model's own; want the HTTPRoute or GRPCRoute that leads to it", quote(string(ref.Name)))
		return
	}
	if m == nil {
		known := map[string]bool{}
		for _, other := range c.world.Models {
			if other.Namespace == s.Namespace {
				known[other.Name] = true
			}
		}
		c.dangling(field+".name", "is %s, and no Model in namespace %s has that name; %s", quote(string(ref.Name)), s.Namespace, names(known))
		return
	}
	known := map[string]bool{}
	found := false
	for i := range m.Value.Spec.Versions {
		v := &m.Value.Spec.Versions[i]
		known[v.Name] = true
		if ref.SectionName != nil && string(*ref.SectionName) != v.Name {
			continue
		}
		found = true
		c.inboundVersion(s, field, m, v, taken)
	}
	if !found && ref.SectionName != nil {
		c.fail(field+".sectionName", "is %s, and Model %s has no version of that name; %s", quote(string(*ref.SectionName)), m.Key(), names(known))
	}
}

func (c *checker) inboundVersion(s *subject, field string, m *Object[v1alpha1.Model], v *v1alpha1.ModelVersion, taken map[string]bool) {
	place := "version " + v.Name + " of Model " + m.Key()
	if taken[place] {
		c.fail(field, "is %s, which the policy targets already; want each once", place)
		return
	}
	taken[place] = true
	if all := c.world.PoliciesInbound(m, v.Name); len(all) > 0 && all[0] != s.Object {
		c.fail(field, "is %s, which has FailSafePolicy %s already (%s); want one policy for each version", place, all[0].Key(), all[0].Source.place())
	}
	if v.BackendRef == nil {
		c.fail(field, "is %s, which has no backendRef, by which its sidecars would be found; want the Service of its workloads", place)
	}
}
