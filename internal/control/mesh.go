package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/feed"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/signals"
)

// Mesh configures the proxies in the place of XDS, which then tells the processors
// alone. It is safe for concurrent use.
type Mesh interface {
	// Publish hands over what the proxies are to have from now on: releases and kills
	// are in it. sign signs policies; nil: they are not signed. It must not wait.
	Publish(s *compile.Snapshot, sign func(route, namespace, policy string) string, version string)
	// Lead says whether this replica writes what is published: from the moment on that
	// it does not, nothing is written. It must not wait.
	Lead(leads bool)
	// Written tells of a version, or of a later one that has taken its place, which
	// models (namespace/name) are not as it has them where the mesh takes its
	// configuration from, and why, each time that this is another answer. The last
	// answer is that all are; it is the only one where this replica does not lead, since
	// another one writes then. It ends with ctx.
	Written(ctx context.Context, version string) iter.Seq[map[string]error]
}

// meshVersion names a resource that nobody asks for: it gives each configuration of a
// mesh a version of its own.
const meshVersion = "safestate_mesh_version"

// handMesh is hand where a mesh configures the proxies.
func (c *Control) handMesh(w *wanted, how xds.Urgency) (at time.Time, err error) {
	now := time.Now()
	snapshot := w.files.WithReleases(w.releases).WithKills(w.kills, now)
	version, err := hashOf(snapshot)
	if err != nil {
		return at, err
	}
	resources := &envoy.Resources{}
	if resources.Runtimes, err = Runtimes(w.kills, w.keys); err != nil {
		return at, err
	}
	resources.Runtimes = append(resources.Runtimes, feed.Resource(meshVersion, fmt.Sprintf("%s %p", version, w.signer)))
	at = time.Now()
	if err := c.o.XDS.Set(resources, how); err != nil {
		return at, err
	}
	c.rendered = rendered{*w, resources, resources.Version(), rampStep(w.kills, now)}
	c.handed.Store(&handedKeys{c.rendered.version, w.keys})
	c.proofs.meshRoutes.Store(carriedBy(snapshot))
	c.o.Mesh.Publish(snapshot, signedBy(w.signer, c.o.Envoy).Sign, c.rendered.version)
	return at, nil
}

// carried is what a route of a configuration has that requests show.
type carried struct {
	kills   uint64 // their mark; 0: none
	policy  uint64 // the head of its digest
	targets []kill.Target
}

// carriedBy is that of all routes with a policy, by their names.
func carriedBy(s *compile.Snapshot) *map[string]carried {
	out, targets := map[string]carried{}, s.KillTargets()
	for _, r := range s.Judged() {
		out[r.Name] = carried{r.KillMark, policy.DigestHead(r.PolicyJSON), targets[r.Name]}
	}
	return &out
}

// meshProxies are the proxies that are expected to show what holds, and whether their
// requests do. Who has no traffic is not known.
func (p *proofs) meshProxies(seen []signals.Proxy) admin.Proxies {
	out := admin.Proxies{Refused: []string{}, Silent: []string{}, Proxies: []admin.Proxy{}}
	routes := p.meshRoutes.Load()
	if routes == nil {
		return out
	}
	for _, s := range seen {
		wanted, ours := (*routes)[s.Route]
		if !ours {
			continue
		}
		row := admin.Proxy{Node: s.Node, State: admin.ProxyAcked, LastSeen: s.Asked, Replica: p.replica, Connected: true}
		if s.Policy != wanted.policy && s.Policy != 0 {
			row.State, row.Message = admin.ProxyBehind, "its newest requests on "+s.Route+" have an older policy"
		}
		switch n := len(out.Proxies); {
		case n == 0 || out.Proxies[n-1].Node != row.Node:
			out.Proxies = append(out.Proxies, row)
		case row.State != admin.ProxyAcked:
			out.Proxies[n-1] = row
		}
	}
	for i := range out.Proxies {
		out.Expected++
		if out.Proxies[i].State == admin.ProxyAcked {
			out.Acked++
		}
	}
	return out
}

// Shown looks once, for all routes, at what requests show: of how many proxies that had
// requests on a route lately, the newest came by the policy that it is to have.
func (c *Control) Shown() func(route string) (shown, seen int) {
	type count struct{ shown, seen int }
	of := map[string]count{}
	if routes := c.proofs.meshRoutes.Load(); routes != nil {
		for _, p := range c.proofs.meshSeen(nil) {
			n := of[p.Route]
			n.seen++
			if p.Policy == (*routes)[p.Route].policy {
				n.shown++
			}
			of[p.Route] = n
		}
	}
	return func(route string) (shown, seen int) { return of[route].shown, of[route].seen }
}

// lately is for how long a mesh's proxy is expected to show what holds, counted from
// the newest of its requests.
const lately = 10 * time.Minute

// meshKills is what requests show of the kills in force, looked at once.
type meshKills struct {
	routes    map[string]carried
	seen      []signals.Proxy // on routes that a kill concerns
	published bool            // what the routes carry is what is in force
}

func (c *Control) meshKills() meshKills {
	c.publishing.Lock()
	out := meshKills{published: c.rendered.kills == c.kills.set()}
	routes := c.proofs.meshRoutes.Load() // they are of what is published
	c.publishing.Unlock()
	if routes != nil {
		out.routes = *routes
		out.seen = c.proofs.meshSeen(func(route string) bool { return out.routes[route].kills != 0 })
	}
	return out
}

// rows are the proxies of a mesh, as their requests show what they route by: there is
// nobody else to ask, and that the API server or istiod has taken a kill proves nothing
// of a proxy.
func (m *meshKills) rows(replica string) (rows []admin.KillRow) {
	for _, p := range m.seen {
		row := admin.KillRow{Node: p.Node, Kind: kindProxy, Replica: replica, State: admin.StepProven, How: "its requests come by routes that have it"}
		switch {
		case !m.published:
			row.State, row.How = admin.StepPushed, "the configuration is not published yet"
		case p.Kills != m.routes[p.Route].kills:
			row.State = admin.StepPushed
			row.How = fmt.Sprintf("the newest of its requests on %s, at %s, has not shown it", p.Route, p.Asked.UTC().Format(time.TimeOnly))
		}
		if n := len(rows); n == 0 || rows[n-1].Node != row.Node {
			rows = append(rows, row)
		} else if row.State != admin.StepProven {
			rows[n-1] = row
		}
	}
	return rows
}

// heard has the targets of which a proxy had requests lately.
func (m *meshKills) heard() map[kill.Target]bool {
	out, known := map[kill.Target]bool{}, map[string]bool{}
	for _, p := range m.seen {
		if known[p.Route] {
			continue
		}
		known[p.Route] = true
		for _, t := range m.routes[p.Route].targets {
			out[t] = true
		}
	}
	return out
}

// MeshProof is what is proven of all kills that are in force in a mesh, looked at once:
// Heard has the targets that requests of any proxy have met lately. Of the others no
// proxy has shown anything.
func (c *Control) MeshProof() (proof admin.KillProof, heard map[kill.Target]bool) {
	set := compile.KillsOf(c.kills.set()).Enforced
	m := c.meshKills()
	return c.killProofOf(kill.Everything, m.rows(c.o.Replica), set), m.heard()
}

// hashOf tells configurations of a mesh's apart.
func hashOf(s *compile.Snapshot) (string, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("the configuration cannot be handed to the mesh: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), nil
}

// awaitMesh notes which models' weights are written, as a version has them.
func (p *proofs) awaitMesh(ctx context.Context, version string, changed func()) {
	for missing := range p.mesh.Written(ctx, version) {
		now := time.Now()
		p.mu.Lock()
		if ctx.Err() != nil { // by now they are another version's
			p.mu.Unlock()
			return
		}
		p.view, p.noted, p.missing = nil, version, missing
		for model, c := range p.carried {
			p.carried[model] = p.writtenNow(model, c, now)
		}
		p.mu.Unlock()
		changed()
	}
}

// writtenNow notes of a model's weights that they are written, where that is known of
// the current version. p.mu is held.
func (p *proofs) writtenNow(model string, c carrier, now time.Time) carrier {
	if p.mesh != nil && p.noted == p.current && p.missing[model] == nil && c.written.IsZero() {
		c.written = now
	}
	return c
}

// unwritten is the one that a mesh's configuration waits for.
const unwritten = "the API server"

// meshPart is what is known of a model's weights in a mesh: whether they are written.
// What the proxies make of them only their traffic says. p.mu is held.
func (p *proofs) meshPart(model string, c carrier) part {
	if !c.written.IsZero() {
		return part{}
	}
	line := unwritten + ": does not have it yet"
	if err := p.missing[model]; err != nil {
		line += ": " + err.Error()
	}
	return part{Missing: []absence{{unwritten, xds.Sent, "", line}}, lines: []string{line}}
}
