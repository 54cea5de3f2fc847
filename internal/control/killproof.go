package control

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/probe"
)

// killProofs know by which kills the workers of this replica's proxies route: each
// proxy is asked through the listener that callers use, until all connections show
// the set in force. It is asked once it has acknowledged all that the set changes:
// what shows the routes of a worker then shows its clusters too, which it was handed
// before. It is safe for concurrent use.
type killProofs struct {
	xds     *xds.Server
	port    string // of the proxies' listener, where they do not say otherwise
	slots   chan struct{}
	running sync.WaitGroup

	mu      sync.Mutex
	set     string // what they are to show; empty: nothing was ever killed
	version string // of the configuration that brought it
	seen    map[string]shown
	asking  map[string]bool // the proxies that are being asked
	fresh   chan struct{}   // there is something to ask
}

// shown is what a proxy has shown of a set.
type shown struct {
	set string
	probe.Seen
}

func newKillProofs(s *xds.Server, listen string) *killProofs {
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		port = ""
	}
	return &killProofs{
		xds: s, port: port, slots: make(chan struct{}, probesAtOnce),
		seen: map[string]shown{}, asking: map[string]bool{}, fresh: make(chan struct{}, 1),
	}
}

// expect says which kills the proxies are to show, and by which version of the
// configuration they have them.
func (p *killProofs) expect(kills compile.Kills, any bool, version string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	set := ""
	if any {
		set = kills.Enforced
	}
	if set == p.set {
		return
	}
	p.set, p.version = set, version
	select {
	case p.fresh <- struct{}{}:
	default:
	}
}

const (
	// probeAgain is how long it takes until a proxy that did not show the set is
	// asked again, and probeIdle until one that did not for long is.
	probeAgain = 50 * time.Millisecond
	probeIdle  = time.Second
	// probesAtOnce bounds the proxies that are asked at a time.
	probesAtOnce = 32
)

// run asks proxies until ctx ends.
func (p *killProofs) run(ctx context.Context) {
	defer p.running.Wait()
	wait := probeIdle
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-p.fresh:
			wait = probeAgain
		case <-timer.C:
			wait = min(2*wait, probeIdle)
		}
		timer.Stop()
		if p.round(ctx) == 0 {
			wait = probeIdle
		}
	}
}

// round begins to ask every proxy that has not shown the set, and says how many
// these are. It waits for none of them: one that does not answer holds up nobody
// else's proof.
func (p *killProofs) round(ctx context.Context) (left int) {
	p.mu.Lock()
	set, version := p.set, p.version
	p.mu.Unlock()
	if set == "" {
		return 0
	}
	behind := p.behind(version)
	var open []xds.Proxy
	here := map[string]bool{}
	for _, x := range p.xds.Proxies() {
		if x.Processor {
			continue // it has no listener to ask
		}
		here[x.Node] = true
		if !x.Connected || p.of(x.Node, set).Shows(set) {
			continue
		}
		left++
		if !behind[x.Node] {
			open = append(open, x)
		}
	}
	connections := connectionsFor(len(here))
	for i := range open {
		p.ask(ctx, &open[i], set, connections)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.seen, func(node string, _ shown) bool { return !here[node] })
	return left
}

// behind are the proxies that have not acknowledged all of a version.
func (p *killProofs) behind(version string) map[string]bool {
	proof := p.xds.Proof(version)
	if !proof.Known { // a thousand versions ago
		proof = p.xds.Proof(p.xds.Version())
	}
	out := map[string]bool{}
	for _, m := range proof.Missing {
		out[m.Node] = true
	}
	return out
}

// ask begins to ask a proxy, unless it is being asked.
func (p *killProofs) ask(ctx context.Context, x *xds.Proxy, set string, connections int) {
	p.mu.Lock()
	already := p.asking[x.Node]
	p.asking[x.Node] = true
	p.mu.Unlock()
	if already {
		return
	}
	p.slots <- struct{}{}
	p.running.Go(func() {
		defer func() { <-p.slots }()
		seen := probe.Seen{Problem: "it is not known how it is reached"}
		if address := p.address(x); address != "" {
			seen = probe.Ask(ctx, address, connections)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.seen[x.Node] = shown{set, seen}
		delete(p.asking, x.Node)
	})
}

// connectionsFor is how many connections a proxy is asked on: enough to meet all
// workers of one, and not too many for thousands.
func connectionsFor(proxies int) int {
	switch {
	case proxies <= 10:
		return 64
	case proxies <= 50:
		return 32
	case proxies <= 500:
		return 8
	default:
		return 4
	}
}

// of is what a proxy has shown of a set.
func (p *killProofs) of(node, set string) probe.Seen {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.seen[node]; s.set == set {
		return s.Seen
	}
	return probe.Seen{}
}

// address is where a proxy's listener is; empty: nobody knows.
func (p *killProofs) address(x *xds.Proxy) string {
	if p.port == "" {
		return ""
	}
	for _, s := range x.Streams {
		if !s.Connected {
			continue
		}
		host, _, err := net.SplitHostPort(s.Peer)
		if err != nil { // of a Unix socket: it is on this machine
			host = "127.0.0.1"
		}
		return "http://" + net.JoinHostPort(host, p.port)
	}
	return ""
}

// KillProof is what is proven of a target: for every expected proxy that it has
// taken routes and clusters without it, and that its workers show them.
func (c *Control) KillProof(t kill.Target) admin.KillProof {
	now := time.Now().UTC()
	state := c.kills.get(t).state
	rows, set := c.killRows()
	hosts := c.killHosts()
	out := admin.KillProof{State: admin.KillStateOf(state, now), Set: set, At: now}
	for _, said := range c.proofs.otherKills() {
		rows = append(rows, said.rows(set)...)
		said.Hosts.addTo(&hosts, said.Set == set)
	}
	out.Rows = merge(append(rows, hosts.rows(set)...))
	for _, r := range out.Rows {
		out.Expected++
		if r.State == admin.StepProven {
			out.Proven++
		}
	}
	out.Complete = out.Proven == out.Expected
	return out
}

// killRows are this replica's proxies, and the mark of the set that is in force.
func (c *Control) killRows() (rows []admin.KillRow, set string) {
	set = compile.KillsOf(c.kills.set()).Enforced
	c.publishing.Lock()
	version, published := c.rendered.version, c.rendered.kills == c.kills.set()
	c.publishing.Unlock()
	missing := map[string]xds.Missing{}
	proof := c.o.XDS.Proof(version)
	for _, m := range proof.Missing {
		missing[m.Node] = m
	}
	elsewhere := c.proofs.elsewhere()
	for _, x := range c.o.XDS.Proxies() {
		m, behind := missing[x.Node]
		if x.Processor || m.Reason == xds.Unsubscribed || elsewhere[x.Node] && !x.Connected {
			continue // no model is reached through it; or it has moved
		}
		row := admin.KillRow{Node: x.Node, Kind: kindProxy, Replica: c.o.Replica}
		switch seen := c.killProofs.of(x.Node, set); {
		case !published || !proof.Known:
			row.State, row.How = admin.StepPushed, "the configuration is not published yet"
		case behind:
			row.State, row.How = stepOf(m.Reason), strings.TrimPrefix(m.At(time.Now()), x.Node+": ")
		case !x.Connected:
			row.State, row.How = admin.StepSilent, "it has taken the change, and is cut off since "+x.Since.UTC().Format(time.TimeOnly)
			if seen.Shows(set) {
				row.State, row.How = admin.StepProven, howSeen(seen, set)
			}
		case seen.Shows(set):
			row.State, row.How = admin.StepProven, howSeen(seen, set)
		default:
			row.State, row.How = admin.StepAcked, howSeen(seen, set)
		}
		rows = append(rows, row)
	}
	return rows, set
}

func stepOf(r xds.Reason) admin.KillStep {
	switch r {
	case xds.Refused:
		return admin.StepRefused
	case xds.Silent:
		return admin.StepSilent
	default:
		return admin.StepPushed
	}
}

// howSeen says what a proxy showed, or why it did not.
func howSeen(s probe.Seen, set string) string {
	switch {
	case s.Shows(set):
		return fmt.Sprintf("probe: %d of %d connections show it", s.Sets[set], s.Asked)
	case s.Asked == 0 && s.Problem == "":
		return "ACKed; it is being asked"
	case s.Answered == 0:
		return "ACKed; the probe got no answer: " + s.Problem
	default:
		text := fmt.Sprintf("ACKed; probe: %d of %d connections show it", s.Sets[set], s.Asked)
		if s.Problem != "" {
			text += ", " + s.Problem
		}
		return text
	}
}

// merge has one row of each node: of one that two replicas tell of, that of the
// replica which it is connected to.
func merge(rows []admin.KillRow) []admin.KillRow {
	best := map[string]admin.KillRow{}
	for _, r := range rows {
		old, known := best[r.Kind+"/"+r.Node]
		if !known || old.State == admin.StepSilent && r.State != admin.StepSilent {
			best[r.Kind+"/"+r.Node] = r
		}
	}
	return slices.SortedFunc(maps.Values(best), func(x, y admin.KillRow) int {
		return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Node, y.Node))
	})
}

// killStatement is what a replica says of its proxies' kills.
type killStatement struct {
	Replica string          `json:"replica,omitempty"`
	Set     string          `json:"set,omitempty"`
	Rows    []admin.KillRow `json:"rows,omitempty"`
	Proven  int             `json:"proven,omitempty"` // rows that are not named, as they are proven
	More    int             `json:"more,omitempty"`   // rows that are not named, and not proven
	Hosts   killHosts       `json:"hosts,omitzero"`
}

// killStatement is this replica's.
func (c *Control) killStatement() killStatement {
	if c.kills.set().Empty() {
		return killStatement{}
	}
	rows, set := c.killRows()
	said := killStatement{Replica: c.o.Replica, Set: set, Hosts: c.killHosts().short()}
	for _, r := range rows {
		r.How = withoutAge(r)
		switch {
		case len(said.Rows) < mostNamed && r.State != admin.StepProven:
			said.Rows = append(said.Rows, r)
		case r.State == admin.StepProven:
			said.Proven++
		default:
			said.More++
		}
	}
	return said
}

// withoutAge keeps a statement from changing with each second.
func withoutAge(r admin.KillRow) string {
	switch r.State {
	case admin.StepSilent, admin.StepPushed:
		return string(r.State)
	default:
		return r.How
	}
}

// rows are what another replica says, of the set that is in force here.
func (s *killStatement) rows(set string) []admin.KillRow {
	if s.Set != set {
		return []admin.KillRow{{Node: "replica " + s.Replica, Kind: "proxy", Replica: s.Replica, State: admin.StepPushed, How: "it has not published these kills yet"}}
	}
	out := slices.Clone(s.Rows)
	for i := range s.Proven {
		out = append(out, admin.KillRow{
			Node: fmt.Sprintf("(proxy %d of replica %s)", i+1, s.Replica), Kind: "proxy", Replica: s.Replica, State: admin.StepProven, How: "as that replica says",
		})
	}
	if s.More > 0 {
		out = append(out, admin.KillRow{
			Node: fmt.Sprintf("(%d more of replica %s)", s.More, s.Replica), Kind: "proxy", Replica: s.Replica, State: admin.StepPushed, How: "not proven",
		})
	}
	return out
}

// Kills implements admin.Control.
func (a *API) Kills() []kill.State { return a.control.kills.set().All() }

// KillProof implements admin.Control.
func (a *API) KillProof(t kill.Target) admin.KillProof { return a.control.KillProof(t) }

// Kill implements admin.Control.
func (a *API) Kill(ctx context.Context, t kill.Target, o kill.Order) (admin.Killed, error) {
	state, durability, err := a.control.Kill(ctx, t, o)
	if durability == "" {
		return admin.Killed{}, problemOfKill(err)
	}
	return admin.Killed{State: admin.KillStateOf(state, time.Now().UTC()), Durability: string(durability)}, err
}

// Revive implements admin.Control.
func (a *API) Revive(ctx context.Context, t kill.Target, r kill.Request) (kill.State, error) {
	state, err := a.control.Revive(ctx, t, r)
	return state, problemOfKill(err)
}

// Approve implements admin.Control.
func (a *API) Approve(ctx context.Context, t kill.Target, r kill.Request) (kill.State, error) {
	state, err := a.control.Approve(ctx, t, r)
	return state, problemOfKill(err)
}

// scrapeKills tells how many targets are killed, and how many rows of the proof are
// not proven.
func (c *Control) scrapeKills() (killed, unproven float64) {
	set := c.kills.set()
	if set.Empty() {
		return 0, 0
	}
	for _, s := range set.All() {
		if s.Killed {
			killed++
		}
	}
	proof := c.KillProof(kill.Everything) // the rows are those of all targets
	return killed, float64(proof.Expected - proof.Proven)
}
