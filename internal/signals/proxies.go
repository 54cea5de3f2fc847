package signals

import (
	"cmp"
	"slices"
	"time"
)

// Proxy is a proxy as its requests on one route show it.
type Proxy struct {
	Node  string
	Route string // namespace/route/rule
	// Policy and Kills are what the newest of its requests had, where a host told of it:
	// the head of the policy's digest, and the mark of the kills, 0: none. Policy is 0
	// where no host tells.
	Policy, Kills uint64
	// Asked is when the newest of its requests came that a host has told of, by the hub's
	// clock.
	Asked time.Time
}

// shown is what one row has of a proxy.
type shown struct {
	node, route   string
	policy, kills uint64
	asked         time.Time // when the newest request came
}

// Proxies returns what every proxy showed on every route on which it had requests after
// a moment: by node and route. of chooses routes, under the hub's lock: it must not
// wait, nor call the hub; nil: all.
func (h *Hub) Proxies(after time.Time, of func(route string) bool) []Proxy {
	rows := h.shown(after, of)
	slices.SortFunc(rows, func(a, b shown) int { return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(a.route, b.route)) })
	var out []Proxy
	var newest time.Time
	for i := range rows {
		r := &rows[i]
		if n := len(out); n == 0 || out[n-1].Node != r.node || out[n-1].Route != r.route {
			out = append(out, Proxy{Node: r.node, Route: r.route})
			newest = time.Time{}
		}
		p := &out[len(out)-1]
		p.Asked = later(p.Asked, r.asked)
		if r.policy != 0 && !r.asked.Before(newest) {
			p.Policy, p.Kills, newest = r.policy, r.kills, r.asked
		}
	}
	return out
}

// shown copies the rows, so that nothing but that is done while reports wait.
func (h *Hub) shown(after time.Time, of func(route string) bool) []shown {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []shown
	for _, r := range h.reporters {
		for name, row := range r.rows {
			if !row.received.After(after) || of != nil && !of(name.route) {
				continue
			}
			newest := row.times.marked
			if row.times.policy == 0 { // of a host that does not tell
				newest = row.times.lastAsked
			}
			if asked := at(newest, row.sent, row.received); asked.After(after) {
				out = append(out, shown{name.node, name.route, row.times.policy, row.times.kills, asked})
			}
		}
	}
	return out
}
