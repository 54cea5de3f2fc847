package controller

import (
	"context"
	"fmt"
	"maps"
	"time"

	"google.golang.org/protobuf/proto"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// filters are the EnvoyFilters with our label, by namespace/name.
func (w *writer) filters(ctx context.Context) (map[string]*istiov1alpha3.EnvoyFilter, error) {
	objects, err := w.c.list(ctx, kindEnvoyFilter)
	if err != nil {
		return nil, err
	}
	out := map[string]*istiov1alpha3.EnvoyFilter{}
	for i := range objects {
		f := filterOf(&objects[i])
		out[f.Namespace+"/"+f.Name] = f
	}
	w.lag.over(out, time.Now())
	return out, nil
}

// filterOf reads one. Of which somebody has made another thing has only its name: it
// is like none that is wanted.
func filterOf(o *unstructured.Unstructured) *istiov1alpha3.EnvoyFilter {
	f := &istiov1alpha3.EnvoyFilter{}
	if err := convert(o.Object, f); err != nil {
		f = &istiov1alpha3.EnvoyFilter{ObjectMeta: metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID()}}
	}
	return f
}

// sameFilter reports whether an EnvoyFilter is what is wanted, and has our labels
// beside those that others may have put there.
func sameFilter(have, want *istiov1alpha3.EnvoyFilter) bool {
	for name, value := range want.Labels {
		if have.Labels[name] != value {
			return false
		}
	}
	return proto.Equal(&have.Spec, &want.Spec)
}

// apply writes one of our objects: it is ours whoever has changed it. Server-side
// apply leaves what another manager has added, such as a selector by which the object
// is for no proxy any more; where that is so all of it is replaced.
func (w *writer) apply(ctx context.Context, f *istiov1alpha3.EnvoyFilter) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	object, err := objectOf(f)
	if err != nil {
		return err
	}
	spec := object.Object["spec"]
	err = w.c.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(Manager), client.ForceOwnership)
	if err == nil && !sameFilter(filterOf(object), f) { // object is what there is now
		object.Object["spec"] = spec
		err = w.c.client.Update(ctx, object, client.FieldOwner(Manager))
	}
	if err != nil {
		return fmt.Errorf("EnvoyFilter %s/%s cannot be written: %w", f.Namespace, f.Name, err)
	}
	w.lag.wrote(filterOf(object), time.Now())
	return nil
}

// remove deletes what is of nothing any more, where it was written here: the label
// alone others may have put there.
func (w *writer) remove(ctx context.Context, f *istiov1alpha3.EnvoyFilter) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	object := unstructuredOf(kindEnvoyFilter)
	err := w.c.client.Get(ctx, client.ObjectKeyFromObject(f), object)
	switch {
	case err == nil && !writtenHere(object):
		w.strange(object)
		return nil
	case err == nil:
		uid, version := object.GetUID(), object.GetResourceVersion()
		err = w.c.client.Delete(ctx, object, client.Preconditions{UID: &uid, ResourceVersion: &version})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("EnvoyFilter %s/%s, which is of nothing any more, cannot be deleted: %w", f.Namespace, f.Name, err)
	}
	w.lag.deleted(f, time.Now())
	return nil
}

// writtenHere reports whether we have applied an object.
func writtenHere(o *unstructured.Unstructured) bool {
	for _, m := range o.GetManagedFields() {
		if m.Manager == Manager && m.Operation == metav1.ManagedFieldsOperationApply {
			return true
		}
	}
	return false
}

// forgetStrangers forgets those that are gone.
func (w *writer) forgetStrangers(have map[string]*istiov1alpha3.EnvoyFilter) {
	there := map[types.UID]bool{}
	for _, f := range have {
		there[f.UID] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.strangers, func(uid types.UID, _ bool) bool { return !there[uid] })
}

func (w *writer) isStrange(uid types.UID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.strangers[uid]
}

// strange says of an EnvoyFilter that it is left alone.
func (w *writer) strange(o *unstructured.Unstructured) {
	w.mu.Lock()
	w.strangers[o.GetUID()] = true
	w.mu.Unlock()
	w.c.event(o, corev1.EventTypeWarning, "NotSafestates", "It has safestate's label and was not written by it: it is left alone, and is none of safestate's.")
}
