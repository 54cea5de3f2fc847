package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/probe"
)

// killProofs know by which kills the workers of this replica's proxies route: each
// proxy is asked through the listener that callers use, until all connections show
// the set in force. It is asked once it has acknowledged all that the set changes:
// what shows the routes of a worker then shows its clusters too, which it was handed
// before. It is safe for concurrent use.
type killProofs struct {
	xds     *xds.Server
	port    string        // of the proxies' listener, where they do not say otherwise; empty: not known
	turns   chan struct{} // to ask
	later   chan struct{} // those of proxies that gave no answer the last time
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
		xds: s, port: port, turns: make(chan struct{}, probesAtOnce), later: make(chan struct{}, triesAtOnce),
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
	p.again()
}

// again has a round begin at once.
func (p *killProofs) again() {
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
	// probesAtOnce bounds the proxies that are asked at a time, and triesAtOnce those
	// beside them that gave no answer the last time.
	probesAtOnce = 128
	triesAtOnce  = 32
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

// ask begins to ask a proxy, unless it is being asked. It waits for its turn on its
// own, among those that gave no answer the last time where that is so: however many
// these are, they hold up nobody else's proof.
func (p *killProofs) ask(ctx context.Context, x *xds.Proxy, set string, connections int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asking[x.Node] {
		return
	}
	p.asking[x.Node] = true
	turns := p.turns
	if last := p.seen[x.Node]; last.Problem != "" && last.Answered == 0 {
		turns = p.later
	}
	p.running.Go(func() {
		select {
		case <-ctx.Done():
		case turns <- struct{}{}:
			p.asked(ctx, x, set, connections)
			<-turns
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.asking, x.Node)
	})
}

// asked asks a proxy, unless another set is in force by now.
func (p *killProofs) asked(ctx context.Context, x *xds.Proxy, set string, connections int) {
	p.mu.Lock()
	now := p.set
	p.mu.Unlock()
	if now != set {
		p.again()
		return
	}
	var seen probe.Seen
	at, err := p.addresses(x)
	if err != nil {
		seen.Problem = err.Error()
	}
	for _, address := range at {
		if seen = seen.And(probe.Ask(ctx, address, x.Node, connections)); seen.Problem != "" {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[x.Node] = shown{set, seen}
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

// addresses are where the proxies of a node id are asked: several may have one, and of
// each a stream is open, or was and did not come back. Two that cannot be told apart
// are an error: one of them may never be asked.
func (p *killProofs) addresses(x *xds.Proxy) ([]string, error) {
	type asks struct{ typeURL, address string }
	streams := map[asks]int{}
	var out []string
	for i := range x.Streams {
		s := &x.Streams[i]
		address := p.address(s)
		if address == "" {
			return nil, errors.New("it is not known how it is reached")
		}
		if !slices.Contains(out, address) {
			out = append(out, address)
		}
		for _, of := range s.Types {
			if once := of.TypeURL == resourcev3.ClusterType || of.TypeURL == resourcev3.ListenerType; !once {
				continue // one proxy may ask for routes as often as it has listeners
			}
			if streams[asks{of.TypeURL, address}]++; streams[asks{of.TypeURL, address}] > 1 {
				return nil, fmt.Errorf("several proxies have this node id, and one address, %s: give each a node id of its own", address)
			}
		}
	}
	return out, nil
}

// address is where the proxy of a stream is asked: where it says, or else where it
// comes from, at the port of the listener; empty: nobody knows.
func (p *killProofs) address(s *xds.Stream) string {
	if s.Probe != "" || p.port == "" {
		return s.Probe
	}
	host, _, err := net.SplitHostPort(s.Peer)
	if err != nil { // of a Unix socket: it is on this machine
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, p.port)
}
