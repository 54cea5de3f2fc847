package signals

import (
	"cmp"
	"slices"
	"time"
)

// Host is a reporter that counts a version.
type Host struct {
	Name string
	// Heard is when it last said what it had counted, by the hub's clock. One that
	// lives does so at least every aliveEvery, whatever it has counted.
	Heard time.Time
	// Kills names the set of kills that it has in force; empty: it does not say.
	// InFlight is how many requests to what that set stops it still has open: none is
	// added while the set is in force.
	Kills    string
	InFlight uint64
	// InProxy: it is a part of a proxy, and kills reach it with the routes.
	InProxy bool
}

// Settled is how long it takes until a hub that began to listen, or a control plane
// that began to lead, has heard of every host that lives: each gives up a control
// plane that is gone, finds another, and is handed on. A reporter inside a proxy that
// has been silent for as long is gone: it cannot end with a word, and begins anew under
// another name. Of a proxy that lives and is cut off the proof of its routes tells.
const Settled = 10 * time.Second

// Hosts returns the reporters that count a version, by name, and since when the hub
// listens. Those that have said that they end are not among them, those that are
// silent are, for a quarter of an hour: what nobody asked a version since a moment
// is known of those only that were heard after it.
func (h *Hub) Hosts(v Version) (hosts []Host, since time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if known := h.versions[v]; known != nil {
		for r := range known.hosts {
			if !r.gone(time.Now()) {
				hosts = append(hosts, r.host())
			}
		}
	}
	slices.SortFunc(hosts, func(a, b Host) int { return cmp.Compare(a.Name, b.Name) })
	return hosts, h.began
}

// Reporting returns the reporters that have not said that they end, by name, and
// since when the hub listens. Those that are silent are among them, for a quarter of
// an hour.
func (h *Hub) Reporting() (hosts []Host, since time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.reporters {
		if !r.gone(time.Now()) {
			hosts = append(hosts, r.host())
		}
	}
	slices.SortFunc(hosts, func(a, b Host) int { return cmp.Compare(a.Name, b.Name) })
	return hosts, h.began
}

func (r *reporter) host() Host {
	return Host{Name: r.name, Heard: r.lastSeen, Kills: r.stopped.set, InFlight: r.stopped.open, InProxy: r.inProxy}
}

func (r *reporter) gone(now time.Time) bool {
	return r.ended || r.inProxy && now.Sub(r.lastSeen) > Settled
}
