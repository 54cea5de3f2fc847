package xds

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/porttest"
)

const soon = time.Minute

// ways are how an Envoy can fetch from us.
var ways = map[string]struct {
	bootstrap func(envoy.Options) (*bootstrapv3.Bootstrap, error)
	whole     bool // state-of-the-world
}{
	"everything by delta":             {envoy.Bootstrap, false},
	"everything by whole states":      {envoy.Bootstrap, true},
	"routes and clusters, by delta":   {fragment(false), false},
	"routes and clusters, by wholes":  {fragment(false), true},
	"routes and clusters on a stream": {fragment(true), true},
}

func fragment(ads bool) func(envoy.Options) (*bootstrapv3.Bootstrap, error) {
	return func(o envoy.Options) (*bootstrapv3.Bootstrap, error) { return envoy.Fragment(nil, o, ads) }
}

// TestEnvoy: a real one takes what is published without dropping a request, is
// proven to have it, keeps the last good configuration where it refuses one, is
// not sent that again, and goes on when the control plane is gone.
func TestEnvoy(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			o := envoy.Options{NodeID: "edge", Listen: porttest.Address(t), Admin: porttest.Address(t), XDS: porttest.Address(t), Processor: porttest.Address(t), Answers: porttest.Address(t)}
			j := &journal{}
			s := New(Options{Linger: 2 * time.Second, Resend: time.Hour, Observer: j})
			serve(t, s, o.XDS)
			v1, v2 := version(t, "v1"), version(t, "v2")
			set := func(r *envoy.Resources) string {
				t.Helper()
				if err := s.Set(r, AtOnce); err != nil {
					t.Fatal(err)
				}
				return r.Version()
			}
			first := set(rendered(t, o, v1))
			b, err := way.bootstrap(o)
			if err != nil {
				t.Fatal(err)
			}
			startEnvoy(t, b, way.whole, o)
			client := dataplane.NewClient(o.Listen)
			defer client.Close()
			dataplane.Eventually(t, soon, "the first answer", func() bool { return answeredBy(client) == "v1" })
			proven(t, s, first)

			bad := load(t, o.Listen, func() {
				for i := range 10 {
					if i%2 == 0 {
						proven(t, s, set(rendered(t, o, v2, v1)))
					} else {
						proven(t, s, set(rendered(t, o, v1))) // v2 leaves altogether
					}
				}
				proven(t, s, set(rendered(t, o, v2)))
				dataplane.Eventually(t, soon, "v1 leaves", func() bool {
					return !strings.Contains(dataplane.Get("http://"+o.Admin+"/clusters"), v1.Name)
				})
			})
			if bad != "" {
				t.Error(bad)
			}
			if got := answeredBy(client); got != "v2" {
				t.Errorf("got an answer of %s", got)
			}

			version := set(broken(rendered(t, o, v2)))
			dataplane.Eventually(t, soon, "the refusal", func() bool { return len(j.refusals()) > 0 })
			if p := s.Proof(version); len(p.Missing) != 1 || p.Missing[0].Reason != Refused || !strings.Contains(p.Missing[0].Message, "missing )") {
				t.Errorf("got %+v", p)
			}
			for range 50 {
				if got := answeredBy(client); got != "v2" {
					t.Fatalf("got an answer of %q", got)
				}
			}
			proven(t, s, set(rendered(t, o, v1, v2)))
			if got := j.refusals(); len(got) != 1 {
				t.Errorf("it was sent %d times", len(got))
			}

			s.Close()
			for range 20 {
				if got := answeredBy(client); got != "v1" {
					t.Fatalf("without a control plane: got an answer of %q", got)
				}
			}
		})
	}
}

// proven waits until the one Envoy there is has accepted a version.
func proven(t *testing.T, s *Server, version string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if p := s.Await(ctx, version); !p.Complete() || p.Expected != 1 {
		t.Fatalf("got %+v", p)
	}
}

// load asks all the time while f runs, and says what went wrong.
func load(t *testing.T, addr string, f func()) string {
	t.Helper()
	var sent atomic.Int64
	var failed atomic.Pointer[string]
	stop := make(chan struct{})
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() {
			c := dataplane.NewClient(addr)
			defer c.Close()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if a := c.Do(dataplane.Request{Path: "/score"}); a.Err != nil || a.Status != http.StatusOK {
					text := fmt.Sprintf("a request failed: %v %d %s", a.Err, a.Status, a.Body)
					failed.CompareAndSwap(nil, &text)
				}
				sent.Add(1)
			}
		})
	}
	f()
	close(stop)
	running.Wait()
	if text := failed.Load(); text != nil {
		return *text
	}
	if sent.Load() < 20 {
		return "there was no load"
	}
	return ""
}

func answeredBy(c *dataplane.Client) string {
	return c.Do(dataplane.Request{Path: "/score"}).Header.Get("X-Version")
}

// broken has a route that Envoy's API allows and only Envoy itself compiles.
func broken(r *envoy.Resources) *envoy.Resources {
	out := *r
	routes := proto.Clone(r.Routes[0]).(*routev3.RouteConfiguration)
	routes.VirtualHosts[0].Routes[0].Match.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "("}}
	out.Routes = []*routev3.RouteConfiguration{routes}
	return &out
}

// rendered is a route without a policy, to the first version alone.
func rendered(t *testing.T, o envoy.Options, versions ...compile.Cluster) *envoy.Resources {
	t.Helper()
	r := compile.Route{Name: "default/score/all", Namespace: "default"}
	for i, v := range versions {
		r.Backends = append(r.Backends, compile.Backend{Cluster: v.Name})
		if i == 0 {
			r.Backends[0].Weight = 100
		}
	}
	out, err := envoy.Render(&compile.Snapshot{
		Hosts:    []compile.Host{{Domain: "*", Entries: []compile.Entry{{Match: compile.Match{PathType: compile.PathPrefix, Path: "/"}}}}},
		Routes:   []compile.Route{r},
		Clusters: versions,
	}, o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// version runs a model that answers with its name.
func version(t *testing.T, name string) compile.Cluster {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Version", name)
	})}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return compile.Cluster{
		Name: "default/score/" + name, Namespace: "default", Model: "score", Version: name, ConnectTimeout: 10 * time.Second,
		Endpoints: []policy.Endpoint{{Address: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}},
	}
}

func serve(t *testing.T, s *Server, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	pings := grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 500 * time.Millisecond, PermitWithoutStream: true})
	g := grpc.NewServer(append(ServerOptions(), pings)...)
	s.Register(g)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(func() { s.Close(); g.Stop() })
}

func startEnvoy(t *testing.T, b *bootstrapv3.Bootstrap, whole bool, o envoy.Options) {
	t.Helper()
	text, err := envoy.YAML(b)
	if err != nil {
		t.Fatal(err)
	}
	if whole {
		text = []byte(strings.ReplaceAll(string(text), "DELTA_GRPC", "GRPC"))
	}
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	dataplane.StartEnvoy(t, file, o.Admin)
}
