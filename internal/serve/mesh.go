package serve

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/notify"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/istio"
	"github.com/safestate/safestate/istio/controller"
)

// MeshIstio is the mesh that there is.
const MeshIstio = "istio"

// MeshOptions say which mesh configures the proxies.
type MeshOptions struct {
	Name       string // MeshIstio; empty: none, and safestate configures Envoy
	Kubeconfig string // of the API server; empty: that of the cluster that the process runs in
	Namespace  string // safestate's own; empty: that of the service account
	Istio      istio.Options
}

// serviceAccount is where a pod has its namespace.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// withDefaults finds the namespace.
func (m MeshOptions) withDefaults() MeshOptions {
	if m.Name != "" && m.Namespace == "" {
		text, _ := os.ReadFile(serviceAccount) // check says what is missing
		m.Namespace = strings.TrimSpace(string(text))
	}
	return m
}

func (o *Options) checkMesh() error {
	m := &o.Mesh
	switch {
	case m.Name == "":
		return nil
	case m.Name != MeshIstio:
		return fmt.Errorf("--mesh %q is none: want %s", m.Name, MeshIstio)
	case !o.Role.controls():
		return errors.New("--mesh is for --role control or all: a processor is told by --control")
	case o.ConfigDir != "":
		return errors.New("--mesh and --config exclude each other: the configuration is in the API server")
	case o.NoReleases || len(o.Etcd) > 0:
		return errors.New("--mesh keeps its state in the API server: leave out --no-releases and --etcd-endpoints")
	case m.Namespace == "":
		return errors.New("--namespace is missing: outside of a pod nothing says which one is safestate's")
	}
	return nil
}

// restConfig says how to reach the API server.
func (m *MeshOptions) restConfig() (*rest.Config, error) {
	if m.Kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("--kubeconfig is missing, and this is no pod: %w", err)
		}
		return config, nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", m.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig: %w", err)
	}
	return config, nil
}

// mesh is what a plane has of a mesh.
type mesh struct {
	p       *process
	control *controller.Controller
	loaded  *controller.Loaded // the last; of who loads alone
}

// newMesh makes the controller, which reads nothing yet.
func newMesh(pl *plane) (*mesh, error) {
	p := pl.p
	m := &p.options.Mesh
	config, err := m.restConfig()
	if err != nil {
		return nil, err
	}
	if m.Istio.Envoy.TLS, err = p.options.TLS.ofMesh(); err != nil {
		return nil, err
	}
	k := &mesh{p: p}
	k.control, err = controller.New(controller.Options{
		Config: config, Namespace: m.Namespace, Mesh: m.Istio, Changed: p.again, Memory: memory{pl.store},
		// The rules are there before anything is loaded.
		Unfit:   func(s *compile.Snapshot) map[string]error { return pl.rules.Unfit(s) },
		Held:    func(ctx context.Context) (map[string][]string, error) { return pl.rules.HeldVersions(ctx) },
		Problem: func(err error) { p.log.Warn().Err(err).Msg("mesh") },
	})
	return k, err
}

// Publish implements control.Mesh.
func (k *mesh) Publish(s *compile.Snapshot, sign func(route, namespace, policy string) string, version string) {
	k.control.Publish(controller.Wanted{Snapshot: s, Sign: sign, Version: version})
}

// Lead implements control.Mesh.
func (k *mesh) Lead(leads bool) { k.control.Lead(leads) }

// Written implements control.Mesh.
func (k *mesh) Written(ctx context.Context, version string) iter.Seq[map[string]error] {
	return k.control.Written(ctx, version)
}

// load reads the API server's objects. What is wrong with single ones is in their
// conditions, and here a warning: the rest is applied.
func (k *mesh) load(ctx context.Context, edit func(*config.World) config.Problems) (*compile.Snapshot, config.Problems) {
	loaded, err := k.control.Load(ctx, edit)
	if err != nil {
		k.control.Applied(nil, err)
		return nil, config.Problems{{Message: err.Error()}}
	}
	k.loaded = loaded
	warnings := loaded.Warnings
	for _, problems := range loaded.Refused {
		for _, p := range problems {
			p.Warning = true
			warnings = append(warnings, p)
		}
	}
	slices.SortFunc(warnings, func(a, b config.Problem) int { return strings.Compare(a.String(), b.String()) })
	return loaded.Snapshot, warnings
}

// applied says in conditions what became of what was loaded.
func (k *mesh) applied(err error) {
	if k != nil {
		k.control.Applied(k.loaded, err)
	}
}

// troubles are what is not well with the API server.
func (k *mesh) troubles() (out []admin.Trouble) {
	if k == nil {
		return nil
	}
	for _, t := range k.control.Troubles() {
		level := admin.LevelProblem
		if t.Others {
			level = admin.LevelNotice
		}
		out = append(out, admin.Trouble{Level: level, About: "mesh", What: t.What, Since: t.Since})
	}
	return out
}

// switches are what KillSwitches act on.
type switches struct{ pl *plane }

// Kill implements controller.Kills.
func (k switches) Kill(ctx context.Context, t kill.Target, o kill.Order) (kill.State, error) {
	state, _, err := k.pl.rules.Kill(ctx, t, o)
	return state, err
}

// errSecond is said of a revive by an object where one person must not do it alone:
// whoever edits the object could approve it as well.
var errSecond = errors.New("a second person is needed here, and who wrote the object is not known: ask by `safestate revive`")

// Revive implements controller.Kills.
func (k switches) Revive(ctx context.Context, t kill.Target, r kill.Request) (kill.State, error) {
	if gate := k.pl.people.gate; gate != nil && gate.Approvals(admin.AccessTarget(t)) > 0 {
		return k.pl.rules.KillState(t), errSecond
	}
	return k.pl.rules.Revive(ctx, t, r)
}

// State implements controller.Kills.
func (k switches) State(t kill.Target) kill.State { return k.pl.rules.KillState(t) }

// Proof implements controller.Kills.
func (k switches) Proof() controller.Proof {
	proof, heard := k.pl.rules.MeshProof()
	var names []string
	for _, r := range proof.Rows {
		if r.State != admin.StepProven && len(names) < 5 {
			names = append(names, r.Node+" ("+r.How+")")
		}
	}
	return controller.Proof{Expected: proof.Expected, Proven: proof.Proven, Missing: strings.Join(names, ", "), Heard: heard}
}

// eventOfKill tells of a Model that it, or a version of it, was killed or revived.
func (k *mesh) eventOfKill(ctx context.Context, r kill.Record) {
	if e, ok := notify.FromKill(r); ok && e.Model != "" {
		k.control.ModelEvent(ctx, e.Model, "Kill", e.Summary+": "+e.Reason, r.Kind != kill.KindRevive)
	}
}

// eventOf tells of a Model what was recorded of its releases.
func (k *mesh) eventOf(ctx context.Context, r release.Record) {
	k.control.ModelEvent(ctx, r.Model, "Release"+strings.ToUpper(string(r.Kind[:1]))+string(r.Kind[1:]), fmt.Sprintf("%s %s: %s", r.Kind, r.Version, r.Reason), r.Kind == release.KindRollback || r.Kind == release.KindDegraded)
}

// ofMesh is how a mesh's proxies dial processors that are secured as this process is.
func (f TLSFiles) ofMesh() (envoy.TLS, error) {
	if !f.set() {
		return envoy.TLS{}, nil
	}
	authorities, err := os.ReadFile(f.ClientCA)
	if err != nil {
		return envoy.TLS{}, fmt.Errorf("--tls-client-ca: %w", err)
	}
	return envoy.TLS{Mesh: string(authorities)}, nil
}
