package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/admin"
)

// Whom a proof is to expect is in the list that the store has, and in a copy of it
// on this replica's disk. The copy is for a start while the store is away: it names
// those that are missing. That these are all it does not say.

// proxiesKept is how long a copy of the list is of use: proxies that nobody has seen
// since are more likely scrapped than cut off.
const proxiesKept = 24 * time.Hour

// openRegister expects whom the copy names.
func openRegister(r *register, c *localCopy) (*register, error) {
	r.copy = c
	kept := registered{Seen: r.kept}
	for node, text := range c.all() {
		var at time.Time
		if err := json.Unmarshal(text, &at); err != nil {
			return nil, fmt.Errorf("%s: proxy %q: %w: move it away to start from the store alone", c.path(), node, err)
		}
		if time.Since(at) >= proxiesKept {
			c.drop(node)
			continue
		}
		kept.Seen[node] = at
	}
	kept.resume(time.Now())
	for node, at := range kept.Seen {
		r.expect(node, at)
	}
	return r, nil
}

// remember keeps the copy up to date with the list, and with who is connected: the
// store may be away, and does not have these then.
func (r *register) remember(connected []string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	news := maps.Clone(r.list.Seen)
	for _, node := range connected {
		news[node] = now.UTC().Truncate(time.Second)
	}
	for node, at := range news {
		if old, known := r.kept[node]; !known || at.Sub(old) >= registerEvery {
			r.kept[node] = at
			r.copy.set(node, encoded(at))
		}
	}
	for node, at := range r.kept {
		if now.Sub(at) >= xds.DefaultExpect || r.list.Gone[node].After(at) {
			delete(r.kept, node)
			r.copy.drop(node)
		}
	}
}

// errWhom is why nothing is proven, however many proxies are.
var errWhom = errors.New("which proxies there are is not known: the list of them has not been read from the store since the start")

// knows is why it is not known whom to expect; nil: it is.
func (p *proofs) knows() error {
	p.mu.Lock()
	heard := p.heard
	p.mu.Unlock()
	if !heard || !p.expects() {
		return errWhom
	}
	return nil
}

// whomRows are in the place of the proxies that nobody can name: none, where all can
// be.
func (c *Control) whomRows() []admin.KillRow {
	if err := c.proofs.knows(); err != nil {
		return []admin.KillRow{{Node: "(proxies not known)", Kind: kindProxy, Replica: c.o.Replica, State: admin.StepSilent, How: err.Error()}}
	}
	if more := c.register.more(); more > 0 {
		return []admin.KillRow{{
			Node: "(proxies not listed)", Kind: kindProxy, Replica: c.o.Replica, State: admin.StepSilent,
			How: fmt.Sprintf("the list has no room for %d more: one of these that is cut off, and was at a replica that is gone, is not named", more),
		}}
	}
	return nil
}
