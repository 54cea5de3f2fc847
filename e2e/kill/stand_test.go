package kill

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/safestate/safestate/e2e/clients"
	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/extproc"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/porttest"
	"github.com/safestate/safestate/internal/telemetry"
)

// stand is an Envoy, its control plane and its processor.
type stand struct {
	t       testing.TB
	options envoy.Options
	files   *compile.Snapshot
	change  func(*envoy.Resources) // of what is served; nil: nothing
	control *xds.Server
	states  map[kill.Target]kill.State
	ids     int
	callers int
	version string // of what was published
	http    *dataplane.Client
	grpc    *clients.GRPC
}

// newStand starts all of it. It ends with the test.
func newStand(t testing.TB, files *compile.Snapshot, change func(*envoy.Resources)) *stand {
	t.Helper()
	s := &stand{t: t, files: files, change: change, states: map[kill.Target]kill.State{}, options: envoy.Options{
		NodeID: "envoy", Listen: porttest.Address(t), Admin: porttest.Address(t), XDS: porttest.Address(t), Processor: porttest.Address(t), Answers: porttest.Address(t),
		MessageTimeout: 10 * time.Second, // a processor that is late on a busy machine is not what is tried
	}}
	s.startControl()
	s.startProcessor()
	s.publish()
	b, err := envoy.Bootstrap(s.options)
	if err != nil {
		t.Fatal(err)
	}
	text, err := envoy.YAML(b)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	dataplane.StartEnvoy(t, path, s.options.Admin)
	s.http = dataplane.NewClient(s.options.Listen)
	t.Cleanup(s.http.Close)
	if s.grpc, err = clients.DialGRPC(s.options.Listen); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.grpc.Close)
	s.proven()
	return s
}

// listen takes a port for a server, which ends with the test.
func (s *stand) listen(at string) net.Listener {
	s.t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}

// pings: Envoy sends them more often than gRPC lets a client by itself.
var pings = grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 500 * time.Millisecond, PermitWithoutStream: true})

func (s *stand) startControl() {
	s.t.Helper()
	s.control = xds.New(xds.Options{})
	g := grpc.NewServer(append(xds.ServerOptions(), pings)...)
	s.control.Register(g)
	l := s.listen(s.options.XDS)
	go func() { _ = g.Serve(l) }()
	s.t.Cleanup(func() { g.Stop(); s.control.Close() })
}

func (s *stand) startProcessor() {
	s.t.Helper()
	metrics := telemetry.NewMetrics("test", telemetry.Caps{})
	state, err := extproc.NewState(extproc.StateOptions{Metrics: metrics})
	if err != nil {
		s.t.Fatal(err)
	}
	processor := extproc.New(extproc.Options{Metrics: metrics, Log: telemetry.NopLog(), State: state})
	g := grpc.NewServer(append(extproc.ServerOptions(), pings)...)
	processor.Register(g)
	l := s.listen(s.options.Processor)
	go func() { _ = g.Serve(l) }()

	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	answers := &http.Server{Handler: processor.Upstream(), Protocols: protocols, ReadHeaderTimeout: time.Minute}
	a := s.listen(s.options.Answers)
	go func() { _ = answers.Serve(a) }()
	s.t.Cleanup(func() {
		_ = answers.Close()
		g.Stop()
		processor.Close()
		state.Close()
	})
}

// set is what is killed now.
func (s *stand) set() *kill.Set {
	var states []kill.State
	for _, state := range s.states {
		states = append(states, state)
	}
	return kill.NewSet(states...)
}

func (s *stand) publish() {
	s.t.Helper()
	r, err := envoy.RenderUnchecked(s.files.WithKills(s.set(), time.Now()), s.options)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.change != nil {
		s.change(r)
	}
	s.version = r.Version()
	if err := s.control.Set(r, xds.AtOnce); err != nil {
		s.t.Fatal(err)
	}
}

// kill returns once the proxy shows that it works with the kill.
func (s *stand) kill(target kill.Target, mode kill.Mode) {
	s.t.Helper()
	s.ids++
	s.states[target] = kill.Kill(s.state(target), kill.Order{ID: fmt.Sprint(s.ids), At: time.Now(), By: "a", Reason: "b", Mode: mode})
	s.publish()
	s.proven()
}

func (s *stand) revive(target kill.Target) {
	s.t.Helper()
	before := s.states[target]
	after, err := kill.Revive(before, kill.Request{At: time.Now(), By: "a", Reason: "b", Generation: before.Generation})
	if err != nil {
		s.t.Fatal(err)
	}
	s.states[target] = after
	s.publish()
	s.proven()
}

// proven waits until the proxy has the routes, by what it answers to probes on so
// many new connections that no worker is likely to be missed.
func (s *stand) proven() {
	s.t.Helper()
	mark := compile.KillsOf(s.set())
	want := fmt.Sprintf(`{"killGeneration":%d,"set":%q}`, mark.Generation, mark.Enforced)
	dataplane.Eventually(s.t, soon, "the proxy works with the kills", func() bool {
		for range 64 { // as many as the control plane asks
			if body, err := s.probe(); err != nil || body != want {
				return false
			}
		}
		return true
	})
}

func (s *stand) probe() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.options.Listen+"/", http.NoBody)
	if err != nil {
		return "", err
	}
	r.Host, r.Close = envoy.ProbeDomain, true
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	var body bytes.Buffer
	_, err = io.Copy(&body, resp.Body)
	return body.String(), err
}

func (s *stand) state(target kill.Target) kill.State {
	if state, ok := s.states[target]; ok {
		return state
	}
	return kill.New(target)
}

// endpoints counts those that Envoy knows of a row's versions.
func (s *stand) endpoints(r *row) (n int) {
	s.t.Helper()
	text := dataplane.Get("http://" + s.options.Admin + "/clusters")
	if !strings.Contains(text, "default/"+r.name+"/v1") {
		s.t.Fatal("the cluster is gone")
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "default/"+r.name+"/") && strings.Contains(line, "::cx_active::") {
			n++
		}
	}
	return n
}
