package controller

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/istio"
)

// Manager is our field manager: what it owns of an object is ours.
const Manager = "safestate"

// Options are what a controller is made of. Config, Namespace and Log are required.
type Options struct {
	Config    *rest.Config
	Namespace string // safestate's own
	Mesh      istio.Options
	// Changed hears that something which World reads is another one. It must not block.
	// Default: nobody does.
	Changed func()
	// Unfit says of a snapshot's Models, by namespace/name, what is wrong with them
	// beside what they say. Default: nothing is.
	Unfit func(*compile.Snapshot) map[string]error
	// Held waits until it is known what is killed, and gives the versions that are, and
	// those that a rollout brings in, by their model, namespace/name; none: all of it is
	// killed. Default: nothing is.
	Held func(context.Context) (map[string][]string, error)
	// Memory keeps what objects said when they were good. Default: nobody does.
	Memory Memory
	// Problem hears what could not be read or written; the same once. It must not
	// block. Default: nobody does.
	Problem func(error)
}

// Controller is safe for concurrent use.
type Controller struct {
	o           Options
	cache       cache.Cache
	client      client.Client // reads from the API server itself
	events      events.EventRecorder
	broadcaster events.EventBroadcaster
	watched     *watched

	lastGood lastGood
	writer   *writer
	status   *status
	switches *switches
}

// The kinds that are read. Those of safestate's own have to be there; of the others
// a cluster may lack any.
var (
	kindModel          = v1alpha1.GroupVersion.WithKind(v1alpha1.KindModel)
	kindPolicy         = v1alpha1.GroupVersion.WithKind(v1alpha1.KindFailSafePolicy)
	kindKillSwitch     = v1alpha1.GroupVersion.WithKind("KillSwitch")
	kindHTTPRoute      = schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "HTTPRoute"}
	kindGRPCRoute      = schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "GRPCRoute"}
	kindGateway        = schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "Gateway"}
	kindReferenceGrant = schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1beta1", Kind: "ReferenceGrant"} // the version that istiod reads
	kindVirtualService = schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: "VirtualService"}
	kindService        = schema.GroupVersionKind{Version: "v1", Kind: "Service"}
	kindEnvoyFilter    = schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1alpha3", Kind: "EnvoyFilter"}

	own     = []schema.GroupVersionKind{kindModel, kindPolicy, kindKillSwitch}
	foreign = []schema.GroupVersionKind{kindHTTPRoute, kindGRPCRoute, kindGateway, kindReferenceGrant, kindVirtualService, kindService, kindEnvoyFilter}
)

// New makes a controller, and fails where the API server cannot be asked at all. It
// reads nothing before Start.
func New(o Options) (*Controller, error) {
	if o.Changed == nil {
		o.Changed = func() {}
	}
	if o.Problem == nil {
		o.Problem = func(error) {}
	}
	o.Problem = once(o.Problem)
	if o.Unfit == nil {
		o.Unfit = func(*compile.Snapshot) map[string]error { return nil }
	}
	if o.Held == nil {
		o.Held = func(context.Context) (map[string][]string, error) { return nil, nil }
	}
	config := rest.CopyConfig(o.Config)
	config.QPS, config.Burst = -1, -1 // a kill must not wait in a queue of ours
	config.Timeout = callTimeout
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), istiov1alpha3.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	o.Mesh = o.Mesh.WithDefaults()
	c := &Controller{o: o}
	var err error
	if c.client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return nil, fmt.Errorf("the API server: %w", err)
	}
	watching := rest.CopyConfig(config)
	watching.Timeout = 0 // a watch has no end
	ours := unstructuredOf(kindEnvoyFilter)
	c.watched = newWatched(c)
	c.cache, err = cache.New(watching, cache.Options{
		NewInformer: c.watched.newInformer, Scheme: scheme, DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{ours: {Label: labels.SelectorFromSet(labels.Set{istio.LabelManagedBy: istio.ManagedBy})}},
	})
	if err != nil {
		return nil, fmt.Errorf("the API server: %w", err)
	}
	if c.broadcaster, c.events, err = newRecorder(config, scheme); err != nil {
		return nil, fmt.Errorf("the API server: %w", err)
	}
	c.writer = newWriter(c)
	c.status = newStatus(c)
	c.switches = newSwitches(c)
	return c, nil
}

// callTimeout bounds one call of the API server's.
const callTimeout = 5 * time.Second

// Start begins to watch, and returns once all kinds that are there have been read, or
// with an error when ctx ends before. The watches end with ctx.
func (c *Controller) Start(ctx context.Context) error {
	go func() { _ = c.cache.Start(ctx) }() // it ends with ctx alone
	return c.watched.start(ctx)
}

// Run writes what Publish hands over, while lead says so, until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if err := c.broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		c.o.Problem(fmt.Errorf("there will be no Events: %w", err))
	}
	defer c.broadcaster.Shutdown()
	var running sync.WaitGroup
	running.Go(func() { c.watched.run(ctx) })
	running.Go(func() { c.writer.run(ctx) })
	running.Go(func() { c.remember(ctx) })
	running.Go(func() { c.status.run(ctx) })
	running.Go(func() { c.switches.run(ctx) })
	running.Wait()
}

func unstructuredOf(k schema.GroupVersionKind) *unstructured.Unstructured {
	out := &unstructured.Unstructured{}
	out.SetGroupVersionKind(k)
	return out
}

// list reads a kind out of the cache; of one that the cluster lacks it has none.
func (c *Controller) list(ctx context.Context, k schema.GroupVersionKind) ([]unstructured.Unstructured, error) {
	if !c.watched.has(k) {
		return nil, nil
	}
	var l unstructured.UnstructuredList
	l.SetGroupVersionKind(k.GroupVersion().WithKind(k.Kind + "List"))
	if err := c.cache.List(ctx, &l); err != nil {
		return nil, fmt.Errorf("%s: %w", k.Kind, err)
	}
	return l.Items, nil
}

// watched are the kinds that informers run for. It is safe for concurrent use.
type watched struct {
	c *Controller

	mu     sync.Mutex
	kinds  map[schema.GroupVersionKind]bool
	unread map[string]fault // why a kind cannot be read
}

func newWatched(c *Controller) *watched {
	return &watched{c: c, kinds: map[schema.GroupVersionKind]bool{}, unread: map[string]fault{}}
}

func (w *watched) has(k schema.GroupVersionKind) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.kinds[k]
}

func (w *watched) start(ctx context.Context) error {
	for _, k := range own {
		if err := w.watch(ctx, k); err != nil {
			return err
		}
	}
	for _, k := range foreign {
		if err := w.watch(ctx, k); err != nil && !meta.IsNoMatchError(err) {
			return err
		}
	}
	if !w.c.cache.WaitForCacheSync(ctx) {
		return fmt.Errorf("the API server did not answer for all kinds: %w", context.Cause(ctx))
	}
	return nil
}

// again is how often the kinds are asked for that the cluster did not have.
const again = 15 * time.Second

// run begins to watch kinds that are installed later.
func (w *watched) run(ctx context.Context) {
	tick := time.NewTicker(again)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, k := range foreign {
			if w.has(k) {
				continue
			}
			if err := w.watch(ctx, k); err == nil {
				w.c.o.Changed()
			}
		}
	}
}

// watch begins to watch a kind.
func (w *watched) watch(ctx context.Context, k schema.GroupVersionKind) error {
	informer, err := w.c.cache.GetInformer(ctx, unstructuredOf(k), cache.BlockUntilSynced(false))
	if err != nil {
		if meta.IsNoMatchError(err) && k.Group == v1alpha1.Group {
			return fmt.Errorf("the API server does not know kind %s of %s: apply istio/crds first", k.Kind, k.Group)
		}
		return fmt.Errorf("kind %s of %s: %w", k.Kind, k.Group, err)
	}
	changed, gone := w.c.o.Changed, w.c.o.Changed
	switch k {
	case kindEnvoyFilter:
		changed, gone = w.c.writer.stir, w.c.writer.stir
	case kindKillSwitch: // nothing is compiled of them, but their definition may be gone
		changed = w.c.switches.stir
	}
	if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { changed() },
		UpdateFunc: func(old, now any) {
			if differs(old, now) {
				changed()
			}
		},
		DeleteFunc: func(any) { gone() },
	}); err != nil {
		return fmt.Errorf("kind %s of %s: %w", k.Kind, k.Group, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kinds[k] = true
	return nil
}

// differs leaves out what changes an object's status alone, ours among it.
func differs(old, now any) bool {
	a, okA := old.(*unstructured.Unstructured)
	b, okB := now.(*unstructured.Unstructured)
	if !okA || !okB {
		return true
	}
	// A Service has no generation.
	changed := a.GetGeneration() != b.GetGeneration() || a.GetGeneration() == 0 && !reflect.DeepEqual(a.Object["spec"], b.Object["spec"])
	return changed || a.GetDeletionTimestamp() != b.GetDeletionTimestamp() || a.GetUID() != b.GetUID()
}
