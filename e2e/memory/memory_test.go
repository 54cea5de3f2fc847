// Package memory watches what safestate's memory, and that of an Envoy with the filter,
// does over 200,000 requests.
// It takes minutes and is run by `make memory`.
package memory

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/e2e/faultmodel"
)

const (
	requests    = 200_000
	connections = 16
	sampleEvery = 1_000
	// Bounds, in bytes.
	idleLimit  = 80 << 20
	slopeLimit = 1 << 20 // per 50,000 requests, over the last quarter
)

func TestMain(m *testing.M) {
	code := m.Run()
	dataplane.Cleanup()
	os.Exit(code)
}

// TestMemory runs the sample's whole fraud policy: every twentieth answer is
// NaN, so that the ladder works too.
func TestMemory(t *testing.T) {
	plane := start(t, "")
	idle := watch(t, plane, plane.Safestate, "")
	if idle >= idleLimit {
		t.Errorf("idle RSS is %.1f MB, want under %.0f", mb(float64(idle)), mb(idleLimit))
	}
}

// TestMemoryInEnvoy is TestMemory of an Envoy with the filter.
func TestMemoryInEnvoy(t *testing.T) {
	plane := start(t, "WASM")
	watch(t, plane, plane.Envoy, "wasm_envoy_")
}

// watch sends the requests, and fails the test where a process grows. It returns what
// the process held before.
func watch(t *testing.T, plane *dataplane.Plane, of *dataplane.Process, figure string) (idle int64) {
	t.Helper()
	idle, err := of.RSS()
	if err != nil {
		t.Fatal(err)
	}
	samples := make([]int64, 0, requests/sampleEvery)
	var mu sync.Mutex
	var sent, failed atomic.Int64
	var wg sync.WaitGroup
	for range connections {
		wg.Go(func() {
			for {
				n := sent.Add(1)
				if n > requests {
					return
				}
				if a := plane.Client.Do(request(n)); a.Err != nil || a.Status != http.StatusOK || a.Source() == "" {
					failed.Add(1)
				}
				if n%sampleEvery == 0 {
					rss, err := of.RSS()
					if err != nil {
						failed.Add(1)
						continue
					}
					mu.Lock()
					samples = append(samples, rss)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d requests got no inspected answer", failed.Load())
	}
	last := samples[len(samples)*3/4:]
	slope := perSample(last) * (50_000 / sampleEvery)
	fmt.Printf("figure %srss_idle_mb=%.1f rss_end_mb=%.1f slope_mb_per_50000=%.3f\n", figure, mb(float64(idle)), mb(float64(last[len(last)-1])), mb(slope))
	if slope >= slopeLimit {
		t.Errorf("RSS grows by %.2f MB per 50,000 requests, want under %.0f", mb(slope), mb(slopeLimit))
	}
	return idle
}

func mb(bytes float64) float64 { return bytes / (1 << 20) }

// perSample is the slope of the least-squares line through y over 0, 1, 2, …
func perSample(y []int64) float64 {
	n := float64(len(y))
	var sx, sy, sxx, sxy float64
	for i, v := range y {
		x := float64(i)
		sx, sy, sxx, sxy = sx+x, sy+float64(v), sxx+x*x, sxy+x*float64(v)
	}
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}

func request(n int64) dataplane.Request {
	q := dataplane.Request{Path: "/v2/models/fraud/infer", Header: http.Header{}}
	q.Body = fmt.Appendf(nil, `{"id": "%d", "parameters": {"amount": %d, "account_age_days": %d}, `+
		`"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [%d, %d, 0, 0]}]}`, n, n%9000, n%400, n%9000, n%400)
	if n%20 == 0 {
		q.Header.Set("X-Sample-Fault", "nan-bare")
	}
	return q
}

// start serves docs/samples/fraud with the models on free ports, and a host for its
// policy; empty: the processor.
func start(t *testing.T, host string) *dataplane.Plane {
	t.Helper()
	ports := map[string]string{}
	for version, was := range map[string]string{"v1": "9101", "v2": "9102", "small": "9103"} {
		model, err := faultmodel.Start(faultmodel.Options{Version: version, FaultHeader: version != "small"}) // the fallback gets the caller's headers
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(model.Close)
		ports[was] = model.Port()
	}
	dir := t.TempDir()
	files, err := filepath.Glob(filepath.Join(dataplane.Root(), "docs", "samples", "fraud", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no sample: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for was, port := range ports {
			text = bytes.ReplaceAll(text, []byte("port: "+was), []byte("port: "+port))
		}
		if host != "" {
			text = bytes.Replace(text, []byte("  mode: Enforce\n"), []byte("  mode: Enforce\n  host: "+host+"\n"), 1)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var module []string
	if host != "" {
		module = []string{"--wasm-module", dataplane.Module(t)}
	}
	return dataplane.Start(t, dataplane.Options{Config: dir, Serve: append([]string{"--log-level", "warn"}, module...), Render: module})
}
