package controller

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/istio"
)

// Loaded is a configuration as the API server has it.
type Loaded struct {
	Snapshot *compile.Snapshot // with istiod's names of clusters
	Warnings config.Problems
	// Refused says of objects, by "KIND namespace/name", what is wrong with them. What
	// they said before holds, or where that is no configuration either nothing does.
	Refused map[string]config.Problems
	// Clashes says of routes, by their istio.Key, why nothing may be merged into them:
	// istiod's name of them is another's too, or no proxy of theirs takes it.
	Clashes map[string]string
	// Alone are the routes whose names in Envoy no other has, see istio.Options.
	Alone map[string]bool
	// Ungranted are the versions of other namespaces that routes name and may not.
	Ungranted []config.Ungranted
}

// lastGood is what objects said when they were good, by "KIND namespace/name".
type lastGood struct {
	mu   sync.Mutex
	text map[string][]byte

	born map[string]time.Time // when the object was made
	held map[string]bool      // objects that are gone with their definition

	killed   map[string]bool   // Models that are held for a kill's sake
	recalled bool              // what was good before this process began is among them
	known    bool              // they are those of a whole Load
	there    map[string][]byte // the objects of that Load
}

// Load reads what there is. An object that is wrong takes none but those with it that
// cannot be without it: of all it is said what is wrong. edit changes the world before
// it is compiled, see compile.DirWith. An error means that nothing can be said, and
// that what holds is to stay.
func (c *Controller) Load(ctx context.Context, edit func(*config.World) config.Problems) (*Loaded, error) {
	files, born, err := c.files(ctx)
	if err != nil {
		return nil, err
	}
	defined, err := c.installed(ctx)
	if err != nil {
		return nil, err
	}
	c.lastGood.mu.Lock()
	defer c.lastGood.mu.Unlock()
	if err := c.lastGood.recall(ctx, c.o.Memory); err != nil {
		return nil, err
	}
	c.lastGood.hold(files, defined, c.o.Problem)
	held, err := c.o.Held(ctx)
	if err != nil {
		return nil, err
	}
	out := &Loaded{Refused: map[string]config.Problems{}}
	c.lastGood.holdVersions(files, held, out.Refused, c.o.Problem)
	rules, err := c.rules(ctx, append(modelsOf(files), modelsOf(c.lastGood.of(files))...), out)
	if err != nil {
		return nil, err
	}
	grants, err := readAll[gatewayv1.ReferenceGrant](ctx, c, kindReferenceGrant)
	if err != nil {
		return nil, err
	}
	mesh := c.o.Mesh
	if mesh.Services, err = c.services(ctx); err != nil {
		return nil, err
	}
	compiled := func(files map[string][]byte) config.Problems {
		world, problems := config.ParseMesh(rules, grants, sorted(files)...)
		snapshot, problems := compile.World(world, problems, edit)
		errs := problems.Errors()
		if len(errs) == 0 {
			var found config.Problems
			snapshot, found = istio.WithClusters(snapshot, mesh)
			errs, problems = found.Errors(), append(problems, found.Warnings()...)
		}
		if len(errs) == 0 {
			errs = istio.Moduleless(snapshot, mesh)
		}
		if len(errs) == 0 {
			errs = problemsOf(c.o.Unfit(snapshot))
		}
		out.Snapshot, out.Warnings, out.Ungranted = snapshot, aboutMesh(problems), world.Ungranted()
		return errs
	}
	now := maps.Clone(files)
	for errs := compiled(now); len(errs) > 0; errs = compiled(now) {
		if name := c.lastGood.culprit(now, errs, compiled); name != "" {
			out.Refused[name] = append(out.Refused[name], because(name, errs)...)
			c.lastGood.revert(now, name)
			continue
		}
		if c.lastGood.kills(now, errs, held) || !c.lastGood.without(now, errs, out.Refused) {
			return nil, errs.Err()
		}
	}
	for name := range now {
		if out.Refused[name] == nil {
			c.lastGood.keep(name, files[name], born[name])
		}
	}
	maps.DeleteFunc(c.lastGood.text, func(name string, _ []byte) bool { return files[name] == nil })
	c.lastGood.known, c.lastGood.there = true, files
	c.status.name(out)
	return out, nil
}

// services are all Services, by namespace/name.
func (c *Controller) services(ctx context.Context) (map[string]*corev1.Service, error) {
	all, err := readAll[corev1.Service](ctx, c, kindService)
	if err != nil {
		return nil, err
	}
	out := make(map[string]*corev1.Service, len(all))
	for _, s := range all {
		out[s.Namespace+"/"+s.Name] = s
	}
	return out, nil
}

// keep notes what a good object says, and when it was made; zero: it is gone.
func (l *lastGood) keep(name string, text []byte, born time.Time) {
	if l.text == nil {
		l.text, l.born, l.held = map[string][]byte{}, map[string]time.Time{}, map[string]bool{}
	}
	l.text[name] = text
	if !born.IsZero() {
		l.born[name] = born
	}
}

// without puts what an object said when it was good in the place of what is wrong, or
// takes it out; false: it is nobody's mistake.
func (l *lastGood) without(files map[string][]byte, errs config.Problems, refused map[string]config.Problems) bool {
	wrong := map[string]bool{}
	for _, p := range errs {
		if files[p.File] != nil {
			wrong[p.File] = true
			refused[p.File] = append(refused[p.File], p)
		}
	}
	for name := range wrong {
		l.revert(files, name)
	}
	return len(wrong) > 0
}

// aboutMesh leaves out what is no mistake in Kubernetes.
func aboutMesh(problems config.Problems) config.Problems {
	return slices.DeleteFunc(problems, func(p config.Problem) bool { return strings.HasSuffix(p.Field, ".endpoints") })
}

func sorted(files map[string][]byte) []config.File {
	var out []config.File
	for _, name := range slices.Sorted(maps.Keys(files)) {
		out = append(out, config.File{Name: name, Data: files[name]})
	}
	return out
}

// files are the objects of our own kinds, and when they were made.
func (c *Controller) files(ctx context.Context) (out map[string][]byte, born map[string]time.Time, err error) {
	out, born = map[string][]byte{}, map[string]time.Time{}
	for _, k := range []schema.GroupVersionKind{kindModel, kindPolicy} {
		objects, err := c.list(ctx, k)
		if err != nil {
			return nil, nil, err
		}
		for i := range objects {
			o := &objects[i]
			text, err := json.Marshal(map[string]any{
				"apiVersion": o.GetAPIVersion(), "kind": o.GetKind(),
				"metadata": map[string]any{"namespace": o.GetNamespace(), "name": o.GetName(), "creationTimestamp": o.GetCreationTimestamp()}, "spec": o.Object["spec"],
			})
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", nameOf(o), err)
			}
			out[nameOf(o)], born[nameOf(o)] = text, o.GetCreationTimestamp().Time
		}
	}
	return out, born, nil
}

// nameOf is what an object is called here: "KIND namespace/name".
func nameOf(o *unstructured.Unstructured) string {
	return o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
}

// rules are those of all routes that lead to a model, and which of them istiod calls
// as it calls another.
func (c *Controller) rules(ctx context.Context, models []*v1alpha1.Model, l *Loaded) (out []config.Rule, err error) {
	routes, err := readAll[gatewayv1.HTTPRoute](ctx, c, kindHTTPRoute)
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		out = append(out, attached(istio.HTTPRouteRules(r), r.Status.Parents)...)
	}
	calls, err := readAll[gatewayv1.GRPCRoute](ctx, c, kindGRPCRoute)
	if err != nil {
		return nil, err
	}
	for _, r := range calls {
		out = append(out, attached(istio.GRPCRouteRules(r), r.Status.Parents)...)
	}
	services, err := c.list(ctx, kindVirtualService)
	if err != nil {
		return nil, err
	}
	for i := range services {
		v, err := virtualService(&services[i])
		if err != nil {
			c.o.Problem(err)
			continue
		}
		out = append(out, istio.VirtualServiceRules(v, models, c.o.Mesh)...)
	}
	slices.SortStableFunc(out, func(a, b config.Rule) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Route, b.Route))
	})
	classes, err := c.classes(ctx)
	if err != nil {
		return nil, err
	}
	l.Clashes, l.Alone = istio.Clashes(out, c.o.Mesh)
	maps.Copy(l.Clashes, istio.AtWaypoints(out, func(namespace, name string) string { return classes[namespace+"/"+name] }))
	return istio.Relevant(out, models), nil
}

// attached leaves out the parents that istiod says do not take the rules' route: a
// Gateway's owner decides who is served there. One that it has said nothing of yet
// stays, so that a new route is guarded from its first request on.
func attached(rules []config.Rule, said []gatewayv1.RouteParentStatus) []config.Rule {
	refused := func(p gatewayv1.ParentReference) bool {
		return slices.ContainsFunc(said, func(s gatewayv1.RouteParentStatus) bool {
			return s.ControllerName == istiod && reflect.DeepEqual(s.ParentRef, p) && meta.IsStatusConditionFalse(s.Conditions, string(gatewayv1.RouteConditionAccepted))
		})
	}
	for i := range rules {
		rules[i].Parents = slices.DeleteFunc(slices.Clone(rules[i].Parents), refused)
	}
	return rules
}

// istiod is by which name it writes into a route's status.
const istiod gatewayv1.GatewayController = "istio.io/gateway-controller"

// classes are those of the Gateways of the Gateway API, by namespace/name.
func (c *Controller) classes(ctx context.Context) (map[string]string, error) {
	gateways, err := c.list(ctx, kindGateway)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for i := range gateways {
		class, _, _ := unstructured.NestedString(gateways[i].Object, "spec", "gatewayClassName")
		out[gateways[i].GetNamespace()+"/"+gateways[i].GetName()] = class
	}
	return out, nil
}

// readAll reads the objects of a kind that a cluster may lack. What is unknown here
// of a newer version of theirs is left alone.
func readAll[T any](ctx context.Context, c *Controller, k schema.GroupVersionKind) ([]*T, error) {
	objects, err := c.list(ctx, k)
	if err != nil {
		return nil, err
	}
	out := make([]*T, 0, len(objects))
	for i := range objects {
		v := new(T)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(objects[i].Object, v); err != nil {
			c.o.Problem(fmt.Errorf("%s: %w", nameOf(&objects[i]), err))
			continue
		}
		out = append(out, v)
	}
	return out, nil
}

func virtualService(o *unstructured.Unstructured) (*istiov1.VirtualService, error) {
	text, err := json.Marshal(o.Object)
	v := &istiov1.VirtualService{}
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", nameOf(o), err)
	}
	return v, nil
}

// ErrUninstalled is what Load fails with while one of our own kinds is gone, or about
// to go: its objects are gone with it, and nobody meant that.
var ErrUninstalled = errors.New("a kind of safestate's is not installed any more: what held stays; apply istio/crds and the objects again")
