package control

import (
	"cmp"
	"slices"
	"time"

	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/admin"
)

// everyProxy is what the status tells of the proxies of all replicas: this one's by
// its ledger, the others' by what these say. seen is when one was last known to be
// connected anywhere.
func (p *proofs) everyProxy(seen func(node string) time.Time) admin.Proxies {
	out := p.proxies()
	p.mu.Lock()
	defer p.mu.Unlock()
	known := map[string]bool{}
	for i := range out.Proxies {
		known[out.Proxies[i].Node] = true
	}
	for _, said := range p.others {
		for _, node := range said.Connected {
			known[node] = true
		}
	}
	for _, replica := range sortedKeys(p.others) {
		said := p.others[replica]
		out = joined(out, replica, &said, known)
	}
	for i := range out.Proxies {
		if x := &out.Proxies[i]; x.LastSeen.IsZero() && !x.Connected {
			x.LastSeen = seen(x.Node)
		}
	}
	slices.SortStableFunc(out.Proxies, func(a, b admin.Proxy) int { return cmp.Compare(a.Node, b.Node) })
	return out
}

// joined adds another replica's proxies. What it says of several configurations is
// taken at its worst. known are those that are listed, or connected somewhere.
func joined(out admin.Proxies, replica string, said *statement, known map[string]bool) admin.Proxies {
	var worst part
	for _, p := range said.Parts {
		if i := len(p.Missing) + p.More; i > len(worst.Missing)+worst.More || worst.Expected == 0 {
			worst = p
		}
	}
	if len(said.Parts) == 0 { // it has only begun
		worst.Expected = len(said.Connected)
	}
	out.Expected += worst.Expected
	out.Acked += worst.Acked
	missing := map[string]absence{}
	for _, m := range worst.Missing {
		missing[m.Node] = m
	}
	for _, node := range said.Connected {
		x := admin.Proxy{Node: node, Connected: true, Replica: replica, State: admin.ProxyAcked}
		switch m, is := missing[node]; {
		case is && m.Reason == xds.Refused:
			x.State, x.Message = admin.ProxyRefused, m.Message
			out.Refused = append(out.Refused, node)
		case is, len(said.Parts) == 0:
			x.State = admin.ProxyBehind
		}
		delete(missing, node)
		out.Proxies = append(out.Proxies, x)
	}
	for _, node := range sortedKeys(missing) {
		m := missing[node]
		switch {
		case m.Reason == xds.Silent && known[node]:
			out.Expected-- // missed once, or it has moved
		case m.Reason == xds.Silent:
			known[node] = true
			out.Silent = append(out.Silent, node)
			out.Proxies = append(out.Proxies, admin.Proxy{Node: node, Replica: replica, State: admin.ProxySilent})
		case m.Reason == xds.Refused: // the list of who is connected was too long
			out.Refused = append(out.Refused, node)
			out.Proxies = append(out.Proxies, admin.Proxy{Node: node, Connected: true, Replica: replica, State: admin.ProxyRefused, Message: m.Message})
		}
	}
	return out
}
