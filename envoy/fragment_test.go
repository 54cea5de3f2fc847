package envoy

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	clusterservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	routeservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/porttest"
)

func fragment(t *testing.T, s *compile.Snapshot, o Options, ads bool) *bootstrapv3.Bootstrap {
	t.Helper()
	b, err := Fragment(s, o, ads)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestEnvoyValidatesFragments: as they stand.
func TestEnvoyValidatesFragments(t *testing.T) {
	grpc := grpcSnapshot(t, grpcPolicy(byMessage), version("v1", "127.0.0.1:9101"))
	validated(t, "alone", fragment(t, nil, Options{}, false))
	validated(t, "ads", fragment(t, nil, Options{}, true))
	validated(t, "of a configuration", fragment(t, everything(t), Options{}, false))
	validated(t, "of one with gRPC", fragment(t, grpc, Options{}, false))
}

// TestFragmentFile: the file is what is printed, and Envoy reads it as it was
// rendered, comments and all.
func TestFragmentFile(t *testing.T) {
	b := fragment(t, nil, Options{}, false)
	text, err := FragmentYAML(b)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join("..", "bootstrap", "own.yaml"), text)
	if read := bootstrapIn(t, text); !proto.Equal(read, b) {
		t.Error("it reads differently")
	}
	inside, err := FragmentYAML(fragment(t, nil, Options{WASM: "/etc/safestate.wasm"}, false))
	if err != nil {
		t.Fatal(err)
	}
	bootstrapIn(t, inside)
	for _, c := range fragmentComments {
		if !strings.Contains(string(inside), "# "+strings.Split(c.text, "\n")[0]) && c.line != "bootstrap_extensions:" {
			t.Errorf("no line begins with %s", c.line)
		}
	}
}

func bootstrapIn(t *testing.T, text []byte) *bootstrapv3.Bootstrap {
	t.Helper()
	j, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	out := &bootstrapv3.Bootstrap{}
	if err := protojson.Unmarshal(j, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestFragmentForms: the listener knows every form of a default that the
// configuration has, beside the usual ones.
func TestFragmentForms(t *testing.T) {
	teapot := enforced(func(p *policy.Policy) { p.Ladder[0].SafeDefault.Status = 418 })
	usual, more := formsIn(fragment(t, nil, Options{}, false)), formsIn(fragment(t, snapshot(t, teapot, version("v1", "127.0.0.1:9101")), Options{}, false))
	if strings.Contains(usual, "418") || !strings.Contains(more, "418") || !strings.HasPrefix(more, usual) {
		t.Errorf("got %s, and for a configuration %s", usual, more)
	}
}

// formsIn lists the statuses of a fragment's local replies.
func formsIn(b *bootstrapv3.Bootstrap) string {
	text, err := YAML(b)
	if err != nil {
		return err.Error()
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "status_code: "); ok && (len(out) == 0 || out[len(out)-1] != rest) {
			out = append(out, rest)
		}
	}
	return strings.Join(out, " ")
}

// ownServer serves RDS and CDS, each as a service of its own and no other.
func ownServer(t *testing.T, addr string) cachev3.SnapshotCache {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	cache := cachev3.NewSnapshotCache(false, nodeless{}, nil)
	ctx, stop := context.WithCancel(context.Background())
	xds, s := serverv3.NewServer(ctx, cache, nil), grpc.NewServer()
	routeservicev3.RegisterRouteDiscoveryServiceServer(s, xds)
	clusterservicev3.RegisterClusterDiscoveryServiceServer(s, xds)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { stop(); s.Stop() })
	return cache
}

func serveOwn(t *testing.T, cache cachev3.SnapshotCache, r *Resources) {
	t.Helper()
	snapshot, err := cachev3.NewSnapshot(r.Version(), map[string][]types.Resource{
		resourcev3.ClusterType: typed(r.Clusters), resourcev3.RouteType: typed(r.Routes),
	})
	if err == nil {
		err = cache.SetSnapshot(t.Context(), "", snapshot)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// nodeless gives all proxies the same.
type nodeless struct{}

func (nodeless) ID(*corev3.Node) string { return "" }

// TestOwnEnvoy: an Envoy with a listener of its own, which takes routes and
// clusters from here, has the same answers: the model's, by the weights of a
// release, and the default of its own while processor and model are away.
func TestOwnEnvoy(t *testing.T) {
	for name, grpcToo := range map[string]bool{"HTTP": false, "gRPC by message": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t)
			o.XDS = porttest.Address(t)
			cache := ownServer(t, o.XDS)
			blue, green := newModel(t, nil), newModel(t, nil)
			s := snapshot(t, enforced(nil), version("v1", blue.addr), version("v2", green.addr))
			if grpcToo {
				s = grpcSnapshot(t, grpcPolicy(byMessage), version("v1", newGRPCModel(t).addr))
			}
			set := func(s *compile.Snapshot) { serveOwn(t, cache, rendered(t, s, o)) }
			set(s)
			p := start(t, fragment(t, s, o, false), o)
			if grpcToo {
				eventually(t, "the default as a message", func() bool {
					r := p.call(inferCall, []byte("question"))
					return r.err == nil && r.message == theMessage(t) && r.get("x-safestate-reason") == ReasonUnanswered
				})
				return
			}
			eventually(t, "the default, without a processor", func() bool {
				r, err := p.try("POST", inferPath, strings.NewReader("{}"))
				return err == nil && r.status == 200 && r.body == safeDefault && r.reason() == ReasonProcessorAway
			})
			startProcessor(t, o.Processor, nil)
			eventually(t, "the model", func() bool { r := p.post(); return r.body == clean && blue.calls.Load() > 0 })
			set(released(s, 1, map[string]int{"v1": 0, "v2": 100}))
			eventually(t, "the other version", func() bool { p.post(); return green.calls.Load() > 0 })
			before := blue.calls.Load()
			for range 50 {
				if r := p.post(); r.body != clean {
					t.Fatalf("got %d %q", r.status, r.body)
				}
			}
			if got := blue.calls.Load() - before; got != 0 {
				t.Errorf("the version without weight got %d requests", got)
			}
		})
	}
}

func typed[M types.Resource](in []M) []types.Resource {
	out := make([]types.Resource, len(in))
	for i, m := range in {
		out[i] = m
	}
	return out
}
