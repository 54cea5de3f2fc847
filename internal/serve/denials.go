package serve

import (
	"sync"
	"time"

	"github.com/safestate/safestate/envoy/xds"
)

const (
	// denialsAtOnce is how many proxies that are turned away for one cause are
	// logged each, and denialEvery how often one is after that: a peer can be turned
	// away as often as it likes.
	denialsAtOnce = 10
	denialEvery   = time.Second
)

// denials bounds what is logged of proxies that are turned away, for each cause by
// itself: one proxy with a wrong name must not hide another cause. It is safe for
// concurrent use.
type denials struct {
	mu    sync.Mutex
	rates map[xds.Cause]*denialRate
}

type denialRate struct {
	free   time.Time // when nothing is used up any more
	unsaid uint64
}

// say reports whether one more is to be logged, and how many were not since the
// last one that was.
func (d *denials) say(cause xds.Cause, now time.Time) (unsaid uint64, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.rates == nil {
		d.rates = map[xds.Cause]*denialRate{}
	}
	r := d.rates[cause]
	if r == nil {
		r = &denialRate{}
		d.rates[cause] = r
	}
	if r.free.Before(now) {
		r.free = now
	}
	if r.free.Sub(now) > (denialsAtOnce-1)*denialEvery {
		r.unsaid++
		return 0, false
	}
	r.free = r.free.Add(denialEvery)
	unsaid, r.unsaid = r.unsaid, 0
	return unsaid, true
}
