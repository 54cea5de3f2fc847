package releases

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/porttest"
	"github.com/safestate/safestate/internal/release"
)

// soon is far beyond what anything here takes on a busy machine.
const soon = 40 * time.Second

// anyPort lets the kernel choose, so that several Envoys get one configuration.
const anyPort = "127.0.0.1:0"

// replica is a safestate that can be killed and started again.
type replica struct {
	t                         testing.TB
	http, grpc, answers, data string
	flags                     []string
	process                   *dataplane.Process
	client                    *admin.Client
}

// newReplica prepares a safestate; flags come after those that it always has.
func newReplica(t testing.TB, flags ...string) *replica {
	t.Helper()
	r := &replica{t: t, http: porttest.Address(t), grpc: porttest.Address(t), answers: porttest.Address(t), data: t.TempDir(), flags: flags}
	var err error
	if r.client, err = admin.NewClient("http://"+r.http, admin.ClientOptions{User: "tester"}); err != nil {
		t.Fatal(err)
	}
	return r
}

// spawn starts the process, also again after it was killed.
func (r *replica) spawn() {
	args := append([]string{"serve", "--http", r.http, "--grpc", r.grpc, "--answers", r.answers, "--data-dir", r.data}, r.flags...)
	r.process = dataplane.Spawn(r.t, "safestate", dataplane.Program(r.t, "safestate"), args...)
}

// start is spawn, and waits until it is ready.
func (r *replica) start() {
	r.t.Helper()
	r.spawn()
	dataplane.Eventually(r.t, soon, "safestate is ready", func() bool {
		if r.process.Exited() {
			r.t.Fatalf("safestate ended: %v\n%s", r.process.WaitExit(0), r.process.Log())
		}
		return dataplane.Get("http://"+r.http+"/readyz") != ""
	})
}

// cli runs a command of safestate against this replica.
func (r *replica) cli(args ...string) (out string, exit int) {
	r.t.Helper()
	cmd := exec.Command(dataplane.Program(r.t, "safestate"), append(args, "--server", "http://"+r.http)...)
	text, err := cmd.CombinedOutput()
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
		r.t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// does runs a command that has to succeed.
func (r *replica) does(args ...string) string {
	r.t.Helper()
	out, exit := r.cli(args...)
	if exit != 0 {
		r.t.Fatalf("safestate %q: exit code %d\n%s", args, exit, out)
	}
	return out
}

// rollout starts one of v2.
func (r *replica) rollout(steps ...string) {
	r.t.Helper()
	args := []string{"rollout", "start", "score", "v2", "--reason", "new features"}
	for _, s := range steps {
		args = append(args, "--step", s)
	}
	r.does(args...)
}

// model is how the model stands; false: the replica does not answer.
func (r *replica) model() (admin.Model, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a, err := r.client.Model(ctx, model)
	return a.Value, err == nil
}

// status is how everything is.
func (r *replica) status() (admin.Status, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a, err := r.client.Status(ctx)
	return a.Value, err == nil
}

// history is every record of the model, the oldest first.
func (r *replica) history() []release.Record {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a, err := r.client.History(ctx, admin.HistoryQuery{Model: model, Limit: 1000})
	if err != nil {
		r.t.Fatal(err)
	}
	slices.Reverse(a.Value.Records)
	return a.Value.Records
}

// find is the last record of a kind; nil: there is none.
func (r *replica) find(kind release.Kind) *release.Record {
	r.t.Helper()
	for _, x := range slices.Backward(r.history()) {
		if x.Kind == kind {
			return &x
		}
	}
	return nil
}

// until waits for the model to be as it should, and returns it.
func (r *replica) until(what string, holds func(admin.Model) bool) admin.Model {
	r.t.Helper()
	var last admin.Model
	defer func() {
		if r.t.Failed() {
			r.t.Logf("%s: phase %s, weights %v, %q, evidence %s", what, last.Phase, weights(last), last.Explanation, evidence(last))
		}
	}()
	dataplane.Eventually(r.t, soon, what, func() bool {
		m, ok := r.model()
		if ok {
			last = m
		}
		return ok && holds(m)
	})
	return last
}

func evidence(m admin.Model) string {
	var b strings.Builder
	for _, v := range m.Versions {
		if v.Evidence != nil {
			fmt.Fprintf(&b, "%s: %+v; ", v.Name, *v.Evidence)
		}
	}
	return b.String()
}

// phase waits for one.
func (r *replica) phase(p release.Phase) admin.Model {
	r.t.Helper()
	return r.until("the phase is "+string(p), func(m admin.Model) bool { return m.Phase == p })
}

// proven waits until a withdrawal is done, and returns the model.
func (r *replica) proven() admin.Model {
	r.t.Helper()
	return r.until("the withdrawal is proven", func(m admin.Model) bool { return m.Withdrawal != nil && !m.Withdrawal.Done.IsZero() })
}

// weights are those of a model's versions that have any.
func weights(m admin.Model) map[string]int {
	out := map[string]int{}
	for _, v := range m.Versions {
		if v.Weight > 0 {
			out[v.Name] = v.Weight
		}
	}
	return out
}

// weigh fails the test where the weights are others.
func weigh(t testing.TB, m admin.Model, want map[string]int) {
	t.Helper()
	if got := weights(m); !maps.Equal(got, want) {
		t.Errorf("the weights are %v in phase %s, want %v", got, m.Phase, want)
	}
}

// proxy is a real Envoy.
type proxy struct {
	traffic, admin string
	process        *dataplane.Process
	client         *dataplane.Client
}

// startProxy starts an Envoy that gets its configuration from control, and asks
// host about answers.
func startProxy(t testing.TB, node string, control, host *replica, flags ...string) *proxy {
	t.Helper()
	p := &proxy{admin: porttest.Address(t)}
	cmd := exec.Command(dataplane.Program(t, "safestate"), append([]string{
		"render", "bootstrap", "--node-id", node, "--envoy-admin", p.admin,
		"--xds", control.grpc, "--processor", host.grpc, "--answers-upstream", host.answers,
	}, flags...)...)
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	p.process = dataplane.StartEnvoy(t, path, p.admin)
	dataplane.Eventually(t, soon, "Envoy listens", func() bool {
		_, p.traffic, _ = strings.Cut(strings.TrimSpace(dataplane.Get("http://"+p.admin+"/listeners")), "::")
		return p.traffic != ""
	})
	p.client = dataplane.NewClient(p.traffic)
	t.Cleanup(p.client.Close)
	dataplane.Eventually(t, soon, "a model answers through "+node, func() bool { return p.client.Do(question()).Source() == "primary" })
	return p
}

// stand is one safestate with an Envoy before a world.
type stand struct {
	*replica
	world *world
	proxy *proxy
}

// newStand starts all of it. It ends with the test.
func newStand(t *testing.T, w *world) *stand {
	t.Helper()
	var module []string
	if w.Host != "" {
		module = []string{"--wasm-module", dataplane.Module(t)}
	}
	s := &stand{replica: newReplica(t, append([]string{"--config", w.dir, "--traffic", anyPort}, module...)...), world: w}
	s.start()
	s.proxy = startProxy(t, "envoy", s.replica, s.replica, module...)
	return s
}
