package controller

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/istio"
)

// api is an API server: objects, and what becomes of each write. It tells of changes
// only where it is asked.
type api struct {
	client.Client
	mu      sync.Mutex
	objects map[string]*unstructured.Unstructured // by KIND namespace/name
	version int
	writes  []string // KIND namespace/name of each that was asked for, refused ones too
	// refuse is asked before each write, and may wait; nil: none is refused.
	refuse func(ctx context.Context, o *unstructured.Unstructured) error
	admit  func(o *unstructured.Unstructured) // changes what is written; nil: nobody does
}

// Get implements client.Reader.
func (a *api) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	u := into.(*unstructured.Unstructured)
	o := a.objects[u.GetKind()+" "+key.String()]
	if o == nil {
		return apierrors.NewNotFound(schema.GroupResource{Resource: u.GetKind()}, key.String())
	}
	o.DeepCopyInto(u)
	return nil
}

// Apply implements client.Writer. What it changes is the manager's alone, and what
// nobody names stays.
func (a *api) Apply(ctx context.Context, obj runtime.ApplyConfiguration, _ ...client.ApplyOption) error {
	text, err := obj.(interface{ MarshalJSON() ([]byte, error) }).MarshalJSON()
	if err != nil {
		return err
	}
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(text); err != nil {
		return err
	}
	a.mu.Lock()
	a.writes = append(a.writes, nameOf(o))
	refuse, admit := a.refuse, a.admit
	a.mu.Unlock()
	if refuse != nil {
		if err := refuse(ctx, o); err != nil {
			return err
		}
	}
	if admit != nil {
		admit(o)
	}
	a.put(o, Manager, metav1.ManagedFieldsOperationApply)
	a.mu.Lock()
	defer a.mu.Unlock()
	obj.(interface{ SetUnstructuredContent(map[string]any) }).SetUnstructuredContent(a.objects[nameOf(o)].DeepCopy().Object)
	return nil
}

// put writes an object as a manager.
func (a *api) put(o *unstructured.Unstructured, manager string, how metav1.ManagedFieldsOperationType) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	now := o.DeepCopy()
	now.SetUID("1")
	now.SetResourceVersion(strconv.Itoa(a.version))
	fields := []string{}
	if spec, ok := now.Object["spec"].(map[string]any); ok {
		for f := range spec {
			fields = append(fields, fmt.Sprintf("%q: {}", "f:"+f))
		}
	}
	now.SetManagedFields([]metav1.ManagedFieldsEntry{{
		Manager: manager, Operation: how, FieldsV1: metav1.NewFieldsV1(`{"f:spec": {` + strings.Join(fields, ",") + `}}`),
	}})
	a.objects[nameOf(now)] = now
}

// object is one that is there; nil: it is not.
func (a *api) object(name string) *unstructured.Unstructured {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.objects[name]
}

// asked counts the writes of an object.
func (a *api) asked(name string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.writes {
		if w == name {
			n++
		}
	}
	return n
}

func (a *api) refuses(refuse func(ctx context.Context, o *unstructured.Unstructured) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refuse = refuse
}

// informers are a cache that has all at once.
type informers struct {
	cache.Cache
	*api
}

// Get implements client.Reader.
func (i *informers) Get(ctx context.Context, key client.ObjectKey, into client.Object, o ...client.GetOption) error {
	return i.api.Get(ctx, key, into, o...)
}

// List implements client.Reader.
func (i *informers) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	l := into.(*unstructured.UnstructuredList)
	for _, o := range maps.Clone(i.objects) {
		if o.GetKind()+"List" == l.GetKind() {
			l.Items = append(l.Items, *o.DeepCopy())
		}
	}
	return nil
}

// controlled is a controller on an API server, without watches.
func controlled(t *testing.T) (*Controller, *api) {
	t.Helper()
	a := &api{objects: map[string]*unstructured.Unstructured{}}
	c := &Controller{
		o:      Options{Mesh: istio.Options{}.WithDefaults(), Changed: func() {}, Problem: func(err error) { t.Log(err) }},
		client: a, cache: &informers{api: a}, events: &events.FakeRecorder{},
	}
	c.watched = newWatched(c)
	c.watched.kinds[kindEnvoyFilter] = true
	c.writer, c.status = newWriter(c), newStatus(c)
	return c, a
}

// runs has a controller write until the test ends.
func runs(t *testing.T, c *Controller) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { c.writer.run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !holds(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("in vain: " + what)
		}
	}
}

// teams is a model with a route and a policy in each of some namespaces, at gateways
// of their own, or at one in a namespace for all.
func teams(t *testing.T, gateway string, namespaces ...string) *compile.Snapshot {
	t.Helper()
	var text strings.Builder
	for _, n := range namespaces {
		at := gateway
		if at == "" {
			at = n
		}
		fmt.Fprintf(&text, team, n, at)
	}
	s, problems := compile.Files(config.File{Name: "all.yaml", Data: []byte(text.String())})
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return s
}

const team = `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: fraud, namespace: %[1]s}
spec:
  parentRefs: [{name: gw, namespace: %[2]s}]
  hostnames: [%[1]s.example.com]
  rules:
  - name: score
    backendRefs: [{name: fraud-v1, port: 80, weight: 100}, {name: fraud-v2, port: 80, weight: 0}]
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: fraud, namespace: %[1]s}
spec:
  protocol: OpenInferenceV2
  versions:
  - {name: v1, backendRef: {name: fraud-v1, port: 80}, endpoints: [{address: 127.0.0.1, port: 1}]}
  - {name: v2, backendRef: {name: fraud-v2, port: 80}, endpoints: [{address: 127.0.0.1, port: 2}]}
---
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: fraud, namespace: %[1]s}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: fraud}]
  mode: Enforce
  deadline: 300ms
  detect: {nonFinite: {}, outputs: [{name: score, datatype: FP32, shape: [1], min: 0, max: 1}]}
  ladder:
  - safeDefault: {body: '{"model_name": "fraud", "outputs": [{"name": "score", "datatype": "FP32", "shape": [1], "data": [0.0]}]}'}
`
