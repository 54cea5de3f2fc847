package kill

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"sigs.k8s.io/yaml"

	"github.com/safestate/safestate/e2e/clients"
	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/porttest"
)

// breaking is an Envoy with all of its configuration in a file: no control plane has
// ever told it anything. Its runtime has a layer of files that a person writes.
type breaking struct {
	*ingress
	t      *testing.T
	host   *half // the processor
	folder string
	rows   []*row
	models map[string]*target
}

func newBreaking(t *testing.T) *breaking {
	t.Helper()
	b := &breaking{t: t, folder: t.TempDir(), models: map[string]*target{}}
	dir := t.TempDir()
	var text strings.Builder
	for _, name := range provenRows {
		r := rowOf(t, name)
		b.rows, b.models[name] = append(b.rows, r), startTarget(t, r.live)
		text.WriteString(r.objects(versions{b.models[name].model, b.models[name].model}, extra{}))
	}
	if err := os.WriteFile(filepath.Join(dir, "world.yaml"), []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	b.host = newHalf(t, "--role", "extproc")
	b.host.start()
	in := &ingress{node: "gateway", listen: porttest.Address(t), admin: porttest.Address(t), config: filepath.Join(dir, "envoy.json")}
	config, err := exec.Command(dataplane.Program(t, "safestate"), "render", "envoy", dir, "--traffic", in.listen, "--envoy-admin", in.admin,
		"--processor", b.host.grpc, "--answers-upstream", b.host.answers).Output()
	if err != nil {
		t.Fatal(err)
	}
	b.write("nothing", "")
	if err := os.WriteFile(in.config, withFiles(t, config, filepath.Join(b.folder, "current")), 0o600); err != nil {
		t.Fatal(err)
	}
	in.http = dataplane.NewClient(in.listen)
	t.Cleanup(in.http.Close)
	if in.grpc, err = clients.DialGRPC(in.listen); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(in.grpc.Close)
	b.ingress = in
	in.start(t)
	b.answers()
	return b
}

// withFiles puts a layer of files before the last one of a runtime, as documented.
func withFiles(t *testing.T, text []byte, link string) []byte {
	t.Helper()
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	runtime := dataplane.Object(config, "layered_runtime")
	layers, _ := runtime["layers"].([]any)
	if len(layers) == 0 {
		t.Fatalf("the runtime is %v", runtime)
	}
	last := len(layers) - 1
	files := map[string]any{"name": "files", "disk_layer": map[string]any{"symlink_root": link}}
	runtime["layers"] = append(append(layers[:last:last], files), layers[last])
	out, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// write has the layer of files say 100 for a key; empty: it says nothing.
func (b *breaking) write(folder, key string) {
	b.t.Helper()
	fresh := filepath.Join(b.folder, folder)
	if err := os.Mkdir(fresh, 0o700); err != nil {
		b.t.Fatal(err)
	}
	if key != "" {
		if err := os.WriteFile(filepath.Join(fresh, key), []byte("100\n"), 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
	link := filepath.Join(b.folder, "new")
	if err := os.Symlink(folder, link); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Rename(link, filepath.Join(b.folder, "current")); err != nil {
		b.t.Fatal(err)
	}
}

// answers waits until every model does.
func (b *breaking) answers() {
	b.t.Helper()
	for _, r := range b.rows {
		dataplane.Eventually(b.t, soon, r.name+" answers", func() bool { return strings.Contains(b.ask(r, nil).body, "0.25") })
	}
}

// stopped waits until all workers refuse, and then tries whether anything gets
// through.
func (b *breaking) stopped(when string) {
	b.t.Helper()
	for _, r := range b.rows {
		dataplane.Eventually(b.t, soon, r.name+" is stopped", func() bool {
			for range 32 {
				if !refusedOnce(b.listen, r) {
					return false
				}
			}
			return true
		})
	}
	before := b.asked()
	b.try(*requests / 2)
	if n := b.asked() - before; n != 0 {
		b.t.Errorf("%s: %d requests reached the models", when, n)
	}
}

func (b *breaking) asked() (sum int64) {
	for _, x := range b.models {
		sum += x.asked.Load()
	}
	return sum
}

// try asks so many times, for every row.
func (b *breaking) try(n int) {
	var running sync.WaitGroup
	for _, r := range b.rows {
		running.Go(func() {
			for range n / len(b.rows) {
				b.ask(r, nil)
			}
		})
	}
	running.Wait()
}

// refusedOnce asks on a connection of its own, and reports whether Envoy alone has
// refused.
func refusedOnce(listen string, r *row) bool {
	in := &ingress{http: dataplane.NewClient(listen)}
	defer in.http.Close()
	if r.lastRung != "" {
		client, err := clients.DialGRPC(listen)
		if err != nil {
			return false
		}
		defer client.Close()
		in.grpc = client
		got := in.ask(r, nil)
		return got.code == codes.Unavailable && got.reason == "killed"
	}
	got := in.ask(r, nil)
	return got.status == http.StatusServiceUnavailable && got.reason == "killed" && got.body == ""
}

// modify sets a key of an Envoy's runtime, as a person does at its admin interface.
func modify(t *testing.T, admin, key, value string) {
	t.Helper()
	resp, err := http.Post(fmt.Sprintf("http://%s/runtime_modify?%s=%s", admin, key, value), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("runtime_modify: status %d", resp.StatusCode)
	}
}

// TestBreakGlass: without any control plane a person stops everything at Envoy's own
// admin interface, until that Envoy ends, or by a file, which a cold start with
// everything else away does not undo.
func TestBreakGlass(t *testing.T) {
	b := newBreaking(t)
	key := envoy.RuntimeKey(kill.Everything)

	modify(t, b.admin, key, "100")
	b.stopped("by the admin interface")
	modify(t, b.admin, key, "")
	b.answers()
	modify(t, b.admin, key, "100")
	b.stopped("by the admin interface again")
	b.process.Kill()
	b.start(t)
	b.answers() // what a person sets there is gone with the process

	b.write("kill-1", key)
	b.stopped("by a file")
	b.host.process.Kill()
	b.process.Kill()
	before := b.asked()
	b.start(t)
	b.stopped("after a cold start")
	if n := b.asked() - before; n != 0 {
		t.Errorf("%d requests reached the models after a cold start", n)
	}
	b.host.start()
	b.write("kill-2", "")
	b.answers()
}
