package control

import (
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/safestate/safestate/envoy/xds"
)

// view is what this replica's ledger said a moment ago: with a thousand models and
// five thousand proxies it is not asked for every model anew.
type view struct {
	until     time.Time
	nodes     []string        // that are connected here
	elsewhere map[string]bool // connected to another replica
	connected map[string]bool // both
	parts     map[string]part // by version
	// complete is the newest configuration that all have, and allHave what they
	// said of it. An older one they have all the more.
	complete uint64
	allHave  part
}

// viewFor is how long a view is good: a configuration that all have, and a new one,
// end it before. One that took long is good for longer, so that to look takes at
// most a tenth of the time.
const viewFor = 100 * time.Millisecond

// look returns the present view. p.mu is held.
func (p *proofs) look() *view {
	begun := time.Now()
	if p.view != nil && begun.Before(p.view.until) {
		return p.view
	}
	v := &view{elsewhere: map[string]bool{}, connected: map[string]bool{}, parts: map[string]part{}}
	for _, said := range p.others {
		for _, node := range said.Connected {
			v.elsewhere[node] = true
		}
	}
	maps.Copy(v.connected, v.elsewhere)
	for _, proxy := range p.xds.Proxies() {
		if proxy.Connected {
			v.nodes = append(v.nodes, proxy.Node)
			v.connected[proxy.Node] = true
		}
	}
	p.view = v
	p.settle(v)
	now := time.Now()
	v.until = now.Add(max(viewFor, 9*now.Sub(begun)))
	return v
}

// renew ends the present view.
func (p *proofs) renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.view = nil
}

// settle finds the newest configuration that all have, and what those after it
// lack.
func (p *proofs) settle(v *view) {
	byNumber := map[uint64]string{}
	for _, c := range p.carried {
		byNumber[c.number] = c.version
	}
	numbers := slices.Sorted(maps.Keys(byNumber))
	n := sort.Search(len(numbers), func(i int) bool {
		return len(v.of(p, byNumber[numbers[i]]).Missing) > 0
	})
	if n > 0 {
		v.complete = numbers[n-1]
		v.allHave = v.of(p, byNumber[v.complete])
	}
	p.between(v, byNumber, numbers[n:])
}

// between asks about configurations one after the other: who lacks an older one
// lacks a newer one too, so that where as many lack the first as the last, they are
// the same for all in between.
func (p *proofs) between(v *view, byNumber map[uint64]string, numbers []uint64) {
	if len(numbers) < 3 {
		return // each is asked about when it matters
	}
	first, last := v.of(p, byNumber[numbers[0]]), v.of(p, byNumber[numbers[len(numbers)-1]])
	if len(first.Missing) == len(last.Missing) {
		for _, number := range numbers[1 : len(numbers)-1] {
			v.parts[byNumber[number]] = last
		}
		return
	}
	half := len(numbers) / 2
	p.between(v, byNumber, numbers[:half+1])
	p.between(v, byNumber, numbers[half:])
}

// own is what this replica's proxies made of a model's weights. p.mu is held.
func (p *proofs) own(model string, c carrier) part {
	if p.mesh != nil {
		return p.meshPart(model, c)
	}
	v := p.look()
	if c.number <= v.complete {
		return v.allHave
	}
	return v.of(p, c.version)
}

// of asks the ledger, once. A configuration of so long ago that the ledger has
// forgotten it is on no proxy that lacks the current one for all that is known. A
// refusal that stands since before it is not its own.
func (v *view) of(p *proofs, version string) part {
	if known, ok := v.parts[version]; ok {
		return known
	}
	now := time.Now()
	found := p.xds.Proof(version)
	if !found.Known {
		found = p.xds.Proof(p.current)
	}
	out := part{Expected: found.Expected, Acked: found.Acked}
	for _, m := range found.Missing {
		if m.Reason == xds.Unsubscribed || m.Reason == xds.Silent && v.elsewhere[m.Node] {
			out.Expected-- // no model is reached through it; or it has moved
			continue
		}
		if m.Reason == xds.Refused && m.Since.Before(p.handed[version]) {
			m.Reason, m.Message = xds.Held, ""
		}
		line := m.At(now)
		out.Missing, out.lines = append(out.Missing, absence{m.Node, m.Reason, m.Message, line}), append(out.lines, line)
	}
	v.parts[version] = out
	return out
}

// elsewhere are the proxies that are connected to another replica.
func (p *proofs) elsewhere() map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.look().elsewhere
}

// otherKills is what the other replicas say of kills, by their names.
func (p *proofs) otherKills() []killStatement {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []killStatement
	for _, replica := range sortedKeys(p.others) {
		said := p.others[replica].Kills
		said.Replica = replica
		out = append(out, said)
	}
	return out
}

// everywhere are the proxies that are connected to any replica.
func (p *proofs) everywhere() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.look().connected))
}
