package controller

import (
	"context"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/istio"
)

// Affected is the condition on a route that a policy is attached to (GEP-713), so that
// whoever looks at the route alone knows that something else decides on its answers.
const Affected = "safestate.dev/FailSafePolicyAffected"

// affected writes the condition into the routes that policies are attached to, for
// each of their parents, and takes it from those that none is any more. A
// VirtualService's status is istiod's alone.
func (s *status) affected(ctx context.Context, l *Loaded, k *known) (work []func() error, err error) {
	by := policiesByRoute(l, k)
	for _, k := range []schema.GroupVersionKind{kindHTTPRoute, kindGRPCRoute} {
		routes, err := s.c.list(ctx, k)
		if err != nil {
			return nil, err
		}
		for i := range routes {
			work = append(work, func() error { return s.affect(ctx, &routes[i], by[nameOf(&routes[i])]) })
		}
	}
	return work, nil
}

// policiesByRoute are the policies that are carried, by "KIND namespace/name" of the
// route.
func policiesByRoute(l *Loaded, k *known) map[string]string {
	by := map[string]string{}
	for i := range l.Snapshot.Routes {
		if r := &l.Snapshot.Routes[i]; r.Policy != nil && k.refused[r.Name] == nil && l.Clashes[istio.Key(r.Object.Kind, r.Name)] == "" {
			by[r.Object.Kind+" "+r.Namespace+"/"+r.Object.Name] = r.Policy.Name
		}
	}
	return by
}

// affect writes one route's status where it is to be another one. The entries of other
// controllers are kept: the list is one to the API server, so it is written at the
// revision that was read, and where that is old the next round does it.
func (s *status) affect(ctx context.Context, route *unstructured.Unstructured, policy string) error {
	var spec gatewayv1.CommonRouteSpec
	var old gatewayv1.RouteStatus
	for field, into := range map[string]any{"spec": &spec, "status": &old} {
		part, _ := route.Object[field].(map[string]any)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(part, into); err != nil {
			return fmt.Errorf("%s: %w", nameOf(route), err)
		}
	}
	next := gatewayv1.RouteStatus{}
	own := map[int]gatewayv1.RouteParentStatus{}
	for _, p := range old.Parents {
		if p.ControllerName != ControllerName {
			next.Parents = append(next.Parents, p)
			continue
		}
		for i := range spec.ParentRefs {
			if reflect.DeepEqual(spec.ParentRefs[i], p.ParentRef) {
				own[i] = p
			}
		}
	}
	if policy != "" {
		for i := range spec.ParentRefs {
			entry := own[i]
			entry.ParentRef, entry.ControllerName = spec.ParentRefs[i], ControllerName
			c := condition(Affected, metav1.ConditionTrue, "PolicyAffected", "FailSafePolicy "+policy+" judges its answers")
			c.ObservedGeneration = route.GetGeneration()
			entry.Conditions = append([]metav1.Condition(nil), entry.Conditions...)
			meta.SetStatusCondition(&entry.Conditions, c)
			next.Parents = append(next.Parents, entry)
		}
	}
	if reflect.DeepEqual(next.Parents, old.Parents) || len(next.Parents)+len(old.Parents) == 0 || len(next.Parents) > mostParents {
		return nil
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&next)
	if err != nil {
		return err
	}
	if content["parents"] == nil {
		content["parents"] = []any{}
	}
	written := &unstructured.Unstructured{Object: map[string]any{}}
	written.SetGroupVersionKind(route.GroupVersionKind())
	written.SetNamespace(route.GetNamespace())
	written.SetName(route.GetName())
	written.SetResourceVersion(route.GetResourceVersion())
	written.Object["spec"], written.Object["status"] = route.Object["spec"], content
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	switch err := s.c.client.Status().Update(ctx, written, client.FieldOwner(Manager)); {
	case err == nil, apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return nil
	default:
		return fmt.Errorf("the status of %s cannot be written: %w", nameOf(route), err)
	}
}

// mostParents is the Gateway API's bound of the list.
const mostParents = 32
