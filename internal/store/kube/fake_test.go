package kube

import (
	"cmp"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// fake is as much of an API server as the engine uses, in memory: of any resource,
// without schemas and rights. What it does is held against a real one by e2e/kube,
// where the engine passes the same suite.
type fake struct {
	URL       string
	authority []byte // its certificate, in PEM

	mu      sync.Mutex
	version int64
	oldest  int64                                 // a watch from before is 410 Gone
	objects map[string]*unstructured.Unstructured // by resource/name
	history []change
	changed chan struct{} // closed and made anew at each change
	refuse  func(*http.Request) error
	lose    func(*http.Request) bool // whose answers get lost
	listed  int                      // objects that went out in lists
}

type change struct {
	version     int64
	resource    string
	before, now *unstructured.Unstructured // nil: there was none, or is none
}

func startFake(t *testing.T) *fake {
	f := &fake{version: 1, objects: map[string]*unstructured.Unstructured{}, changed: make(chan struct{})}
	server := httptest.NewUnstartedServer(f)
	server.EnableHTTP2 = true // many requests on one connection, as with a real one
	server.StartTLS()
	f.URL = server.URL
	f.authority = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections) // first
	return f
}

func (f *fake) config() *rest.Config {
	return &rest.Config{Host: f.URL, TLSClientConfig: rest.TLSClientConfig{CAData: f.authority}}
}

// deny has the server refuse what the function has an error for; nil: nothing.
func (f *fake) deny(refuse func(*http.Request) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = refuse
}

// losing has the answers get lost that the function says so of; nil: none.
func (f *fake) losing(lose func(*http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lose = lose
}

// forget drops the history: watches end, and none begins in the past.
func (f *fake) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.version++
	f.oldest = f.version
	f.wake()
}

func (f *fake) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// ServeHTTP serves /apis/GROUP/VERSION/namespaces/NS/RESOURCE[/NAME].
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(parts) < 6 {
		http.NotFound(w, r)
		return
	}
	resource, name := schema.GroupResource{Group: parts[1], Resource: parts[5]}, ""
	if len(parts) > 6 {
		name = parts[6]
	}
	f.mu.Lock()
	refuse, lose := f.refuse, f.lose
	f.mu.Unlock()
	if refuse != nil {
		if err := refuse(r); err != nil {
			answer(w, nil, err)
			return
		}
	}
	if r.URL.Query().Get("watch") != "" {
		f.watch(w, r, resource)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var out any
	var err error
	switch {
	case r.Method == http.MethodGet && name == "":
		out, err = f.list(r, resource)
	case r.Method == http.MethodGet:
		out, err = f.get(resource, name)
	case r.Method == http.MethodDelete:
		out, err = f.remove(r, resource, name)
	default:
		out, err = f.write(r, resource, name)
	}
	if lose != nil && lose(r) {
		panic(http.ErrAbortHandler) // closes the connection
	}
	answer(w, out, err)
}

func answer(w http.ResponseWriter, out any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if status, ok := err.(apierrors.APIStatus); ok {
		s := status.Status()
		s.APIVersion, s.Kind = "v1", "Status"
		w.WriteHeader(int(s.Code))
		out = s
	}
	_ = json.NewEncoder(w).Encode(out) // the client may be gone
}

func (f *fake) get(resource schema.GroupResource, name string) (*unstructured.Unstructured, error) {
	if o := f.objects[resource.Resource+"/"+name]; o != nil {
		return o, nil
	}
	return nil, apierrors.NewNotFound(resource, name)
}

// store keeps what a request changed; a nil object is deleted.
func (f *fake) store(resource, name string, o *unstructured.Unstructured) {
	f.version++
	at := resource + "/" + name
	c := change{version: f.version, resource: resource, before: f.objects[at], now: o}
	if o == nil {
		delete(f.objects, at)
	} else {
		o.SetResourceVersion(strconv.FormatInt(f.version, 10))
		f.objects[at] = o
	}
	f.history = append(f.history, c)
	f.wake()
}

func (f *fake) write(r *http.Request, resource schema.GroupResource, name string) (*unstructured.Unstructured, error) {
	o := &unstructured.Unstructured{}
	if err := json.NewDecoder(r.Body).Decode(&o.Object); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	before := f.objects[resource.Resource+"/"+o.GetName()]
	switch {
	case name == "" && before != nil:
		return nil, apierrors.NewAlreadyExists(resource, o.GetName())
	case name != "" && before == nil:
		return nil, apierrors.NewNotFound(resource, name)
	case name != "" && o.GetResourceVersion() != before.GetResourceVersion():
		return nil, apierrors.NewConflict(resource, name, fmt.Errorf("the object has been modified"))
	case name != "" && reflect.DeepEqual(before.Object, o.Object):
		return before, nil // what stays the same is not written
	}
	f.store(resource.Resource, o.GetName(), o)
	return o, nil
}

func (f *fake) remove(r *http.Request, resource schema.GroupResource, name string) (*unstructured.Unstructured, error) {
	o, err := f.get(resource, name)
	if err != nil {
		return nil, err
	}
	var options metav1.DeleteOptions
	if err := json.NewDecoder(r.Body).Decode(&options); err != nil && !errors.Is(err, io.EOF) {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if p := options.Preconditions; p != nil && p.ResourceVersion != nil && *p.ResourceVersion != o.GetResourceVersion() {
		return nil, apierrors.NewConflict(resource, name, fmt.Errorf("precondition failed"))
	}
	f.store(resource.Resource, name, nil)
	return o, nil
}

// selects is what a request is about.
func selects(r *http.Request) (func(*unstructured.Unstructured) bool, error) {
	chosen, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	name, named := strings.CutPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")
	return func(o *unstructured.Unstructured) bool {
		return o != nil && chosen.Matches(labels.Set(o.GetLabels())) && (!named || o.GetName() == name)
	}, nil
}

// list gives a list, or a part of one: its continue token is the moment and the
// last name.
func (f *fake) list(r *http.Request, resource schema.GroupResource) (any, error) {
	chosen, err := selects(r)
	if err != nil {
		return nil, err
	}
	at, after := f.version, ""
	if token := r.URL.Query().Get("continue"); token != "" {
		if _, err := fmt.Sscanf(token, "%d/%s", &at, &after); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		if at < f.oldest {
			return nil, apierrors.NewResourceExpired("the continue token is too old")
		}
	}
	objects := f.at(resource.Resource, at)
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit")) // none: 0
	list, next := []any{}, ""
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		o := objects[name]
		if name <= after || !chosen(o) {
			continue
		}
		if limit > 0 && len(list) == limit {
			next = fmt.Sprintf("%d/%s", at, list[limit-1].(map[string]any)["metadata"].(map[string]any)["name"])
			break
		}
		list = append(list, o.Object)
	}
	f.listed += len(list)
	kind := map[string]string{recordsResource: "StateRecordList", leasesResource: "LeaseList"}[resource.Resource]
	return map[string]any{
		"kind": kind, "apiVersion": resource.Group + "/" + map[string]string{recordsResource: "v1alpha1", leasesResource: "v1"}[resource.Resource],
		"metadata": map[string]any{"resourceVersion": strconv.FormatInt(at, 10), "continue": next}, "items": list,
	}, nil
}

// at is what there was at a version, by name.
func (f *fake) at(resource string, version int64) map[string]*unstructured.Unstructured {
	out := map[string]*unstructured.Unstructured{}
	for at, o := range f.objects {
		if name, ok := strings.CutPrefix(at, resource+"/"); ok {
			out[name] = o
		}
	}
	for _, c := range slices.Backward(f.history) {
		if c.version <= version {
			break
		}
		if c.resource != resource {
			continue
		}
		name := cmp.Or(c.now, c.before).GetName()
		if delete(out, name); c.before != nil {
			out[name] = c.before
		}
	}
	return out
}

// watch streams changes until the client goes or the history is forgotten.
func (f *fake) watch(w http.ResponseWriter, r *http.Request, resource schema.GroupResource) {
	chosen, err := selects(r)
	if err != nil {
		answer(w, nil, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	out := json.NewEncoder(w)
	f.mu.Lock()
	defer f.mu.Unlock()
	from, _ := strconv.ParseInt(r.URL.Query().Get("resourceVersion"), 10, 64) // none: 0
	if from == 0 {
		from = f.version
	}
	for {
		if from < f.oldest {
			gone := apierrors.NewResourceExpired("too old resource version").Status()
			gone.APIVersion, gone.Kind = "v1", "Status"
			_ = out.Encode(map[string]any{"type": "ERROR", "object": gone})
			return
		}
		for _, c := range f.history[f.after(from):] {
			if c.resource == resource.Resource {
				f.tell(out, c, chosen)
			}
			from = c.version
		}
		changed := f.changed
		f.mu.Unlock()
		_ = http.NewResponseController(w).Flush() // as above
		select {
		case <-changed:
		case <-r.Context().Done():
		}
		f.mu.Lock()
		if r.Context().Err() != nil {
			return
		}
	}
}

// after is where the changes after a version begin.
func (f *fake) after(version int64) int {
	at, _ := slices.BinarySearchFunc(f.history, version+1, func(c change, v int64) int { return cmp.Compare(c.version, v) })
	return at
}

// tell sends a change as a watch of a selection sees it.
func (f *fake) tell(out *json.Encoder, c change, chosen func(*unstructured.Unstructured) bool) {
	var kind string
	o := c.now
	switch was, is := chosen(c.before), chosen(c.now); {
	case was && is:
		kind = "MODIFIED"
	case is:
		kind = "ADDED"
	case was:
		kind, o = "DELETED", c.before.DeepCopy()
		o.SetResourceVersion(strconv.FormatInt(c.version, 10))
	default:
		return
	}
	_ = out.Encode(map[string]any{"type": kind, "object": o.Object}) // the client may be gone
}
