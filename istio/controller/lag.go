package controller

import (
	"maps"
	"strconv"
	"sync"
	"time"

	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
)

// written are the EnvoyFilters as the API server had them after our last write. The
// cache hears of a write later, after an outage much later: by what it says until then
// one that was changed to and fro would be left as it should not be. After an outage,
// of which a watch notices soon, the cache may have to go back too: an API server that
// was restored has lost our write. So that counts for a while alone.
type written struct {
	mu   sync.Mutex
	last map[string]write // by namespace/name
}

// write is what a write of ours has left.
type write struct {
	filter   *istiov1alpha3.EnvoyFilter // nil: it is gone
	revision uint64                     // of it; or at which it was deleted
	at       time.Time
}

// lagsAtMost is how long a watch may lag behind while what was written counts.
const lagsAtMost = time.Minute

// revisionOf is an object's revision as a number (KEP-5504); 0: it is none.
func revisionOf(version string) uint64 {
	n, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (w *written) wrote(f *istiov1alpha3.EnvoyFilter, now time.Time) {
	w.note(f, write{f, revisionOf(f.ResourceVersion), now})
}

// deleted notes that f, or a later revision of it, is gone.
func (w *written) deleted(f *istiov1alpha3.EnvoyFilter, now time.Time) {
	w.note(f, write{nil, revisionOf(f.ResourceVersion), now})
}

func (w *written) note(f *istiov1alpha3.EnvoyFilter, last write) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last == nil {
		w.last = map[string]write{}
	}
	w.last[f.Namespace+"/"+f.Name] = last
}

// over puts into what the cache has what was written since, as far as that counts.
func (w *written) over(cached map[string]*istiov1alpha3.EnvoyFilter, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.last, func(_ string, last write) bool { return now.Sub(last.at) >= lagsAtMost })
	for key, f := range cached {
		last, at := w.last[key], revisionOf(f.ResourceVersion)
		switch {
		case last.filter != nil && last.revision > at:
			cached[key] = last.filter
		case last.filter == nil && last.revision >= at && at > 0:
			delete(cached, key)
		default: // the cache knows better by now
			delete(w.last, key)
		}
	}
}
