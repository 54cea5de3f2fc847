package filter

import (
	"math/rand/v2"
	"strconv"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/signals/slot"
	"github.com/safestate/safestate/internal/time"
	"github.com/safestate/safestate/internal/verdict"
	"github.com/safestate/safestate/wasm/proxywasm"
)

const (
	// reportEvery is how often a worker reports while there is something new, and
	// aliveEvery how often at least, once it has had a request.
	reportEvery = 100 * time.Millisecond
	aliveEvery  = time.Second
	// reportWithin is how long a report's answer is waited for, and mostPause the
	// longest pause after reports that got none.
	reportWithin = time.Second
	mostPause    = 5 * time.Second
	// wholeEvery is how often every row is reported that was asked in forgetAfter,
	// changed or not, and mostRows how many there are in one report: it has to stay
	// under 1 MiB.
	wholeEvery  = 10 * time.Second
	forgetAfter = 60 * time.Minute
	mostRows    = 500
	// spell is how long a version must have been without a bad answer for the next
	// one to be told at once.
	spell = time.Second
)

// reporter tells the control plane what the worker's VM has counted, by HTTP calls to
// safestate's own upstream. Counts are cumulative: one that is lost or comes twice
// changes nothing. Without a control plane it costs a call every few seconds.
type reporter struct {
	plugin   *plugin
	node     string // the proxy
	name     string // of the VM: unique
	epoch    time.Time
	sequence uint64
	rows     []*row

	dirty, urgent bool
	waiting       []*row // rows of the report whose answer is waited for; nil: none is
	whole         time.Time
	sent          time.Time
	pause         time.Duration
	refused       bool // the last report was, and it has been logged
}

func (r *reporter) begin(p *plugin) {
	node, _ := proxywasm.GetProperty(propertyNode) // a proxy without a name reports without
	r.plugin, r.node, r.epoch = p, slot.Name(string(node)), time.Now()
	r.name = r.node + "/wasm-" + strconv.FormatUint(rand.Uint64(), 36) //nolint:gosec // a name, no secret
	r.pause = reportEvery
}

// row returns the counts of a version on a route, the same each time.
func (r *reporter) row(route, model, version string) *row {
	route, model, version = slot.Name(route), slot.Name(model), slot.Name(version)
	for _, w := range r.rows {
		if w.route == route && w.model == model && w.version == version {
			return w
		}
	}
	w := &row{reporter: r, route: route, model: model, version: version, since: time.Now(), detectors: make([]uint64, len(verdict.Detectors))}
	r.rows = append(r.rows, w)
	return w
}

// forget drops the rows that nobody has asked for long. Who still holds one counts
// into nothing.
func (r *reporter) forget(now time.Time) {
	kept := r.rows[:0]
	for _, w := range r.rows {
		if now.Sub(w.since) < forgetAfter || !w.lastAsked.IsZero() && now.Sub(w.lastAsked) < forgetAfter {
			kept = append(kept, w)
		}
	}
	clear(r.rows[len(kept):])
	r.rows = kept
}

// hurry has a row that turned bad told with the next tick.
func (r *reporter) hurry(w *row) {
	if w.turned {
		w.turned, r.urgent = false, true
	}
}

// tick sends what is new.
func (r *reporter) tick(now time.Time) {
	since := now.Sub(r.sent)
	if r.sequence > 0 && now.Sub(r.whole) >= wholeEvery {
		r.whole = now
		for _, w := range r.rows {
			w.changed = w.changed || !w.lastAsked.IsZero() && now.Sub(w.lastAsked) < forgetAfter
		}
	}
	switch {
	case r.waiting != nil || r.plugin.settings.Answers == "" || r.sequence == 0 && !r.dirty:
		return
	case r.urgent && r.pause == reportEvery, r.dirty && since >= r.pause, since >= max(aliveEvery, r.pause):
		r.send(now)
	}
}

func (r *reporter) send(now time.Time) {
	r.sent = now
	body, rows := r.report(now)
	headers := [][2]string{
		{":method", "POST"}, {":path", "/"}, {":authority", "safestate"}, {"content-type", "application/x-protobuf"}, {policy.HeaderReport, "1"},
	}
	_, err := proxywasm.DispatchHttpCall(r.plugin.settings.Answers, headers, body, nil, uint32(reportWithin/time.Millisecond), r.answered)
	if err != nil {
		r.failed(rows)
		return
	}
	r.waiting, r.urgent = rows, false
	r.dirty = len(rows) == mostRows // there may be more
}

func (r *reporter) answered(_, bodySize, _ int) {
	rows := r.waiting
	r.waiting = nil
	list, err := proxywasm.GetHttpCallResponseHeaders()
	status := headers(list).status()
	if err == nil && status >= 200 && status <= 299 {
		r.pause, r.refused = reportEvery, false
		return
	}
	if status >= 400 && status < 500 && !r.refused {
		r.refused = true
		why, _ := proxywasm.GetHttpCallResponseBody(0, min(bodySize, 300)) // it may say nothing
		proxywasm.LogWarn("safestate: reports of this worker are refused, and its answers are no evidence of versions: " + string(why))
	}
	r.failed(rows)
}

// failed waits longer, and not as long as the other workers do.
func (r *reporter) failed(rows []*row) {
	for _, w := range rows {
		w.changed = true
	}
	r.dirty = true
	r.pause = min(2*r.pause, mostPause)
	r.pause += time.Duration(rand.Int64N(int64(r.pause / 4))) //nolint:gosec // spreads load
}
