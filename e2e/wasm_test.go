package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// filterPlane is a data plane with one route of a host, whose policy a test changes.
func filterPlane(t *testing.T, host string, of times, edit func(policy string) string) (*dataplane.Plane, *fm.Server) {
	t.Helper()
	primary, fallback := models(t)
	dir := writeConfig(t, "WASM", of, primary, fallback)
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if filepath.Base(file) != "two-main.yaml" {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(string(text), "host: WASM", "host: "+host, 1)
		if edit != nil {
			changed = edit(changed)
		}
		if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	module := []string{"--wasm-module", dataplane.Module(t)}
	return dataplane.Start(t, dataplane.Options{Config: dir, Serve: module, Render: module}), primary
}

func ask(plane *dataplane.Plane) dataplane.Answer {
	return plane.Client.Do(inference(fm.V2, "two-main", 1, nil))
}

// TestFilterCounts: the filter's counts are in Envoy's statistics under the names and
// labels that the processor's have.
func TestFilterCounts(t *testing.T) {
	plane, model := filterPlane(t, "WASM", calmly, nil)
	for range 20 {
		if a := ask(plane); a.Source() != "primary" {
			t.Fatalf("%+v", a)
		}
	}
	model.Set(fm.C01NaNBare, 0)
	for range 3 {
		if a := ask(plane); a.Source() != "fallback" {
			t.Fatalf("%+v", a)
		}
	}
	model.Set(fm.S08BodyCut, 0)
	for range 2 {
		ask(plane)
	}
	labels := []string{`route="default/two-main/score"`, `model="default/two-main"`, `model_version="v1"`}
	for _, c := range []struct {
		metric string
		labels []string
		want   float64
	}{
		{"safestate_prediction_served_total", append(labels, `source="primary"`), 20},
		{"safestate_prediction_served_total", []string{`model="default/two-main-small"`, `model_version="small"`, `source="fallback"`}, 3},
		{"safestate_detections_total", append(labels, `detector="nonfinite"`, `mode="enforce"`), 3},
		{"safestate_detections_total", append(labels, `detector="broken"`, `mode="enforce"`), 2},
	} {
		got := 0.0
		dataplane.Eventually(t, 30*time.Second, fmt.Sprintf("%s %v is %v", c.metric, c.labels, c.want), func() bool {
			got = plane.EnvoyStat(c.metric, c.labels...)
			return got >= c.want
		})
		if got != c.want {
			t.Errorf("%s %v is %v, want %v", c.metric, c.labels, got, c.want)
		}
	}
	if n := plane.Metric("safestate_extproc_messages_total"); n > 0 {
		t.Errorf("the processor got %v messages", n)
	}
}

// TestBothHosts: beside a processor that lives the filter does nothing; once it is dead
// and the route lets answers pass, the filter still catches what is wrong.
func TestBothHosts(t *testing.T) {
	plane, model := filterPlane(t, "Both", calmly, func(p string) string {
		// Envoy waits longer for a processor that may have to read so much.
		return strings.Replace(p, "bodyLimit: {bytes: 1048576}", "bodyLimit: {bytes: 67108864}", 1) + "  whenProcessorAway: Pass\n"
	})
	for range 5 {
		if a := ask(plane); a.Source() != "primary" {
			t.Fatalf("%+v", a)
		}
	}
	model.Set(fm.C01NaNBare, 0)
	for range 3 {
		if a := ask(plane); a.Source() != "fallback" || !strings.HasPrefix(a.Reason(), "nonfinite") {
			t.Fatalf("%+v", a)
		}
	}
	found := func() float64 { return plane.Metric("safestate_detections_total", `detector="nonfinite"`) }
	dataplane.Eventually(t, 30*time.Second, "the processor counts what it found", func() bool { return found() >= 3 })
	if n := found(); n > 3 {
		t.Errorf("the processor found %v, want 3", n)
	}
	if n := plane.EnvoyStat("safestate_detections_total") + plane.EnvoyStat("safestate_prediction_served_total"); n != 0 {
		t.Errorf("the filter counted %v answers that were the processor's", n)
	}
	plane.Safestate.Kill()
	model.Set(fm.None, 0)
	dataplane.Eventually(t, 30*time.Second, "clean answers pass, judged by the filter", func() bool { return ask(plane).Source() == "primary" })
	model.Set(fm.C01NaNBare, 0)
	for range 3 {
		a := ask(plane)
		if a.Source() != "safe_default" || !strings.HasPrefix(a.Reason(), "nonfinite") || a.Status != http.StatusOK {
			t.Fatalf("with the processor dead: %+v", a)
		}
	}
	model.Set(fm.None, 0)
	if a := ask(plane); a.Source() != "primary" {
		t.Errorf("%+v", a)
	}
}

// TestFilterAlone: with safestate dead the filter judges on, and answers by itself.
func TestFilterAlone(t *testing.T) {
	plane, model := filterPlane(t, "WASM", inTime, func(p string) string {
		return strings.Replace(p, "bodyLimit: {bytes: 1048576}", "bodyLimit: {bytes: 65536, responseOver: Pass}", 1)
	})
	quickly := func() dataplane.Answer {
		return again(3, func() dataplane.Answer { return ask(plane) }, outOfTime)
	}
	if a := quickly(); a.Source() != "primary" {
		t.Fatalf("%+v", a)
	}
	plane.Safestate.Kill()
	for _, f := range []fm.Fault{fm.C01NaNBare, fm.S04UnavailableForEver, fm.S05ResetBeforeHeaders, fm.C12HeaderOnly, fm.C13HTML} {
		model.Set(f, 0)
		a := quickly()
		if a.Err != nil || a.Status != http.StatusOK || a.Source() != "safe_default" || a.Took > deadline+deadlineGrace {
			t.Errorf("%s: status %d, source %q, reason %q after %s: %v", f, a.Status, a.Source(), a.Reason(), a.Took, a.Err)
		}
	}
	// An answer over the limit passes whole, though nobody has read it.
	model.Set(fm.C15Huge, 0)
	direct := dataplane.NewClient(model.Addr())
	defer direct.Close()
	want := direct.Do(inference(fm.V2, "two-main", 1, nil))
	got := quickly()
	if want.Err != nil || got.Err != nil || got.Status != http.StatusOK || got.Source() != "" || len(got.Body) != len(want.Body) || !bytes.HasPrefix(got.Body, want.Body[:100]) {
		t.Errorf("16 MiB: status %d, source %q, %d bytes, want %d: %v", got.Status, got.Source(), len(got.Body), len(want.Body), got.Err)
	}
}

// TestFilterOfAKilledRoute: what is killed is called killed, whoever says so.
func TestFilterOfAKilledRoute(t *testing.T) {
	plane, model := filterPlane(t, "WASM", calmly, nil)
	if a := ask(plane); a.Source() != "primary" {
		t.Fatalf("%+v", a)
	}
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(dataplane.Program(t, "safestate"), append(args, "--server", "http://"+plane.HTTP)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	run("kill", "two-main", "--reason", "test", "--wait", "60s")
	asked := model.Requests()
	for range 3 {
		if a := ask(plane); a.Source() != "fallback" || !strings.HasPrefix(a.Reason(), "killed model default/two-main") {
			t.Errorf("killed: source %q, reason %q, status %d", a.Source(), a.Reason(), a.Status)
		}
	}
	if n := model.Requests() - asked; n > 0 {
		t.Errorf("the model was asked %d times", n)
	}
	run("revive", "two-main", "--reason", "test", "--generation", "1", "--wait", "60s")
	dataplane.Eventually(t, 30*time.Second, "the model answers again", func() bool { return ask(plane).Source() == "primary" })
}
