package kill

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/porttest"
)

// half is one of safestate's two processes where they run apart. It can be killed and
// started again.
type half struct {
	t                         testing.TB
	http, grpc, answers, data string
	flags                     []string
	process                   *dataplane.Process
}

func newHalf(t testing.TB, flags ...string) *half {
	t.Helper()
	return &half{t: t, http: porttest.Address(t), grpc: porttest.Address(t), answers: porttest.Address(t), data: t.TempDir(), flags: flags}
}

// start waits until it is ready.
func (h *half) start() {
	h.t.Helper()
	args := append([]string{"serve", "--http", h.http, "--grpc", h.grpc, "--answers", h.answers, "--data-dir", h.data}, h.flags...)
	h.process = dataplane.Spawn(h.t, "safestate", dataplane.Program(h.t, "safestate"), args...)
	dataplane.Eventually(h.t, soon, "safestate is ready", func() bool {
		if h.process.Exited() {
			h.t.Fatalf("safestate ended: %v\n%s", h.process.WaitExit(0), h.process.Log())
		}
		return dataplane.Get("http://"+h.http+"/readyz") != ""
	})
}

// cli runs a command against it.
func (h *half) cli(args ...string) (out string, exit int) {
	h.t.Helper()
	cmd := exec.Command(dataplane.Program(h.t, "safestate"), append(args, "--server", "http://"+h.http)...)
	text, err := cmd.CombinedOutput()
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
		h.t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// unproven kills a target where that cannot be proven within a time, again until the
// command tells why: on a busy machine what is not at fault may be late as well. It
// returns how often.
func (h *half) unproven(t *testing.T, target, wait string, tells func(out string) bool) (times uint64) {
	t.Helper()
	var out string
	defer func() {
		if t.Failed() {
			t.Logf("the command said last:\n%s", out)
		}
	}()
	dataplane.Eventually(t, soon, "the command tells why it is not proven", func() bool {
		times++
		var exit int
		if out, exit = h.cli("kill", target, "--reason", "wrong answers", "--wait", wait); exit != 3 {
			t.Fatalf("it cannot be proven, and the exit code is %d", exit)
		}
		return tells(out)
	})
	return times
}

func (h *half) does(args ...string) string {
	h.t.Helper()
	out, exit := h.cli(args...)
	if exit != 0 {
		h.t.Fatalf("safestate %q: exit code %d\n%s", args, exit, out)
	}
	return out
}

// killed is how many targets are, as the process says of itself; -1: it does not
// know.
func (h *half) killed() int {
	var is struct {
		Kills *struct {
			Known  bool `json:"known"`
			Killed int  `json:"killed"`
		} `json:"kills"`
	}
	if json.Unmarshal([]byte(dataplane.Get("http://"+h.http+"/readyz")), &is) != nil || is.Kills == nil || !is.Kills.Known {
		return -1
	}
	return is.Kills.Killed
}

// roles are a control plane, a processor that runs apart, and an Envoy whose routes
// never change: it stands for one that is cut off, and sends what it gets to the model
// whatever is killed. What stops it is the processor alone.
type roles struct {
	control, host *half
	traffic       *dataplane.Client
	model         *model
	row           *row
}

func startRoles(t *testing.T) *roles {
	t.Helper()
	r := rowOf(t, "v2")
	x := &roles{row: r, model: startModel(t, r.live)}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "world.yaml"), []byte(r.objects(versions{x.model, x.model}, extra{})), 0o600); err != nil {
		t.Fatal(err)
	}
	x.control = newHalf(t, "--role", "control", "--config", dir)
	x.host = newHalf(t, "--role", "extproc", "--replica", "host", "--control", x.control.grpc)
	x.control.start()
	x.host.start()
	listen, admin := porttest.Address(t), porttest.Address(t)
	cmd := exec.Command(dataplane.Program(t, "safestate"), "render", "envoy", dir, "--traffic", listen, "--envoy-admin", admin,
		"--processor", x.host.grpc, "--answers-upstream", x.host.answers)
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	dataplane.StartEnvoy(t, path, admin)
	x.traffic = dataplane.NewClient(listen)
	t.Cleanup(x.traffic.Close)
	dataplane.Eventually(t, soon, "the model answers", func() bool { return x.ask().Source() == "primary" })
	return x
}

func (x *roles) ask() dataplane.Answer {
	return x.traffic.Do(dataplane.Request{Path: "/" + x.row.name + x.row.path, Body: []byte(x.row.request)})
}

// load asks all the time, until stop is called.
func (x *roles) load(t *testing.T) (stop func()) {
	t.Helper()
	ended := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				x.ask()
			}
		}
	})
	stop = sync.OnceFunc(func() {
		close(ended)
		running.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// TestRolesApart: a kill that was proven at a processor that runs apart holds there
// whatever dies: the control plane right after, the processor with the control plane
// away, both. A revive comes through when the control plane is back.
func TestRolesApart(t *testing.T) {
	t.Parallel()
	x := startRoles(t)
	stop := x.load(t)
	out := x.control.does("kill", "v2", "--reason", "wrong answers", "--wait", "30s")
	x.control.process.Kill()
	if !strings.Contains(out, "safestate-extproc/host") || !strings.Contains(out, "PROVEN") {
		t.Errorf("the proof is\n%s", out)
	}
	before := x.model.asked.Load()
	none := func(when string) {
		t.Helper()
		for range 50 {
			if a := x.ask(); a.Source() == "primary" {
				t.Fatalf("%s the model answers: %+v", when, a)
			}
		}
		if n := x.model.asked.Load() - before; n != 0 {
			t.Fatalf("%s %d requests reached the model", when, n)
		}
	}
	none("with the control plane dead")

	x.host.process.Kill()
	none("with both dead")
	x.host.start()
	if n := x.host.killed(); n != 1 {
		t.Errorf("after a restart without the control plane it says that %d targets are killed", n)
	}
	none("after a restart without the control plane")

	x.control.start()
	dataplane.Eventually(t, soon, "it is proven again", func() bool {
		out, exit := x.control.cli("kill", "v2", "--reason", "the same", "--wait", "5s")
		return exit == 0 && strings.Contains(out, "safestate-extproc/host")
	})
	none("with the control plane back")
	stop()
	x.control.does("revive", "v2", "--generation", generation(t, x.control, "model/default/v2"), "--reason", "mended", "--wait", "30s")
	dataplane.Eventually(t, soon, "the model answers again", func() bool { return x.ask().Source() == "primary" })
	if x.host.killed() != 0 {
		t.Errorf("it says that %d targets are killed", x.host.killed())
	}
}

// generation is that of a target, as a person reads it.
func generation(t *testing.T, h *half, target string) string {
	t.Helper()
	var list struct {
		Kills []struct {
			Target     string      `json:"target"`
			Generation json.Number `json:"generation"`
		} `json:"kills"`
	}
	if err := json.Unmarshal([]byte(dataplane.Get("http://"+h.http+"/v1/kills")), &list); err != nil {
		t.Fatal(err)
	}
	for _, k := range list.Kills {
		if k.Target == target {
			return k.Generation.String()
		}
	}
	t.Fatalf("%s was never killed: %+v", target, list)
	return ""
}

// TestUnprovenKillReachesProcessors: a kill whose control plane dies before anybody
// could know what became of it is told when that is back.
func TestUnprovenKillReachesProcessors(t *testing.T) {
	t.Parallel()
	x := startRoles(t)
	x.control.does("kill", "v2", "--reason", "wrong answers", "--wait", "0s")
	x.control.process.Kill()
	x.control.start()
	dataplane.Eventually(t, soon, "the processor enforces it", func() bool { return x.host.killed() == 1 })
	before := x.model.asked.Load()
	for range 50 {
		if a := x.ask(); a.Source() != "safe_default" {
			t.Fatalf("callers get %+v", a)
		}
	}
	if n := x.model.asked.Load() - before; n != 0 {
		t.Errorf("%d requests reached the model", n)
	}
}

// TestInFlightIsNotProven: as long as a request is at the model that a processor let
// go before the kill, the kill is not proven, and the processor named.
func TestInFlightIsNotProven(t *testing.T) {
	t.Parallel()
	x := startRoles(t)
	let, arrived := make(chan struct{}), make(chan struct{}, 1)
	x.model.hold.Store(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		arrived <- struct{}{}
		<-let
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, x.row.live)
	})
	answered := make(chan dataplane.Answer)
	go func() { answered <- x.ask() }()
	<-arrived
	x.control.unproven(t, "v2", "2s", func(out string) bool {
		return strings.Contains(out, "safestate-extproc/host") && strings.Contains(out, "1 in flight")
	})
	close(let)
	if a := <-answered; a.Source() == "primary" {
		t.Errorf("the caller gets %+v", a)
	}
	x.control.does("kill", "v2", "--reason", "the same", "--wait", "30s")
}

// TestProcessorThatEnds: one that is told to stop is not missed, one that died is.
func TestProcessorThatEnds(t *testing.T) {
	t.Parallel()
	x := startRoles(t)
	second := newHalf(t, "--role", "extproc", "--replica", "second", "--control", x.control.grpc)
	second.start()
	dataplane.Eventually(t, soon, "it is told", func() bool { return second.killed() == 0 })
	out := x.control.does("kill", "v2", "--reason", "wrong answers", "--wait", "30s")
	if !strings.Contains(out, "safestate-extproc/second") {
		t.Errorf("the second processor is not there:\n%s", out)
	}
	if err := second.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := second.process.WaitExit(soon); err != nil {
		t.Fatal(err)
	}
	out = x.control.does("kill", "v2", "--reason", "the same", "--wait", "30s")
	if strings.Contains(out, "second") {
		t.Errorf("it has ended, and is missed:\n%s", out)
	}
	x.host.process.Kill()
	x.control.unproven(t, "v2", "3s", func(out string) bool { return strings.Contains(out, "safestate-extproc/host: silent") })
}
