package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
	"github.com/safestate/safestate/e2e/istio/cluster"
	"github.com/safestate/safestate/internal/porttest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	dataplane.Cleanup()
	os.Exit(code)
}

// patience bounds every wait.
const patience = 40 * time.Second

// own is safestate's namespace.
const own = "safestate-system"

// place is one data plane that features are tried at.
type place struct {
	name      string // as the table has it
	namespace string // of the objects
	addr      string // host:port where callers ask
	admin     string // host:port of Envoy's own
	host      string // what follows the name of a route in its host
	parents   string // of a route that is called ROUTE
	node      string // of the proxy's name
	hosts     bool   // routes have host names
	mesh      bool
	// first and last are places of one safestate.
	first, last bool
	safestate   *safestate
	client      *dataplane.Client
}

// stand is everything that runs: models, a plain Envoy with its safestate, and a mesh
// with a gateway, a sidecar and one safestate.
type stand struct {
	t           *testing.T
	v1, small   *fm.Server
	second      string // port of v2
	feed        string // URL of what a default is read from
	secret      string // file of credentials
	nobody      int    // a port at which nobody listens
	port        int    // of all Services, so of the sidecar's listener
	gatewayPort int
	classicPort int // of a gateway of Istio's own kind, at the same Envoy
	api         *cluster.API
	gateway     *cluster.Envoy
	sidecar     *cluster.Envoy
	plane       *dataplane.Plane
	folder      string
	places      []*place
	kills       []feature // that kill
	features    []feature
}

func newStand(t *testing.T) *stand {
	t.Helper()
	s := &stand{t: t, kills: kills, features: features, v1: newModel(t, "v1"), second: newSecond(t), small: newModel(t, "small"), feed: newFeed(t)}
	s.port, s.gatewayPort, s.classicPort, s.nobody = porttest.Free(t), porttest.Free(t), porttest.Free(t), porttest.Free(t)
	s.folder = t.TempDir()
	s.secret = filepath.Join(t.TempDir(), "authorization")
	if err := os.WriteFile(s.secret, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	s.places = []*place{
		{name: "plain Envoy", namespace: "default", node: "safestate", first: true, last: true, host: ".example.com", hosts: true, parents: "[{name: public}]"},
		{
			name: "Istio gateway", namespace: "gateway", node: "gw.gateway", first: true, host: ".example.com", hosts: true, parents: "[{name: public}]",
			mesh: true, addr: fmt.Sprintf("127.0.0.1:%d", s.gatewayPort),
		},
		{
			name: "Istio sidecar", namespace: "sidecar", node: "client.sidecar", last: true, host: ".sidecar.svc.cluster.local", parents: `[{group: "", kind: Service, name: ROUTE}]`,
			mesh: true, addr: fmt.Sprintf("127.0.0.1:%d", s.port),
		},
	}
	var starting sync.WaitGroup
	starting.Go(func() { dataplane.Program(t, "safestate"); dataplane.Module(t) })
	s.api = cluster.StartAPI(t, cluster.Options{
		CRDs:       []cluster.CRDs{cluster.Safestate, cluster.GatewayAPI, cluster.Istio},
		Namespaces: []string{cluster.RootNamespace, "gateway", "sidecar", own},
	})
	istiod := cluster.StartIstiod(t, s.api, cluster.IstiodOptions{})
	s.apply(t, s.places[1], meshObjects+classicGateway)
	s.apply(t, s.places[2], sidecarObjects)
	for _, p := range s.places[1:] {
		s.apply(t, p, backends)
	}
	for _, p := range s.places {
		s.write(p)
	}
	starting.Wait()
	s.gateway = istiod.Gateway(t, cluster.Workload{
		Namespace: "gateway", Name: "gw", Labels: map[string]string{"app": "gw", "gateway.networking.k8s.io/gateway-name": "public"},
	})
	s.sidecar = istiod.Sidecar(t, cluster.Workload{Namespace: "sidecar", Name: "client", Labels: map[string]string{"app": "client"}})
	s.serve()
	s.places[0].admin, s.places[1].admin, s.places[2].admin = s.plane.Admin, s.gateway.Admin, s.sidecar.Admin
	for _, p := range s.places {
		p.client = dataplane.NewClient(p.addr)
		t.Cleanup(p.client.Close)
	}
	return s
}

// serve starts the two safestates.
func (s *stand) serve() {
	s.t.Helper()
	module := []string{"--wasm-module", dataplane.Module(s.t)}
	s.plane = dataplane.Start(s.t, dataplane.Options{Config: s.folder, Serve: module, Render: module})
	s.places[0].addr = s.plane.Traffic
	s.places[0].safestate = &safestate{t: s.t, http: s.plane.HTTP, process: s.plane.Safestate}
	grpc, answers := porttest.Free(s.t), porttest.Free(s.t)
	mesh := &safestate{t: s.t, http: porttest.Address(s.t)}
	mesh.args = []string{
		"serve", "--mesh", "istio", "--kubeconfig", s.api.Admin.Kubeconfig, "--namespace", own, "--http", mesh.http,
		"--grpc", fmt.Sprintf("127.0.0.1:%d", grpc), "--answers", fmt.Sprintf("127.0.0.1:%d", answers),
		"--processor", fmt.Sprintf("127.0.0.1:%d", grpc), "--answers-upstream", fmt.Sprintf("127.0.0.1:%d", answers),
		"--data-dir", filepath.Join(s.t.TempDir(), "data"), module[0], module[1],
	}
	mesh.start()
	s.places[1].safestate, s.places[2].safestate = mesh, mesh
}

// freeze stops both safestates where they stand, or has them go on.
func (s *stand) freeze(stop bool) {
	s.t.Helper()
	signal := syscall.SIGCONT
	if stop {
		signal = syscall.SIGSTOP
	}
	for _, p := range s.places[:2] {
		if err := p.safestate.process.Signal(signal); err != nil {
			s.t.Fatal(err)
		}
		dataplane.Eventually(s.t, patience, "the kernel has stopped it, or not", func() bool {
			letter, err := p.safestate.process.State()
			return err == nil && (letter == "T") == stop
		})
	}
}

// kill ends both safestates at once, and revive starts them again.
func (s *stand) kill() {
	s.places[0].safestate.process.Kill()
	s.places[1].safestate.process.Kill()
}

func (s *stand) revive() {
	s.t.Helper()
	s.plane.StartSafestate()
	s.places[0].safestate.process = s.plane.Safestate
	s.places[1].safestate.start()
}

// safestate is one process of it.
type safestate struct {
	t       *testing.T
	http    string
	args    []string
	process *dataplane.Process
}

func (p *safestate) start() {
	p.t.Helper()
	p.process = dataplane.Spawn(p.t, "safestate", dataplane.Program(p.t, "safestate"), p.args...)
	dataplane.Eventually(p.t, patience, "safestate is ready", func() bool {
		if p.process.Exited() {
			p.t.Fatalf("safestate ended: %v", p.process.WaitExit(0))
		}
		return dataplane.Get("http://"+p.http+"/readyz") != ""
	})
}

// run runs a command.
func (p *safestate) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	return dataplane.Run(ctx, t, "safestate", append(args, "--server", "http://"+p.http)...)
}

// fill puts what is known only now into a text.
func (s *stand) fill(p *place, text string) string {
	secret := s.secret
	if p.mesh { // of the namespace's own files; the proxy is given none of them
		secret = "/etc/safestate/files/" + p.namespace + "/authorization"
	}
	return strings.NewReplacer(
		"GATEWAY_PORT", fmt.Sprint(s.gatewayPort), "CLASSIC_PORT", fmt.Sprint(s.classicPort), "FEED", s.feed, "SECRET_FILE", secret,
		"V1_PORT", s.v1.Port(), "V2_PORT", s.second, "SMALL_PORT", s.small.Port(), "SERVICE_PORT", fmt.Sprint(s.port), "NOBODY_PORT", fmt.Sprint(s.nobody),
	).Replace(text)
}

// apply writes objects as the administrator, into a place's namespace.
func (s *stand) apply(t testing.TB, p *place, text string) {
	t.Helper()
	if err := s.tryApply(p, text); err != nil {
		t.Fatal(err)
	}
}

func (s *stand) tryApply(p *place, text string) error {
	return s.api.Admin.TryApply(s.t.Context(), "test", strings.ReplaceAll(s.fill(p, text), "metadata: {name:", "metadata: {namespace: "+p.namespace+", name:"))
}

// write has a place know the objects of all features.
func (s *stand) write(p *place) {
	s.t.Helper()
	s.put(s.t, p, "models", models)
	for i := range features {
		if f := &features[i]; f.route != "" && !f.custom && (!p.mesh || !f.plainOnly) {
			s.put(s.t, p, f.route, f.objects(p))
		}
	}
}

// put writes the objects of a name anew, as whoever looks after them does.
func (s *stand) put(t testing.TB, p *place, name, text string) {
	t.Helper()
	if p.mesh {
		s.apply(t, p, text)
		return
	}
	fresh := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(fresh, []byte(s.fill(p, text)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fresh, filepath.Join(s.folder, name+".yaml")); err != nil {
		t.Fatal(err)
	}
}

// condition is the first condition of a policy at a place that does not hold, as
// "reason: message"; empty: all hold. ok is false while nobody has said.
func (s *stand) condition(t testing.TB, p *place, policy string) (reason, message string, ok bool) {
	t.Helper()
	o, err := s.api.Admin.Get(t.Context(), "safestate.dev/v1alpha1 FailSafePolicy", p.namespace, policy)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(o.Object["status"])
	if err != nil {
		t.Fatal(err)
	}
	var status struct {
		Ancestors []struct {
			Conditions []struct{ Type, Status, Reason, Message string }
		}
	}
	if err := json.Unmarshal(text, &status); err != nil || len(status.Ancestors) == 0 {
		return "", "", false
	}
	for _, a := range status.Ancestors {
		for _, c := range a.Conditions {
			if c.Status != "True" {
				return c.Reason, c.Message, true
			}
		}
		ok = ok || len(a.Conditions) >= 2
	}
	return "", "", ok
}
