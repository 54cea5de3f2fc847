package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/istio"
)

// Weights stand in objects of others. They are written as they are read, but for the
// numbers, and only at the revision that was read. Lists of rules are atomic to
// server-side apply, so that whoever writes a weight owns the rules: what others own
// is taken over when a release is there, and said. Where they write it back it is
// left so until the next decision, and said as well: two that fight over a weight
// move traffic to and fro.

// Decided is the annotation, at the object, of the decision that was written into it
// last. It is written with the weights: whoever leads next, and a replica that starts,
// know by it that others have written since.
const Decided = v1alpha1.Group + "/weights"

// decision is what one object's rules are to weigh.
type decision struct {
	rules   []*compile.Route
	weights map[string]istio.Weights // by route
	models  []string                 // namespace/name, sorted
	text    string                   // says it, and tells it from others
}

// decisionsOf are the decisions of a snapshot, by object. Where one cannot be made an
// error is in its place.
func decisionsOf(s *compile.Snapshot) (map[objectKey]*decision, map[objectKey]error) {
	out, wrong := map[objectKey]*decision{}, map[objectKey]error{}
	models := map[string]string{} // by cluster
	for i := range s.Clusters {
		c := &s.Clusters[i]
		models[c.Name] = c.Namespace + "/" + c.Model
	}
	for i := range s.Routes {
		r := &s.Routes[i]
		weights, err := istio.WeightsOf(s, r)
		k := objectKey{r.Object.Kind, r.Namespace, r.Object.Name}
		switch {
		case err != nil:
			wrong[k] = err
			continue
		case weights == nil:
			continue
		case out[k] == nil:
			out[k] = &decision{weights: map[string]istio.Weights{}}
		}
		d := out[k]
		d.rules, d.weights[r.Name] = append(d.rules, r), weights
		for _, b := range r.Backends {
			if m := models[b.Cluster]; m != "" && !slices.Contains(d.models, m) {
				d.models = append(d.models, m)
			}
		}
		slices.Sort(d.models)
		d.text = strings.TrimPrefix(d.text+"; "+saying(r, weights), "; ")
	}
	return out, wrong
}

// saying says what was decided for one rule. Whether somebody else's weights have
// been overwritten already is told by it, so that it has all that a decision is made
// of, and nothing else.
func saying(r *compile.Route, weights istio.Weights) string {
	var parts []string
	for s, w := range weights {
		name := s.Name
		if s.Namespace != r.Namespace {
			name = s.Namespace + "/" + name
		}
		if s.Subset != "" {
			name += "/" + s.Subset
		}
		parts = append(parts, fmt.Sprintf("%s %d", name, w))
	}
	slices.Sort(parts)
	out := fmt.Sprintf("%s: generation %d", r.Name, r.Releases)
	if r.KillGeneration > 0 {
		out += fmt.Sprintf(", kills %d", r.KillGeneration)
	}
	return out + ": " + strings.Join(parts, ", ")
}

// into writes the weights into an object as the API server has it, and reports whether
// any was another.
func (d *decision) into(object map[string]any, domain string) (changed bool, err error) {
	for _, r := range d.rules {
		differs, err := istio.SetWeights(object, r, d.weights[r.Name], domain)
		if err != nil {
			return false, err
		}
		changed = changed || differs
	}
	return changed, nil
}

// weightTasks are what there is to do about weights.
func (w *writer) weightTasks(ctx context.Context, r *rendering) (tasks []*task) {
	w.weights.keep(r.decisions)
	for k, d := range r.decisions {
		if r.wrong[k] != nil || w.carries(ctx, k, d, w.weights.get(k)) {
			continue
		}
		tasks = append(tasks, &task{
			key: k.String(), mark: d.text, rank: rankWeights, models: d.models,
			do: func(ctx context.Context) error { return w.weigh(ctx, k, d) },
		})
	}
	for k, err := range r.wrong {
		err := fmt.Errorf("the weights of %s cannot be written: %w", k, err)
		tasks = append(tasks, &task{
			key: k.String(), mark: err.Error(), rank: rankWeights, models: r.ofObject(k),
			do: func(context.Context) error { return err },
		})
	}
	return tasks
}

// weigh has one object carry a decision, and notes how that went.
func (w *writer) weigh(ctx context.Context, k objectKey, d *decision) error {
	now, err := w.weighAnew(ctx, k, d, w.weights.get(k))
	switch {
	case ctx.Err() != nil: // it is another replica's to write
		return ctx.Err()
	case err != nil:
		err = fmt.Errorf("the weights of %s cannot be written: %w", k, err)
		now.failed = err
	}
	w.weights.set(k, now)
	return err
}

// carries reports whether an object still has what it had when it was asked for last:
// there is nothing to ask the API server for then. Of what was read before, the cache
// does not count.
func (w *writer) carries(ctx context.Context, k objectKey, d *decision, last weighed) bool {
	kind := gvkOf(k.kind)
	if last.text != d.text || last.lost != "" || last.failed != nil || !w.c.watched.has(kind) {
		return false
	}
	object := unstructuredOf(kind)
	if err := w.c.cache.Get(ctx, client.ObjectKey{Namespace: k.namespace, Name: k.name}, object); err != nil {
		return false
	}
	changed, err := d.into(object.Object, w.c.o.Mesh.ClusterDomain)
	return err == nil && !changed && revisionOf(object.GetResourceVersion()) >= last.revision
}

const attempts = 5

func (w *writer) weighAnew(ctx context.Context, k objectKey, d *decision, last weighed) (next weighed, err error) {
	for range attempts {
		next, err = w.weighOnce(ctx, k, d, last)
		if !apierrors.IsConflict(err) {
			return next, err
		}
	}
	return next, fmt.Errorf("it changes all the time: %w", err)
}

func (w *writer) weighOnce(ctx context.Context, k objectKey, d *decision, last weighed) (weighed, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	next := weighed{models: d.models, text: last.text, uid: last.uid, lost: last.lost, since: last.since, revision: last.revision, ahead: last.ahead}
	object := unstructuredOf(gvkOf(k.kind))
	if err := w.c.client.Get(ctx, client.ObjectKey{Namespace: k.namespace, Name: k.name}, object); err != nil {
		return next, err
	}
	field := rulesField(k.kind)
	owner, ours := ownerOf(object, field), ownedHere(object, field)
	changed, err := d.into(object.Object, w.c.o.Mesh.ClusterDomain)
	if err != nil {
		return next, err
	}
	there := object.GetAnnotations()[Decided]
	written := there == d.text || last.text == d.text && last.uid == object.GetUID()
	next.uid, next.revision = object.GetUID(), revisionOf(object.GetResourceVersion())
	switch {
	case !changed:
		next.text, next.lost, next.ahead = d.text, "", ahead{}
		return next, nil
	case written && (owner != "" || !ours || last.lost == admission):
		if owner == "" && ours {
			owner = admission
		}
		next.text, next.lost = d.text, w.lost(object, owner, last)
		if last.lost == "" {
			next.since = time.Now()
		}
		return next, nil
	}
	// Otherwise a replica that leads no more has been last.
	if err := next.ahead.waits(there, d.text, time.Now()); err != nil {
		return next, err
	}
	if err := ctx.Err(); err != nil {
		return next, err
	}
	now := applied(object, field, d.text)
	if err := w.c.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(now), client.FieldOwner(Manager), client.ForceOwnership); err != nil {
		return next, err
	}
	if owner != "" {
		w.c.event(object, corev1.EventTypeNormal, "WeightsTaken", "The weights are safestate's from now on; they were %s's.", owner)
	}
	w.c.event(object, corev1.EventTypeNormal, "WeightsMoved", "%s", d.text)
	next.text, next.lost, next.revision = d.text, "", revisionOf(now.GetResourceVersion())
	if differs, err := d.into(now.Object, w.c.o.Mesh.ClusterDomain); err == nil && differs { // it is what there is now
		next.lost, next.since = w.lost(object, admission, last), time.Now()
	}
	return next, nil
}

// admission is who changes what we write while we write it.
const admission = "an admission webhook"

// applied is what is written of an object: the rules, and what was decided.
func applied(object *unstructured.Unstructured, field, text string) *unstructured.Unstructured {
	spec, _ := object.Object["spec"].(map[string]any)
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": object.GetAPIVersion(), "kind": object.GetKind(),
		"metadata": map[string]any{
			"namespace": object.GetNamespace(), "name": object.GetName(), "resourceVersion": object.GetResourceVersion(),
			"annotations": map[string]any{Decided: text},
		},
		"spec": map[string]any{field: spec[field]},
	}}
}

// lost notes that somebody has written other weights over those of the last decision,
// and returns who.
func (w *writer) lost(object *unstructured.Unstructured, owner string, last weighed) string {
	if owner == "" {
		owner = "another manager"
	}
	if last.lost != owner {
		w.c.event(object, corev1.EventTypeWarning, "WeightsOverwritten",
			"%s has written other weights over safestate's. They stay until the next decision; have it leave the weights alone.", owner)
	}
	return owner
}

// ownerOf is who else owns a field of the spec, or something in it: of several the
// last that wrote; empty: nobody does.
func ownerOf(o *unstructured.Unstructured, field string) string {
	var out string
	var last metav1.Time
	for _, m := range o.GetManagedFields() {
		if m.Manager == Manager && m.Operation == metav1.ManagedFieldsOperationApply || m.FieldsV1 == nil || !owns(m.FieldsV1.GetRawBytes(), field) {
			continue
		}
		if out == "" || m.Time != nil && last.Before(m.Time) {
			out = m.Manager
			if m.Time != nil {
				last = *m.Time
			}
		}
	}
	return out
}

// ownedHere reports whether we own a field of the spec. Of a list that is one to the
// API server that is so until somebody else writes another one.
func ownedHere(o *unstructured.Unstructured, field string) bool {
	return slices.ContainsFunc(o.GetManagedFields(), func(m metav1.ManagedFieldsEntry) bool {
		return m.Manager == Manager && m.Operation == metav1.ManagedFieldsOperationApply && m.FieldsV1 != nil && owns(m.FieldsV1.GetRawBytes(), field)
	})
}

func rulesField(kind string) string {
	if kind == config.KindVirtualService {
		return "http"
	}
	return "rules"
}

func gvkOf(kind string) schema.GroupVersionKind {
	switch kind {
	case config.KindVirtualService:
		return kindVirtualService
	case config.KindGRPCRoute:
		return kindGRPCRoute
	}
	return kindHTTPRoute
}
