package controller

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/istio"
)

// rendering is what is wanted, as objects: it is made once. One goroutine uses it.
type rendering struct {
	wanted  *Wanted
	clashes map[string]string
	alone   map[string]bool

	objects   *istio.Objects
	models    map[string][]string // by route
	decisions map[objectKey]*decision
	wrong     map[objectKey]error
}

// render gives what is wanted as objects.
func (w *writer) render(wanted *Wanted) (*rendering, error) {
	clashes, alone := w.c.status.naming()
	if r := &w.rendered; r.wanted == wanted && maps.Equal(r.clashes, clashes) && maps.Equal(r.alone, alone) {
		return r, nil
	}
	mesh := w.c.o.Mesh
	mesh.Envoy.Sign, mesh.Clashes, mesh.Alone = wanted.Sign, clashes, alone
	objects, err := istio.Render(wanted.Snapshot, mesh)
	if err != nil {
		return nil, err
	}
	w.rendered = rendering{wanted: wanted, clashes: clashes, alone: alone, objects: objects, models: modelsBy(wanted.Snapshot)}
	w.rendered.decisions, w.rendered.wrong = decisionsOf(wanted.Snapshot)
	return &w.rendered, nil
}

// modelsBy are the models (namespace/name) that routes lead to, by route.
func modelsBy(s *compile.Snapshot) map[string][]string {
	of, out := map[string]string{}, map[string][]string{}
	for i := range s.Clusters {
		of[s.Clusters[i].Name] = s.Clusters[i].Namespace + "/" + s.Clusters[i].Model
	}
	for i := range s.Routes {
		r := &s.Routes[i]
		models := map[string]bool{}
		for _, b := range r.Backends {
			models[of[b.Cluster]] = true
		}
		if r.Policy != nil {
			models[r.Policy.Model] = true
		}
		delete(models, "")
		out[r.Name] = slices.Sorted(maps.Keys(models))
	}
	for i := range s.Inbound {
		in := &s.Inbound[i]
		out[in.Name] = []string{in.Namespace + "/" + in.Model}
	}
	return out
}

// ofRoutes are the models that any of some routes leads to.
func (r *rendering) ofRoutes(routes []string) []string {
	models := map[string]bool{}
	for _, name := range routes {
		for _, m := range r.models[name] {
			models[m] = true
		}
	}
	return slices.Sorted(maps.Keys(models))
}

// ofObject are the models that any rule of an object leads to.
func (r *rendering) ofObject(k objectKey) []string {
	var routes []string
	for i := range r.wanted.Snapshot.Routes {
		if of := &r.wanted.Snapshot.Routes[i]; (objectKey{of.Object.Kind, of.Namespace, of.Object.Name}) == k {
			routes = append(routes, of.Name)
		}
	}
	return r.ofRoutes(routes)
}

// compare says what there is to do so that there is what is wanted.
func (w *writer) compare(ctx context.Context, wanted *Wanted) ([]*task, error) {
	r, err := w.render(wanted)
	if err != nil {
		return nil, err
	}
	have, err := w.filters(ctx)
	if err != nil {
		return nil, err
	}
	w.forgetStrangers(have)
	tasks := w.weightTasks(ctx, r)
	for _, f := range r.objects.Filters {
		key := f.Namespace + "/" + f.Name
		old := have[key]
		delete(have, key)
		w.lingering.wants(f)
		if old != nil && sameFilter(old, f) {
			continue
		}
		t := r.filterTask(f, w.c.o.Mesh.RootNamespace)
		t.do = func(ctx context.Context) error { return w.apply(ctx, f) }
		tasks = append(tasks, t)
	}
	for key, old := range have {
		if w.isStrange(old.UID) || w.lingering.stays(old, r.objects.Filters, w.c.o.Mesh.RootNamespace, time.Now()) {
			continue
		}
		tasks = append(tasks, &task{
			key: "EnvoyFilter " + key, mark: "none", rank: rankRest,
			do: func(ctx context.Context) error { return w.remove(ctx, old) },
		})
	}
	return tasks, nil
}

// filterTask is what writing an EnvoyFilter is about. Without the part that all proxies
// of a place have, none of the routes there is carried.
func (r *rendering) filterTask(f *istiov1alpha3.EnvoyFilter, root string) *task {
	key := f.Namespace + "/" + f.Name
	t := &task{key: "EnvoyFilter " + key, mark: markOf(f), rank: rankRest, routes: r.objects.Routes[key]}
	if r.objects.Stops[key] {
		t.rank = rankStop
	}
	if f.Labels[istio.LabelPart] == istio.PartBase {
		t.rank = rankBase
		for _, other := range r.objects.Filters {
			if contextOf(other) == contextOf(f) && (other.Namespace == f.Namespace || f.Namespace == root) {
				t.routes = append(t.routes, r.objects.Routes[other.Namespace+"/"+other.Name]...)
			}
		}
	}
	t.models = r.ofRoutes(t.routes)
	return t
}

// markOf tells what is wanted of an EnvoyFilter from anything else.
func markOf(f *istiov1alpha3.EnvoyFilter) string {
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(&f.Spec)
	if err != nil {
		text = []byte(err.Error())
	}
	var labels strings.Builder
	for _, name := range slices.Sorted(maps.Keys(f.Labels)) {
		fmt.Fprintf(&labels, "%s=%s,", name, f.Labels[name])
	}
	sum := sha256.Sum256(append(text, labels.String()...))
	return hex.EncodeToString(sum[:16])
}
