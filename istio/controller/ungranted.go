package controller

import (
	"fmt"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/kill"
)

// ungrantedFor says what the rules of a policy's target name and may not.
func ungrantedFor(all []config.Ungranted, namespace string, t *gatewayv1.LocalPolicyTargetReferenceWithSectionName) (out []string) {
	for i := range all {
		r := &all[i].Rule
		if r.Namespace == namespace && r.Kind == string(t.Kind) && r.Route == string(t.Name) && (t.SectionName == nil || string(*t.SectionName) == r.Name) {
			out = append(out, fmt.Sprintf("rule %s %s", r.Name, &all[i]))
		}
	}
	return out
}

// outOfReach says of which routes a mesh takes requests to a target that it may not
// name, each once. istiod asks for a ReferenceGrant at gateways alone, and of
// VirtualServices nowhere: nothing that is decided of the model holds there.
func outOfReach(all []config.Ungranted, t kill.Target) (out []string) {
	for i := range all {
		u := &all[i]
		of := t == kill.ForModel(u.Model) || slices.ContainsFunc(u.Versions, func(v string) bool { return t == kill.ForVersion(u.Model, v) })
		if !of || !taken(&u.Rule) {
			continue
		}
		text := fmt.Sprintf("%s %s/%s, which %s", u.Rule.Kind, u.Rule.Namespace, u.Rule.Route, u)
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

// taken reports whether istiod takes what a rule names without a ReferenceGrant.
func taken(r *config.Rule) bool {
	return r.Kind == config.KindVirtualService || slices.ContainsFunc(r.Parents, func(p gatewayv1.ParentReference) bool {
		return p.Kind != nil && *p.Kind == "Service"
	})
}

// ungranted are those of the configuration in use.
func (s *status) ungranted() []config.Ungranted {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded == nil {
		return nil
	}
	return s.loaded.Ungranted
}
