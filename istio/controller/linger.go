package controller

import (
	"time"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"

	"github.com/safestate/safestate/istio"
)

// linger is for how long proxies keep our clusters and filters when the last of their
// routes has lost its policy: as long as a stream may be open by default. What is on
// its way to the processor would break without them, and what new requests meet of
// them is off.
const linger = 10 * time.Minute

// lingering are the EnvoyFilters that are kept for that, by namespace/name, and since
// when. The writer's rounds alone use it.
type lingering map[string]time.Time

// stays reports whether an EnvoyFilter that is wanted no more stays for now: not beside
// another one that is for the same proxies, which would have everything twice.
func (l lingering) stays(old *istiov1alpha3.EnvoyFilter, wanted []*istiov1alpha3.EnvoyFilter, root string, now time.Time) bool {
	if old.Labels[istio.LabelPart] != istio.PartBase {
		return false
	}
	for _, f := range wanted {
		near := f.Namespace == old.Namespace || f.Namespace == root || old.Namespace == root
		if f.Labels[istio.LabelPart] == istio.PartBase && near && contextOf(f) == contextOf(old) {
			return false
		}
	}
	key := old.Namespace + "/" + old.Name
	since, there := l[key]
	if !there {
		since = now
		l[key] = now
	}
	return now.Sub(since) < linger
}

// wants forgets what is wanted again.
func (l lingering) wants(f *istiov1alpha3.EnvoyFilter) { delete(l, f.Namespace+"/"+f.Name) }

// contextOf is which proxies of its namespace an EnvoyFilter of ours is for.
func contextOf(f *istiov1alpha3.EnvoyFilter) networkingv1alpha3.EnvoyFilter_PatchContext {
	for _, p := range f.Spec.ConfigPatches {
		return p.GetMatch().GetContext()
	}
	return networkingv1alpha3.EnvoyFilter_ANY
}
