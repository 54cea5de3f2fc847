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
}

// Settled is how long it takes until a hub that began to listen, or a control plane
// that began to lead, has heard of every host that lives: each gives up a control
// plane that is gone, finds another, and is handed on.
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
			if !r.ended {
				hosts = append(hosts, Host{r.name, r.lastSeen})
			}
		}
	}
	slices.SortFunc(hosts, func(a, b Host) int { return cmp.Compare(a.Name, b.Name) })
	return hosts, h.began
}
