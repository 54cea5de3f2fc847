package config

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

// maxWeight is the Gateway API's own bound.
const maxWeight = 1_000_000

// backends checks where a rule of either kind of route leads.
func (c *checker) backends(field string, rule *Rule) {
	refs := rule.Backends
	if len(refs) == 0 {
		c.fail(field, "is missing; want at least one Service of a Model's version")
		return
	}
	sum := int64(0)
	seen := map[string]bool{}
	for i := range refs {
		at := fmt.Sprintf("%s[%d]", field, i)
		ref := &refs[i]
		if weight := ref.Weight; weight != nil && (*weight < 0 || *weight > maxWeight) {
			c.fail(at+".weight", "is %d; want 0 to %d", *weight, maxWeight)
		}
		sum += int64(Weight(&ref.BackendRef))
		c.backend(at, rule, ref)
		if ref.Port == nil {
			continue
		}
		key := fmt.Sprintf("%s/%s:%d", ref.In(rule.Namespace), ref.Name, *ref.Port)
		if seen[key] {
			c.fail(at, "is Service %s port %d, which stands there already; want each once, with the weights added up", ref.Name, *ref.Port)
		}
		seen[key] = true
	}
	if sum == 0 {
		c.warn(field, "has no weight over 0; every request is answered without a model")
	}
}

// backendFilters refuses filters of one backend.
func (c *checker) backendFilters(field string) {
	c.fail(field+".filters", "are not supported on a backendRef; move them to the rule")
}

// Weight returns a backend's weight: 1 where it has none, as the Gateway API
// says.
func Weight(ref *gatewayv1.BackendRef) int32 {
	if ref.Weight == nil {
		return 1
	}
	return *ref.Weight
}

func (c *checker) backend(field string, rule *Rule, ref *Backend) {
	kind := "Service"
	if ref.Kind != nil {
		kind = string(*ref.Kind)
	}
	if kind != "Service" || ref.Group != nil && *ref.Group != "" {
		at := field + ".kind"
		if kind == "Service" {
			at = field + ".group"
		}
		group := ""
		if ref.Group != nil {
			group = string(*ref.Group)
		}
		c.fail(at, "is %s of group %q; want a Service of the core group", quote(kind), group)
		return
	}
	if ref.Name == "" {
		c.fail(field+".name", "is missing; want the Service of a Model's version")
		return
	}
	namespace := ref.In(rule.Namespace)
	if service := (referent{"", "Service", string(ref.Name)}); !c.world.granted(rule, namespace, service) {
		c.dangling(field+".namespace", "%s", wantsGrant(rule, namespace, service))
		return
	}
	if ref.Port == nil {
		c.fail(field+".port", "is missing; want the Service's port")
		return
	}
	if model, _ := c.world.Backend(namespace, string(ref.Name), *ref.Port, ""); model == nil {
		c.dangling(field, "is Service %s port %d, which no Model's version in namespace %s has as its backendRef; %s",
			ref.Name, *ref.Port, namespace, c.services(namespace))
	}
}

func (c *checker) services(namespace string) string {
	set := map[string]*v1alpha1.BackendRef{}
	for _, m := range c.world.Models {
		for i := range m.Value.Spec.Versions {
			if ref := m.Value.Spec.Versions[i].BackendRef; ref != nil && m.Namespace == namespace {
				set[fmt.Sprintf("%s:%d", ref.Name, ref.Port)] = ref
			}
		}
	}
	return names(set)
}
