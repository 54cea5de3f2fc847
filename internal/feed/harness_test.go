package feed

import (
	"context"
	"encoding/json"
	"net"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/signing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var fraud, rank = kill.ForModel("default/fraud"), kill.ForModel("default/rank")

// state is a target's, killed or not, at a generation.
func state(t kill.Target, generation uint64, killed bool) kill.State {
	s := kill.State{Target: t, Generation: generation, Killed: killed, Since: time.Unix(int64(generation), 0).UTC()}
	if killed {
		s.Mode = kill.Degrade
	}
	return s
}

func textOfStates(t testing.TB, states ...kill.State) string {
	t.Helper()
	text, err := json.Marshal(kill.NewSet(states...).Enforced())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// plane is a control plane: the real server of xDS on a port of this machine.
type plane struct {
	t       testing.TB
	xds     *xds.Server
	grpc    *grpc.Server
	address string
}

func startPlane(t testing.TB) *plane {
	t.Helper()
	p := &plane{t: t, xds: xds.New(xds.Options{Resend: time.Hour})}
	p.grpc, p.address = serving(t, p.xds.Register)
	t.Cleanup(p.stop)
	return p
}

// stop ends it as a crash does: its connections break.
func (p *plane) stop() {
	p.grpc.Stop()
	p.xds.Close()
}

// asServed is what a control plane allows: pings every ten seconds are not too many.
var asServed = grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 500 * time.Millisecond, PermitWithoutStream: true})

// serving serves on a port of this machine until the test ends.
func serving(t testing.TB, register func(*grpc.Server)) (*grpc.Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(asServed)
	register(g)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	return g, l.Addr().String()
}

// say publishes texts as they stand, and returns the configuration's version.
func (p *plane) say(kills, keys string) string {
	p.t.Helper()
	r := &envoy.Resources{
		Listeners: []*listenerv3.Listener{{Name: "traffic", Address: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/p"}}}}},
		Runtimes:  []*runtimev3.Runtime{Resource(Kills, kills), Resource(PolicyKeys, keys)},
	}
	if err := p.xds.Set(r, xds.AtOnce); err != nil {
		p.t.Fatal(err)
	}
	return r.Version()
}

// kills is say for kills.
func (p *plane) kills(states ...kill.State) string {
	p.t.Helper()
	return p.say(textOfStates(p.t, states...), "")
}

// proof waits until the host's part in a configuration is as it should be.
func (p *plane) proof(version, want string) {
	p.t.Helper()
	until(p.t, want, func() string {
		proof := p.xds.ProcessorProof(version)
		if proof.Complete() && proof.Expected == 1 {
			return "proven"
		}
		for _, m := range proof.Missing {
			return string(m.Reason) + ": " + m.Message
		}
		return "nobody is there"
	})
}

// until waits until something says what is wanted.
func until(t testing.TB, want string, says func() string) {
	t.Helper()
	got := ""
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(2 * time.Millisecond) { // a poll with a bound
		if got = says(); got == want {
			return
		}
	}
	t.Fatalf("got  %s\nwant %s", got, want)
}

// host is a processor that runs apart.
type host struct {
	t        testing.TB
	enforced *Enforced
	keys     signing.Keys
	end      func()

	mu       sync.Mutex
	links    []error
	problems []error
}

// startHost ends with the test, or with end.
func startHost(t testing.TB, dir string, targets ...string) *host {
	t.Helper()
	h := &host{t: t}
	problem := func(err error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.problems = append(h.problems, err)
	}
	var err error
	if h.enforced, err = OpenEnforced(dir, problem); err != nil {
		t.Fatal(err)
	}
	trusted, err := OpenTrusted(dir, &h.keys, "test", problem)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Run(ctx, Options{
			Node: Node("", "one"), Targets: targets, Credentials: insecure.NewCredentials(),
			Take: map[string]func(string) error{Kills: h.enforced.Take, PolicyKeys: trusted.Take},
			OnLink: func(err error) {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.links = append(h.links, err)
			},
		})
	}()
	h.end = sync.OnceFunc(func() {
		cancel()
		<-ended
		h.enforced.Close()
		trusted.Close()
	})
	t.Cleanup(h.end)
	return h
}

// enforces waits until what is in force is what is wanted: of each target that was
// ever killed its generation, with a ! where it is killed.
func (h *host) enforces(want string) {
	h.t.Helper()
	until(h.t, want, func() string { return inForce(h.enforced) })
}

func inForce(e *Enforced) string {
	set, _ := e.Live().Load()
	out := ""
	for _, s := range set.All() {
		out += s.Target.Key() + " " + string(rune('0'+s.Generation))
		if s.Killed {
			out += "!"
		}
		out += ";"
	}
	return out
}

// link waits until the last word on the link is an error that begins so; empty: it
// works.
func (h *host) link(want string) {
	h.t.Helper()
	until(h.t, want, func() string {
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.links) == 0 || h.links[len(h.links)-1] == nil {
			return ""
		}
		return h.links[len(h.links)-1].Error()[:min(len(want), len(h.links[len(h.links)-1].Error()))]
	})
}
