package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/e2e/istio/cluster"
	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/store"
	"github.com/safestate/safestate/internal/store/kube"
)

// problems keeps what a store says.
type problems struct {
	mu   sync.Mutex
	said []error
}

func (p *problems) tell(o *options) {
	o.Problem = func(err error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.said = append(p.said, err)
	}
}

func (p *problems) has(ok func(error) bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.said, ok)
}

func denied(err error) bool { return errors.Is(err, store.ErrDenied) }

// roleOf is a Role with these rights, and its binding to a service account.
func roleOf(name string, rights []kube.Right) string {
	var rules strings.Builder
	for _, r := range rights {
		fmt.Fprintf(&rules, "- {apiGroups: [%s], resources: [%s], verbs: [%s]}\n", r.Group, r.Resource, strings.Join(r.Verbs, ", "))
	}
	return fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: %[1]s, namespace: %[2]s}
rules:
%[3]s---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: %[1]s, namespace: %[2]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: %[1]s}
subjects: [{kind: ServiceAccount, name: %[1]s, namespace: %[2]s}]
`, name, namespace, rules.String())
}

// TestStoreRights: the rights of kube.Rights suffice, and none of them is too many.
func TestStoreRights(t *testing.T) {
	api := startStore(t)
	all := kube.Rights()
	tries := map[string][]kube.Right{"with-all": all}
	for i, r := range all {
		for v := range r.Verbs {
			less := slices.Clone(all)
			less[i].Verbs = slices.Delete(slices.Clone(r.Verbs), v, v+1)
			tries["without-"+r.Resource+"-"+r.Verbs[v]] = less
		}
	}
	for name, rights := range tries {
		t.Run(name, func(t *testing.T) {
			user := api.ServiceAccount(t, namespace, name)
			api.Admin.Apply(t, "test", roleOf(name, rights))
			dataplane.Eventually(t, within, "the role counts", func() bool { return allowed(t, user, rights) })
			said := &problems{}
			everything(t, user, name, said)
			if lacks := name != "with-all"; said.has(denied) != lacks {
				t.Errorf("denied: %v; it says %v", !lacks, said.said)
			}
		})
	}
}

// everything has a store do all that it can do, and tells what it was refused.
func everything(t *testing.T, user *cluster.User, prefix string, said *problems) {
	t.Helper()
	note := func(_ any, err error) {
		if err != nil {
			said.mu.Lock()
			defer said.mu.Unlock()
			said.said = append(said.said, err)
		}
	}
	s, err := tryOpen(t, user, func(o *options) { o.Prefix = prefix }, said.tell)
	if note(nil, err); err != nil {
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first, err := s.Put(ctx, "/a", []byte("1"), 0)
	note(nil, err)
	second, err := s.Put(ctx, "/a", []byte("2"), first.Revision)
	note(nil, err)
	note(s.Get(ctx, "/a"))
	note(s.List(ctx, "/"))
	note(nil, s.Delete(ctx, "/a", max(second.Revision, 1)))
	events := s.Watch(ctx, "/w")
	<-events // read; and followed, or refused:
	dataplane.Eventually(t, within, "the watch works or is refused", func() bool {
		e, err := s.Put(ctx, "/w", nil, 0)
		if err == nil {
			note(nil, s.Delete(ctx, "/w", e.Revision))
		}
		select {
		case <-events:
			return true
		default:
			return said.has(denied)
		}
	})
	end := background(t, func(ctx context.Context) { s.Register(ctx, "/r", func() []byte { return nil }) })
	dataplane.Eventually(t, within, "registered, or refused", func() bool { _, err := s.Get(ctx, "/r"); return err == nil || said.has(denied) })
	end()
	led := make(chan time.Time, 100)
	stop := background(t, func(ctx context.Context) {
		s.Elect(ctx, "/leader", "me", func(ctx context.Context) {
			led <- time.Now()
			<-ctx.Done()
		})
	})
	var since time.Time
	dataplane.Eventually(t, within, "leads for longer than its lease, or refused", func() bool {
		select {
		case since = <-led:
		default:
		}
		return said.has(denied) || !since.IsZero() && time.Since(since) > 2*shortLease
	})
	stop()
}

// allowed asks the server whether a user has all of the rights.
func allowed(t *testing.T, user *cluster.User, rights []kube.Right) bool {
	t.Helper()
	for _, r := range rights {
		for _, verb := range r.Verbs {
			review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
				ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Group: r.Group, Resource: r.Resource, Verb: verb},
			}}
			if err := user.Client.Create(t.Context(), review); err != nil {
				t.Fatal(err)
			}
			if !review.Status.Allowed {
				return false
			}
		}
	}
	return true
}

// TestStoreWithoutRights: a token whose rights are taken away is denied, and has
// them again when they are given back; its watch tells what changed meanwhile.
func TestStoreWithoutRights(t *testing.T) {
	api := startStore(t)
	user, role := api.ServiceAccount(t, namespace, "safestate"), roleOf("safestate", kube.Rights())
	if _, err := tryOpen(t, user); !denied(err) {
		t.Fatalf("before it has rights: %v", err)
	}
	api.Admin.Apply(t, "test", role)
	dataplane.Eventually(t, within, "the role counts", func() bool { return allowed(t, user, kube.Rights()) })
	said := &problems{}
	s, admin := open(t, user, said.tell), open(t, api.Admin)
	m := follow(t, s, "/")
	api.Admin.Delete(t, role)
	dataplane.Eventually(t, within, "it is denied", func() bool { _, err := s.Put(t.Context(), "/a", nil, 7); return denied(err) })
	api.Kill() // the watch that it has is not ended by taking the rights away
	api.Start()
	dataplane.Eventually(t, within, "the watch says so", func() bool {
		return said.has(func(err error) bool {
			return denied(err) && strings.Contains(err.Error(), "the watch of / begins anew")
		})
	})
	if _, err := admin.Put(t.Context(), "/a", []byte("meanwhile"), 0); err != nil {
		t.Fatal(err)
	}
	api.Admin.Apply(t, "test", role)
	m.agrees(t, s, "/")
	unknown := *user
	unknown.Config = rest.CopyConfig(user.Config)
	unknown.Config.BearerToken = "secret-and-wrong"
	if _, err := tryOpen(t, &unknown); !denied(err) || strings.Contains(err.Error(), "secret") {
		t.Errorf("with a wrong token: %v", err)
	}
}

// TestStoreLeaseDeletedByHand: the leader has stopped before the next one leads.
func TestStoreLeaseDeletedByHand(t *testing.T) {
	api := startStore(t)
	r := &reign{leads: make(chan context.Context, 100)}
	var stores []*kube.Store
	for _, name := range []string{"a", "b"} {
		s := open(t, api.Admin)
		stores = append(stores, s)
		r.stand(t, s, name)
	}
	background(t, func(ctx context.Context) { stores[0].Register(ctx, "/r", func() []byte { return nil }) })
	for range 3 {
		leading := <-r.leads
		dataplane.Eventually(t, within, "registered", func() bool { _, err := stores[1].Get(t.Context(), "/r"); return err == nil })
		if err := api.Admin.Client.DeleteAllOf(t.Context(), &coordinationv1.Lease{}, client.InNamespace(namespace)); err != nil {
			t.Fatal(err)
		}
		<-leading.Done()
	}
	<-r.leads
	dataplane.Eventually(t, within, "registered again", func() bool { _, err := stores[1].Get(t.Context(), "/r"); return err == nil })
	r.check(t)
}

// TestStoreKindDeleted: with its definition go all records. Watches tell that, calls
// say what is missing, and once the kind is back all goes on from nothing.
func TestStoreKindDeleted(t *testing.T) {
	api := startStore(t)
	s := open(t, api.Admin)
	background(t, func(ctx context.Context) { s.Register(ctx, "/r/a", func() []byte { return []byte("here") }) })
	for _, key := range []string{"/a", "/b"} {
		if _, err := s.Put(t.Context(), key, []byte("x"), 0); err != nil {
			t.Fatal(err)
		}
	}
	m := follow(t, s, "/")
	m.agrees(t, s, "/")
	path := cluster.Safestate(t)
	definition, err := os.ReadFile(path[slices.IndexFunc(path, func(p string) bool { return strings.Contains(p, "staterecords") })])
	if err != nil {
		t.Fatal(err)
	}
	api.Admin.Delete(t, string(definition))
	dataplane.Eventually(t, within, "calls say so", func() bool {
		_, err := s.Get(t.Context(), "/a")
		return errors.Is(err, store.ErrUnavailable) && strings.Contains(err.Error(), "does not know kind StateRecord: apply istio/crds")
	})
	dataplane.Eventually(t, within, "the watch tells that all is gone", func() bool { return m.String() == "" })
	api.Admin.Apply(t, "test", string(definition))
	dataplane.Eventually(t, within, "the registration is back", func() bool { _, err := s.Get(t.Context(), "/r/a"); return err == nil })
	if _, err := s.Get(t.Context(), "/a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a record of before: %v", err)
	}
	if _, err := s.Put(t.Context(), "/a", []byte("new"), 0); err != nil {
		t.Error(err)
	}
	m.agrees(t, s, "/")
}

const byHand = `
apiVersion: safestate.dev/v1alpha1
kind: StateRecord
metadata: {name: by-hand, namespace: safestate-system}
spec: {key: %q, value: %q}
`

// TestStoreObjectsByHand: the API server refuses what has no key, and the store
// passes over what has not the name and the labels of its key.
func TestStoreObjectsByHand(t *testing.T) {
	api := startStore(t)
	said := &problems{}
	s := open(t, api.Admin, said.tell)
	m := follow(t, s, "/")
	for _, bad := range []string{fmt.Sprintf(byHand, "no-slash", ""), fmt.Sprintf(byHand, "/a b", ""), fmt.Sprintf(byHand, "", "")} {
		if err := api.Admin.TryApply(t.Context(), "test", bad); !apierrors.IsInvalid(err) {
			t.Errorf("the server says %v to %s", err, bad)
		}
	}
	api.Admin.Apply(t, "test", fmt.Sprintf(byHand, "/a", "aGk="))
	if _, err := s.Put(t.Context(), "/a", []byte("ours"), 0); err != nil {
		t.Errorf("beside one by hand: %v", err)
	}
	m.agrees(t, s, "/")

	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("StateRecordList"))
	if err := api.Admin.Client.List(t.Context(), list, client.InNamespace(namespace)); err != nil || len(list.Items) != 2 {
		t.Fatalf("%d objects, %v", len(list.Items), err)
	}
	ours := &list.Items[slices.IndexFunc(list.Items, func(o unstructured.Unstructured) bool { return o.GetName() != "by-hand" })]
	patch := func(text string) error {
		return api.Admin.Client.Patch(t.Context(), ours.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(text)))
	}
	if err := patch(`{"spec":{"key":"/b"}}`); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "never changes") {
		t.Errorf("another key: %v", err)
	}
	if err := patch(`{"spec":{"value":"Ynk="}}`); err != nil { // what is in its right place is a change
		t.Fatal(err)
	}
	dataplane.Eventually(t, within, "the change", func() bool { return strings.HasPrefix(m.String(), "/a=by@") })
	if err := patch(`{"metadata":{"labels":null}}`); err != nil {
		t.Fatal(err)
	}
	dataplane.Eventually(t, within, "without its labels it is no record", func() bool { return m.String() == "" })
	if _, err := s.Get(t.Context(), "/a"); !errors.Is(err, store.ErrNotFound) || !said.has(func(err error) bool {
		return strings.Contains(err.Error(), "is passed over: its labels are not those of key /a")
	}) {
		t.Errorf("get: %v; it says %v", err, said.said)
	}
	if _, err := s.Put(t.Context(), "/a", []byte("again"), 0); err != nil {
		t.Error(err)
	}
	m.agrees(t, s, "/")
}
