package product

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/safestate/safestate/e2e/dataplane"
)

// TestEditedFilters: what somebody does to an EnvoyFilter of safestate's is undone, and
// what is somebody else's is not.
func TestEditedFilters(t *testing.T) {
	s := newStand(t)
	s.guarded()
	s.apply(sidecar) // for filters without a target, which may have a selector
	dataplane.Eventually(t, patience, "the filters are there", func() bool { return len(s.filters()) == 4 })
	load := s.load(50)
	all := s.filters()
	const route, sidecars = routeFilter, "istio-system/safestate-sidecars"
	for _, name := range []string{route, sidecars} {
		if all[name] == nil {
			t.Fatalf("no %s in %v", name, names(all))
		}
	}
	for _, c := range []struct {
		what, filter string
		do           func(o *unstructured.Unstructured) error
	}{
		{"emptied", route, func(o *unstructured.Unstructured) error {
			return unstructured.SetNestedSlice(o.Object, nil, "spec", "configPatches")
		}},
		{"put behind others", route, func(o *unstructured.Unstructured) error {
			return unstructured.SetNestedField(o.Object, int64(-5), "spec", "priority")
		}},
		{"for other proxies", sidecars, func(o *unstructured.Unstructured) error {
			return unstructured.SetNestedField(o.Object, "nobody", "spec", "workloadSelector", "labels", "app")
		}},
		{"without its label", route, func(o *unstructured.Unstructured) error {
			unstructured.RemoveNestedField(o.Object, "metadata", "labels")
			return nil
		}},
	} {
		s.part(c.what, func(s *stand) {
			o := s.filters()[c.filter]
			if err := c.do(o); err != nil {
				t.Fatal(err)
			}
			if err := s.api.Admin.Client.Update(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			s.restored(all, c.filter)
		})
	}
	s.part("deleted", func(s *stand) {
		if err := s.api.Admin.Client.Delete(t.Context(), s.filters()[route]); err != nil {
			t.Fatal(err)
		}
		s.restored(all, route)
	})
	s.part("with a label of somebody's", func(s *stand) {
		o := s.filters()[route]
		if err := unstructured.SetNestedField(o.Object, "risk", "metadata", "labels", "team"); err != nil {
			t.Fatal(err)
		}
		if err := s.api.Admin.Client.Update(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		s.lasting(12*time.Second, "it is left alone", func() bool { return s.filters()[route].GetResourceVersion() == o.GetResourceVersion() })
	})
	s.part("somebody else's with our label", func(s *stand) {
		s.applyAs("alice", `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: theirs, namespace: models, labels: {app.kubernetes.io/managed-by: safestate}}
spec: {configPatches: [{applyTo: VIRTUAL_HOST, match: {context: GATEWAY}, patch: {operation: MERGE, value: {request_headers_to_remove: [x-theirs]}}}]}
`)
		s.told("NotSafestates", "left alone")
		s.lasting(12*time.Second, "it is left alone", func() bool { return s.filters()["models/theirs"] != nil })
	})
	s.v1.nan.Store(true)
	s.until("answers are inspected", func(a answer) bool { return a.source == "safe_default" })
	s.unharmed(load)
}

// restored waits until an EnvoyFilter is as it was.
func (s *stand) restored(was map[string]*unstructured.Unstructured, name string) {
	s.t.Helper()
	began := time.Now()
	dataplane.Eventually(s.t, patience, name+" is as it was", func() bool {
		now := s.filters()[name]
		return now != nil && equality.Semantic.DeepEqual(now.Object["spec"], was[name].Object["spec"])
	})
	s.t.Log("restored after", time.Since(began))
}

func names(filters map[string]*unstructured.Unstructured) []string {
	var out []string
	for name, f := range filters {
		out = append(out, fmt.Sprintf("%s at %s", name, f.GetResourceVersion()))
	}
	slices.Sort(out)
	return out
}
