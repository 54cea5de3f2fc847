package controller

import (
	"testing"
	"time"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/safestate/safestate/istio"
)

func filter(namespace, name, version string) *istiov1alpha3.EnvoyFilter {
	return &istiov1alpha3.EnvoyFilter{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, ResourceVersion: version}}
}

// TestLag: what was written counts until the cache has it, or something newer.
func TestLag(t *testing.T) {
	wrote := time.Now()
	for name, c := range map[string]struct {
		do     func(w *written)
		cached string // revision; empty: the cache has none
		want   string // revision that counts; empty: there is none
	}{
		"nothing was written":              {func(*written) {}, "5", "5"},
		"the cache is behind":              {func(w *written) { w.wrote(filter("a", "b", "7"), wrote) }, "5", "7"},
		"the cache has it":                 {func(w *written) { w.wrote(filter("a", "b", "7"), wrote) }, "7", "7"},
		"somebody wrote since":             {func(w *written) { w.wrote(filter("a", "b", "7"), wrote) }, "9", "9"},
		"more digits are more":             {func(w *written) { w.wrote(filter("a", "b", "10"), wrote) }, "9", "10"},
		"somebody has deleted it":          {func(w *written) { w.wrote(filter("a", "b", "7"), wrote) }, "", ""},
		"deleted, the cache is behind":     {func(w *written) { w.deleted(filter("a", "b", "7"), wrote) }, "7", ""},
		"deleted, and somebody's is there": {func(w *written) { w.deleted(filter("a", "b", "7"), wrote) }, "8", "8"},
		"deleted and written": {func(w *written) {
			w.deleted(filter("a", "b", "7"), wrote)
			w.wrote(filter("a", "b", "9"), wrote)
		}, "7", "9"},
	} {
		t.Run(name, func(t *testing.T) {
			w, cached := &written{}, map[string]*istiov1alpha3.EnvoyFilter{}
			c.do(w)
			if c.cached != "" {
				cached["a/b"] = filter("a", "b", c.cached)
			}
			w.over(cached, wrote.Add(lagsAtMost-1))
			got := ""
			if f := cached["a/b"]; f != nil {
				got = f.ResourceVersion
			}
			if got != c.want {
				t.Errorf("revision %q counts, want %q", got, c.want)
			}
		})
	}
}

// TestRestored: an API server that was set back has lost what was written. After a
// while the cache counts, however old what it says looks.
func TestRestored(t *testing.T) {
	now := time.Now()
	w := &written{}
	w.wrote(filter("a", "changed", "9"), now)
	w.deleted(filter("a", "deleted", "9"), now)
	cached := map[string]*istiov1alpha3.EnvoyFilter{"a/changed": filter("a", "changed", "5"), "a/deleted": filter("a", "deleted", "5")}
	w.over(cached, now.Add(lagsAtMost))
	for key, f := range map[string]string{"a/changed": "5", "a/deleted": "5"} {
		if cached[key] == nil || cached[key].ResourceVersion != f {
			t.Errorf("%s: %v counts, want what the cache has", key, cached[key])
		}
	}
	if len(w.last) > 0 {
		t.Errorf("it remembers %v", w.last)
	}
}

// TestLinger: clusters that requests may be on their way to stay for a while, and
// never beside others for the same proxies.
func TestLinger(t *testing.T) {
	base := func(namespace, part string, context networkingv1alpha3.EnvoyFilter_PatchContext) *istiov1alpha3.EnvoyFilter {
		f := filter(namespace, "safestate", "1")
		f.Labels = map[string]string{istio.LabelPart: part}
		f.Spec.ConfigPatches = []*networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectPatch{{Match: &networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectMatch{Context: context}}}
		return f
	}
	const gateways, sidecars = networkingv1alpha3.EnvoyFilter_GATEWAY, networkingv1alpha3.EnvoyFilter_SIDECAR_OUTBOUND
	now := time.Now()
	for name, c := range map[string]struct {
		old    *istiov1alpha3.EnvoyFilter
		wanted *istiov1alpha3.EnvoyFilter
		stays  bool
	}{
		"the last one":                       {base("a", istio.PartBase, gateways), nil, true},
		"what is of a route":                 {base("a", istio.PartRoute, gateways), nil, false},
		"another namespace's":                {base("a", istio.PartBase, gateways), base("b", istio.PartBase, gateways), true},
		"for other proxies":                  {base("a", istio.PartBase, gateways), base("a", istio.PartBase, sidecars), true},
		"one takes its place for all":        {base("a", istio.PartBase, gateways), base("root", istio.PartBase, gateways), false},
		"it was for all, and one takes some": {base("root", istio.PartBase, gateways), base("a", istio.PartBase, gateways), false},
		"a route's is none":                  {base("a", istio.PartBase, gateways), base("a", istio.PartRoute, gateways), true},
	} {
		t.Run(name, func(t *testing.T) {
			l := lingering{}
			var wanted []*istiov1alpha3.EnvoyFilter
			if c.wanted != nil {
				wanted = append(wanted, c.wanted)
			}
			for _, after := range []struct {
				time.Duration
				stays bool
			}{{0, c.stays}, {linger - 1, c.stays}, {linger, false}} {
				if got := l.stays(c.old, wanted, "root", now.Add(after.Duration)); got != after.stays {
					t.Errorf("after %s it stays: %v", after.Duration, got)
				}
			}
			l.wants(c.old)
			if got := l.stays(c.old, wanted, "root", now.Add(2*linger)); got != c.stays {
				t.Errorf("wanted in between, it stays: %v", got)
			}
		})
	}
}
