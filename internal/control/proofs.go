package control

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/store"
)

// proofs know what the proxies made of every model's weights: this replica's own
// by its ledger, those of other replicas by what these say. It is safe for
// concurrent use.
type proofs struct {
	replica string
	xds     *xds.Server
	mesh    Mesh // nil: XDS configures the proxies
	// meshRoutes is what the mesh's routes carry, and meshSeen what requests show of
	// it.
	meshRoutes atomic.Pointer[map[string]carried]
	meshSeen   func(of func(route string) bool) []signals.Proxy

	expects func() bool          // whether it is known whom to expect
	kills   func() killStatement // what this replica's proxies show of kills
	// hosts are those that count a version, and since when this replica listens;
	// nil: nobody counts.
	hosts func(signals.Version) ([]signals.Host, time.Time)

	mu      sync.Mutex
	heard   bool // what other replicas say is known
	view    *view
	number  uint64                // of configurations
	ctx     context.Context       //nolint:containedctx // of run: what waits for ACKs ends with it
	changed func()                // of run
	current string                // the version that is published; empty: none
	carried map[string]carrier    // by model
	others  map[string]statement  // by replica
	applied map[string]time.Time  // when a published version was ACKed by all, by version
	handed  map[string]time.Time  // just before a published version was handed to the proxies, by version
	waiting context.CancelFunc    // for the ACKs of current
	asked   map[string]askedTimes // by model
	// Of a mesh: why models' weights are not written, as of the version noted.
	noted   string
	missing map[string]error
}

// carrier is the first configuration that a model's weights were published in.
type carrier struct {
	generation uint64
	weights    map[string]int // two replicas that do not see each other may use one number for two
	number     uint64         // grows with each configuration
	version    string
	at         time.Time
	written    time.Time // of a mesh: when it was known that they are written; zero: it is not
}

// askedTimes are when each version was last asked.
type askedTimes map[string]time.Time

func newProofs(replica string, s *xds.Server) *proofs {
	return &proofs{
		replica: replica, xds: s, expects: func() bool { return true }, kills: func() killStatement { return killStatement{} }, ctx: context.Background(), changed: func() {},
		carried: map[string]carrier{}, others: map[string]statement{}, applied: map[string]time.Time{}, handed: map[string]time.Time{}, asked: map[string]askedTimes{},
	}
}

// run tells the other replicas what this one's proxies made of its configuration,
// and follows what they say, until ctx ends. changed is called when something is
// new.
func (p *proofs) run(ctx context.Context, s store.Store, changed func()) {
	p.mu.Lock()
	p.ctx, p.changed = ctx, changed
	p.mu.Unlock()
	var telling sync.WaitGroup
	telling.Go(func() { s.Register(ctx, replicaKey(p.replica), p.statement) })
	defer telling.Wait()
	for events := range s.Watch(ctx, replicasPrefix) {
		p.hear(events)
		changed()
	}
}

func (p *proofs) hear(events []store.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard, p.view = true, nil
	for i := range events {
		replica := strings.TrimPrefix(events[i].Key, replicasPrefix)
		var said statement
		switch {
		case replica == p.replica:
		case events[i].Deleted, json.Unmarshal(events[i].Value, &said) != nil:
			delete(p.others, replica)
		default:
			p.others[replica] = said
		}
	}
}

// published notes that a configuration was handed to the proxies, from now on.
func (p *proofs) published(version string, states map[string]release.State, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if version != p.current {
		p.number++
	}
	p.view = nil
	for model, s := range states {
		if c := p.carried[model]; c.generation != s.Generation || !maps.Equal(c.weights, s.Weights) {
			p.carried[model] = carrier{generation: s.Generation, weights: s.Weights, number: p.number, version: version, at: now}
		}
	}
	if version == p.current {
		for model, c := range p.carried {
			p.carried[model] = p.writtenNow(model, c, now)
		}
		return
	}
	p.current = version
	p.handed[version] = now
	used := map[string]bool{version: true}
	for _, c := range p.carried {
		used[c.version] = true
	}
	unused := func(v string, _ time.Time) bool { return !used[v] }
	maps.DeleteFunc(p.applied, unused)
	maps.DeleteFunc(p.handed, unused)
	if p.waiting != nil {
		p.waiting()
	}
	ctx, stop := context.WithCancel(p.ctx)
	p.waiting = stop
	go p.await(ctx, version, p.changed)
}

// await notes when all proxies have a version. A later one that is published
// meanwhile proves it too.
func (p *proofs) await(ctx context.Context, version string, changed func()) {
	if !p.xds.Await(ctx, version).Complete() {
		return
	}
	if p.mesh != nil {
		p.awaitMesh(ctx, version, changed)
		return
	}
	now := time.Now()
	p.mu.Lock()
	p.view = nil
	for _, c := range p.carried {
		if _, known := p.applied[c.version]; !known {
			p.applied[c.version] = now
		}
	}
	p.mu.Unlock()
	changed()
}

// see notes when versions were last asked.
func (p *proofs) see(model, version string, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked[model] == nil {
		p.asked[model] = askedTimes{}
	}
	if at.After(p.asked[model][version]) {
		p.asked[model][version] = at
	}
}

// of is the proof of a model's present generation, and a refusal of it where a
// proxy refuses.
func (p *proofs) of(s *release.State) (release.Proof, *release.Refused) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, known := p.carried[s.Model]
	if !known || c.generation != s.Generation || !maps.Equal(c.weights, s.Weights) || !p.heard || !p.expects() {
		return release.Proof{}, nil
	}
	all := p.merged(s.Model, c.generation, p.own(s.Model, c))
	proof := release.Proof{
		Generation: s.Generation, Pushed: c.at, Expected: all.Expected, Acked: all.Acked, Applied: len(all.Missing)+all.More == 0, Mesh: p.mesh != nil,
	}
	if len(p.others) == 0 {
		if proof.AppliedAt = p.applied[c.version]; p.mesh != nil {
			proof.AppliedAt = c.written
		}
	}
	var refused *release.Refused
	if proof.Missing = all.lines; proof.Missing == nil {
		for i := range all.Missing {
			proof.Missing = append(proof.Missing, all.Missing[i].What)
		}
	}
	for _, m := range all.Missing {
		if m.Reason == xds.Refused && refused == nil {
			refused = &release.Refused{Generation: s.Generation, Proxy: m.Node, Message: m.Message}
		}
	}
	if all.More > 0 {
		proof.Missing = append(slices.Clip(proof.Missing), fmt.Sprintf("%d more at other replicas", all.More))
	}
	if s.Withdrawal != nil {
		for _, version := range s.Withdrawal.From {
			if at := p.asked[s.Model][version]; at.After(proof.BadSeen) {
				proof.BadSeen = at
			}
		}
		if s.Withdrawal.Done.IsZero() && p.hosts != nil {
			p.listen(&proof, s, time.Now())
		}
	}
	return proof, refused
}

// A host should report every second: from silentHost on it is named. lostHost after
// its last word, in which one that lives finds a control plane twice, it is not waited
// for any more, and named still: it has died more often than it is cut off, and its
// proxies' ACKs do not depend on it.
const (
	silentHost = 3 * time.Second
	lostHost   = 2 * signals.Settled
)

// listen notes up to when the hosts have told who asked the versions that were
// withdrawn.
func (p *proofs) listen(proof *release.Proof, s *release.State, now time.Time) {
	silent := map[string]time.Time{}
	for _, version := range s.Withdrawal.From {
		hosts, since := p.hosts(signals.Version{Model: s.Model, Name: version})
		if listened := now.Sub(since); listened < signals.Settled {
			// Hosts that report to another replica may not have been handed on yet.
			proof.Heard = proof.Pushed
			proof.Silent = []string{fmt.Sprintf("those that were not heard yet (this replica listens for %s)", listened.Round(time.Second))}
			return
		}
		for _, h := range hosts {
			silence := now.Sub(h.Heard)
			if silence < lostHost && (proof.Heard.IsZero() || h.Heard.Before(proof.Heard)) {
				proof.Heard = h.Heard
			}
			if silence >= silentHost {
				silent[h.Name] = h.Heard
			}
		}
	}
	for _, name := range sortedKeys(silent) {
		proof.Silent = append(proof.Silent, fmt.Sprintf("%s (silent for %s)", name, now.Sub(silent[name]).Round(time.Second)))
	}
}

// proxies is what the status tells of this replica's proxies.
func (p *proofs) proxies() admin.Proxies {
	if p.mesh != nil {
		return p.meshProxies(p.meshSeen(nil))
	}
	p.mu.Lock()
	current, elsewhere := p.current, p.look().elsewhere
	p.mu.Unlock()
	proof := p.xds.Proof(current)
	missing := map[string]xds.Missing{}
	for _, m := range proof.Missing {
		if m.Reason == xds.Silent && elsewhere[m.Node] {
			proof.Expected-- // it has gone to another replica
			continue
		}
		missing[m.Node] = m
	}
	out := admin.Proxies{Expected: proof.Expected, Acked: proof.Acked, Refused: []string{}, Silent: []string{}, Proxies: []admin.Proxy{}}
	for _, x := range p.xds.Proxies() {
		if x.Processor || !x.Connected && elsewhere[x.Node] {
			continue
		}
		proxy := admin.Proxy{
			Node: x.Node, Connected: x.Connected, Since: x.Since, LastSeen: x.LastSeen, Replica: p.replica, State: admin.ProxyAcked, Version: current,
		}
		if m, ok := missing[x.Node]; ok {
			proxy.Version = ""
			switch m.Reason {
			case xds.Refused:
				proxy.State, proxy.Message = admin.ProxyRefused, m.Message
				out.Refused = append(out.Refused, x.Node)
			case xds.Silent:
				proxy.State = admin.ProxySilent
				out.Silent = append(out.Silent, x.Node)
			default:
				proxy.State = admin.ProxyBehind
			}
		}
		if !x.Connected && proxy.State == admin.ProxyAcked {
			proxy.State = admin.ProxySilent
			out.Silent = append(out.Silent, x.Node)
		}
		out.Proxies = append(out.Proxies, proxy)
	}
	return out
}
