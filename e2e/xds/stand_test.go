package xds

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/porttest"
)

// soon is far beyond what anything here takes on a busy machine.
const soon = 30 * time.Second

// versionHeader says which version answered.
const versionHeader = "X-Version"

// address is a loopback address for one use.

// options are addresses for a data plane. Nobody is at the processor's and the
// ladder's: no route here asks them.
func options(t testing.TB) envoy.Options {
	t.Helper()
	return envoy.Options{
		NodeID: "envoy", Listen: porttest.Address(t), Admin: porttest.Address(t), XDS: porttest.Address(t), Processor: porttest.Address(t), Answers: porttest.Address(t),
		AccessLog: filepath.Join(t.TempDir(), "access.log"),
	}
}

// control is a control plane: the server of this repository on a port.
type control struct {
	*xds.Server
	grpc *grpc.Server
}

// startControl serves at an address, also again where another did.
func startControl(t testing.TB, at string, o xds.Options) *control {
	t.Helper()
	var l net.Listener
	dataplane.Eventually(t, soon, "the control plane's port is free", func() (free bool) {
		var err error
		l, err = net.Listen("tcp", at)
		return err == nil
	})
	// Envoy pings, and more often than gRPC lets a client by itself.
	pings := grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 500 * time.Millisecond, PermitWithoutStream: true})
	c := &control{Server: xds.New(o), grpc: grpc.NewServer(append(xds.ServerOptions(), pings)...)}
	c.Register(c.grpc)
	go func() { _ = c.grpc.Serve(l) }()
	t.Cleanup(c.kill)
	return c
}

// kill breaks every connection, as a process that dies does.
func (c *control) kill() {
	c.grpc.Stop()
	c.Close()
}

func (c *control) set(t testing.TB, r *envoy.Resources) {
	t.Helper()
	if err := c.Set(r, xds.AtOnce); err != nil {
		t.Fatal(err)
	}
}

// model is a version of the model: it answers with its name. It ends with the
// test.
func model(t testing.TB, version string) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(versionHeader, version)
	})}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

// proxy is a real Envoy.
type proxy struct {
	options envoy.Options
	process *dataplane.Process
}

// startEnvoy starts one that fetches everything from the control plane.
func startEnvoy(t testing.TB, o envoy.Options) *proxy {
	t.Helper()
	b, err := envoy.Bootstrap(o)
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
	return &proxy{options: o, process: dataplane.StartEnvoy(t, path, o.Admin)}
}

// ready waits until requests reach a model.
func (p *proxy) ready(t testing.TB) {
	t.Helper()
	c := dataplane.NewClient(p.options.Listen)
	defer c.Close()
	dataplane.Eventually(t, soon, "requests reach a model through "+p.options.NodeID, func() bool {
		a := c.Do(dataplane.Request{Path: modelPath})
		return a.Err == nil && a.Status == http.StatusOK && a.Header.Get(versionHeader) != ""
	})
}

// admin reads a page of Envoy's admin interface.
func (p *proxy) admin(t testing.TB, path string) string {
	t.Helper()
	var text string
	dataplane.Eventually(t, soon, "Envoy's admin interface answers", func() bool {
		text = dataplane.Get("http://" + p.options.Admin + path)
		return text != ""
	})
	return text
}

// clusters are those of the model that Envoy knows, in order.
func (p *proxy) clusters(t testing.TB) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(p.admin(t, "/clusters")) {
		name, _, ok := strings.Cut(line, "::")
		if ok && strings.HasPrefix(name, clusterOf("")) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// reloads is how often Envoy has taken routes; 0 where it has asked for none yet.
func (p *proxy) reloads(t testing.TB) (n int) {
	t.Helper()
	return p.counter(t, "http.safestate.rds.safestate.config_reload")
}

// counter is one of Envoy's; 0 where there is none yet.
func (p *proxy) counter(t testing.TB, name string) (n int) {
	t.Helper()
	for line := range strings.Lines(p.admin(t, "/stats?filter=^("+name+"|server.live)$")) { // one is always there
		value, found := strings.CutPrefix(line, name+": ")
		if !found {
			continue
		}
		if _, err := fmt.Sscan(value, &n); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// noMissingCluster fails the test if a request met a route without its cluster.
func (p *proxy) noMissingCluster(t testing.TB) {
	t.Helper()
	text, err := os.ReadFile(p.options.AccessLog)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "cluster_not_found") || strings.Contains(line, `"flags":"NC`) || strings.Contains(line, "no_healthy_upstream") {
			t.Errorf("a request met a route without its cluster: %s", line)
			return
		}
	}
}
