package control

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/store"
	"github.com/safestate/safestate/internal/store/etcd"
	"github.com/safestate/safestate/internal/telemetry"
	"github.com/safestate/safestate/internal/verdict"
)

const fraud = "default/fraud"

// models are where the versions of a world listen.
type models [3]net.Listener

func newModels(t *testing.T) *models {
	t.Helper()
	var m models
	for i := range m {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		m[i] = l
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_ = conn.Close()
			}
		}()
	}
	return &m
}

// world is a model of three versions and its policy: digest is v1's, most the
// largest score that passes, weight v1's; the rest is v2's.
func (m *models) world(t *testing.T, digest string, most, weight int, edit func(*config.World) config.Problems) *compile.Snapshot {
	t.Helper()
	return compiled(t, m.text(digest, most, weight), edit)
}

// elsewhere is a world that has another model instead.
func (m *models) elsewhere(t *testing.T, edit func(*config.World) config.Problems) *compile.Snapshot {
	t.Helper()
	return compiled(t, strings.ReplaceAll(m.text(one, 1, 100), "fraud", "rank"), edit)
}

func (m *models) text(digest string, most, weight int) string {
	port := func(i int) int { return m[i].Addr().(*net.TCPAddr).Port }
	return fmt.Sprintf(objects, weight, 100-weight, port(0), digest, port(1), port(2), most)
}

func compiled(t *testing.T, text string, edit func(*config.World) config.Problems) *compile.Snapshot {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, problems := compile.DirWith(dir, edit)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return s
}

func unedited(*config.World) config.Problems { return nil }

const one, other = "sha256:1111111111111111111111111111111111111111111111111111111111111111", "sha256:2222222222222222222222222222222222222222222222222222222222222222"

const objects = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: fraud}
spec:
  parentRefs: [{name: inference}]
  rules:
  - name: score
    backendRefs:
    - {name: fraud-v1, port: 80, weight: %d}
    - {name: fraud-v2, port: 80, weight: %d}
    - {name: fraud-v3, port: 80, weight: 0}
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: fraud}
spec:
  protocol: OpenInferenceV2
  rollout: {holdbackPercent: 1}
  versions:
  - {name: v1, backendRef: {name: fraud-v1, port: 80}, endpoints: [{address: 127.0.0.1, port: %d}], artifact: {uri: s3://fraud/1, digest: "%s"}}
  - {name: v2, backendRef: {name: fraud-v2, port: 80}, endpoints: [{address: 127.0.0.1, port: %d}]}
  - {name: v3, backendRef: {name: fraud-v3, port: 80}, endpoints: [{address: 127.0.0.1, port: %d}]}
---
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: fraud}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: fraud}]
  mode: Enforce
  deadline: 300ms
  detect: {nonFinite: {}, outputs: [{name: score, datatype: FP32, shape: [1], min: 0, max: %d}]}
  ladder:
  - safeDefault: {body: '{"model_name": "fraud", "outputs": [{"name": "score", "datatype": "FP32", "shape": [1], "data": [0.0]}]}'}
`

// bench is a control plane on a real store, with a host that reports what the
// test says.
type bench struct {
	t        *testing.T
	dir      string
	store    store.Store
	xds      *xds.Server
	hub      *signals.Hub
	reporter *signals.Reporter
	control  *Control
	reloads  atomic.Int32
	stop     func()
}

// start runs a control plane on a data folder.
func start(t *testing.T, dir string) *bench {
	t.Helper()
	s, err := etcd.Open(t.Context(), etcd.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, dir, "one", s)
}

// startOn runs one of several replicas.
func startOn(t *testing.T, dir, replica string, s store.Store) *bench {
	t.Helper()
	return startWith(t, dir, replica, s, func(*Options) {})
}

func startWith(t *testing.T, dir, replica string, s store.Store, edit func(*Options)) *bench {
	t.Helper()
	b := &bench{t: t, dir: dir, store: s, xds: xds.New(xds.Options{}), hub: signals.NewHub(signals.HubOptions{})}
	b.reporter = signals.NewReporter(signals.ReporterOptions{Name: "test", Links: []signals.Link{b.hub.Link()}})
	var err error
	o := Options{
		Store: s, XDS: b.xds, Hub: b.hub, DataDir: dir, Envoy: envoy.Options{}, Replica: replica,
		Reload: func() { b.reloads.Add(1) }, Log: telemetry.NopLog(), Metrics: telemetry.NewMetrics("test", telemetry.Caps{}),
	}
	edit(&o)
	b.control, err = New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.control.Run(ctx)
	}()
	stopped := false
	b.stop = func() {
		if stopped {
			return
		}
		stopped = true
		b.reporter.Close()
		cancel()
		<-ended
		b.hub.Close()
		b.xds.Close()
		_ = s.Close()
	}
	t.Cleanup(b.stop)
	return b
}

func (b *bench) configure(s *compile.Snapshot) {
	b.t.Helper()
	if _, err := b.control.Configure(b.t.Context(), s); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) do(c release.Command) release.State {
	b.t.Helper()
	c.By, c.Reason = "ann", "a test"
	s, err := b.control.Do(b.t.Context(), fraud, c)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *bench) state() release.State { return b.control.book.get(fraud).state }

// until waits for the model's state to be as it should.
func (b *bench) until(what string, holds func(release.State) bool) release.State {
	b.t.Helper()
	var s release.State
	if !eventually(func() bool { s = b.state(); return holds(s) }) {
		b.t.Fatalf("in vain: %s; the state is %+v", what, s)
	}
	return s
}

func eventually(holds func() bool) bool {
	end := time.Now().Add(time.Minute)
	for !holds() {
		if time.Now().After(end) {
			return false
		}
		time.Sleep(5 * time.Millisecond)
	}
	return true
}

// answer has a version answer n requests of as many callers.
func (b *bench) answer(version string, n int, bad bool) {
	row := b.reporter.Row("proxy", "default/fraud/score", fraud, version)
	for i := range n {
		row.Asked(time.Now())
		caller := signals.PlaceOf(fmt.Sprintf("10.0.0.%d:1", i%200))
		if bad {
			row.Bad(verdict.NonFinite, time.Millisecond, caller)
			continue
		}
		row.Clean(time.Millisecond, caller)
	}
}
