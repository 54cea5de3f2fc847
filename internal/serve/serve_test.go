package serve

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

func TestItServes(t *testing.T) {
	dir := folder(t)
	r := start(t, dir)
	if status, body := r.get("/healthz"); status != 200 || body != "ok\n" {
		t.Errorf("/healthz: %d %q", status, body)
	}
	status, s := r.ready()
	if status != 200 || !s.Ready || s.Config.Version == "" || s.Config.Applied.IsZero() || !s.Config.Refused.IsZero() || s.Config.Problems != nil {
		t.Errorf("/readyz: %d %+v", status, s)
	}
	for series, want := range map[string]string{
		`safestate_config_reloads_total{outcome="ok"}`:    "1",
		`safestate_config_reloads_total{outcome="error"}`: "0",
		`safestate_config_errors`:                         "0",
	} {
		if got := r.metric(series); got != want {
			t.Errorf("%s is %s, want %s", series, got, want)
		}
	}
	if status, _ := r.get("/nowhere"); status != 404 {
		t.Errorf("/nowhere: %d", status)
	}
	resp, err := r.client.Post("http://"+r.http+"/readyz", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST /readyz: %d", resp.StatusCode)
	}
	c := newCall(t, r.dial(), dir)
	if err := c.ask(); err != nil {
		t.Fatal(err)
	}
	if got := c.answer(nanAnswer); got != defaultBody {
		t.Errorf("NaN became %s", got)
	}
	if got := r.metric(`safestate_rung_seconds_count{outcome="answered",rung="safe_default"}`); got != "1" {
		t.Errorf("the safe default answered %s times, want once", got)
	}
	_ = c.stream.CloseSend()
	if err := r.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestPoliciesAreReadyBeforeTheirFirstRequest(t *testing.T) {
	dir := folder(t)
	body := filepath.Join(t.TempDir(), "default.json")
	write(t, body, defaultBody)
	write(t, filepath.Join(dir, "fraud.yaml"), configuration("fraud", "0.5")+"      refresh: {file: "+body+", interval: 1h}\n")
	r := start(t, dir)
	until(t, "the default to be read", func() bool { return r.metric(`safestate_default_refreshes_total{outcome="ok"}`) == "1" })
}

func TestABadConfigurationAtTheStart(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, dir string)
		want    []string
	}{
		"every mistake in one go": {func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "fraud.yaml"), strings.Replace(configuration("fraud", "0.5"), "deadline: 20s", "deadline: 20ns", 1))
			write(t, filepath.Join(dir, "other.yaml"), strings.Replace(configuration("other", "0.5"), "kind: Model", "kind: Modell", 1))
		}, []string{"fraud.yaml:27: spec.deadline: ", "other.yaml:12: kind: "}},
		"nothing in it": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "fraud.yaml")); err != nil {
				t.Fatal(err)
			}
		}, []string{"config: has no *.yaml"}},
		"no folder": {func(t *testing.T, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}, []string{"config: cannot be read: no such file or directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t)
			c.prepare(t, dir)
			err := Run(t.Context(), Options{ConfigDir: dir, DataDir: t.TempDir(), HTTP: "127.0.0.1:0", GRPC: "127.0.0.1:0", Answers: "127.0.0.1:0", LogTo: io.Discard})
			if err == nil {
				t.Fatal("it ran")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in:\n%v", want, err)
				}
			}
		})
	}
}

func TestALaterMistakeKeepsTheLastGoodConfiguration(t *testing.T) {
	dir := folder(t)
	r := start(t, dir)
	file := filepath.Join(dir, "fraud.yaml")
	_, before := r.ready()

	write(t, file, strings.Replace(configuration("fraud", "0.7"), "deadline: 20s", "deadlin: 20s", 1))
	var now Readiness
	until(t, "the mistake to be seen", func() bool {
		_, now = r.ready()
		return len(now.Config.Problems) > 0
	})
	if !now.Ready || now.Config.Version != before.Config.Version || now.Config.Refused.IsZero() || !now.Config.Applied.Equal(before.Config.Applied) {
		t.Errorf("/readyz: %+v, want the configuration of before, %+v", now, before)
	}
	if p := now.Config.Problems[0]; !strings.Contains(p, "fraud.yaml:27: spec.deadlin: ") {
		t.Errorf("/readyz says %q", p)
	}
	until(t, "the mistake to be counted", func() bool { // it is seen before
		return r.metric(`safestate_config_reloads_total{outcome="error"}`) != "0" && r.metric("safestate_config_errors") != "0"
	})
	until(t, "the log to tell", func() bool { return strings.Contains(r.log.String(), "the last good one stays") })
	c := newCall(t, r.dial(), folder(t))
	if err := c.ask(); err != nil {
		t.Fatal(err)
	}
	if got := c.answer(nanAnswer); got != defaultBody {
		t.Errorf("meanwhile NaN becomes %s", got)
	}

	write(t, file, configuration("fraud", "0.7"))
	until(t, "the mended one to be applied", func() bool { return r.version() != before.Config.Version })
	_, now = r.ready()
	if len(now.Config.Problems) > 0 || !now.Config.Refused.IsZero() || r.metric("safestate_config_errors") != "0" {
		t.Errorf("/readyz after mending: %+v", now)
	}
}

func TestMendedToWhatIsInUse(t *testing.T) {
	dir := folder(t)
	r := start(t, dir)
	_, before := r.ready()
	file := filepath.Join(dir, "fraud.yaml")
	write(t, file, "kind: [")
	until(t, "the mistake to be seen", func() bool { _, s := r.ready(); return len(s.Config.Problems) > 0 })
	write(t, file, configuration("fraud", "0.5"))
	until(t, "the problem to go", func() bool { _, s := r.ready(); return len(s.Config.Problems) == 0 })
	if _, s := r.ready(); s.Config.Version != before.Config.Version || !s.Config.Applied.Equal(before.Config.Applied) {
		t.Errorf("%+v, want %+v", s, before)
	}
	until(t, "the log to tell", func() bool { return strings.Contains(r.log.String(), "configuration mended") })
	if n := strings.Count(r.log.String(), "configuration applied"); n != 1 {
		t.Errorf("applied %d times, by the log", n)
	}
}

func TestFilesComeAndGo(t *testing.T) {
	dir := folder(t)
	r := start(t, dir)
	one := r.version()
	other := filepath.Join(dir, "other.yaml")
	write(t, other, configuration("other", "0.1"))
	until(t, "the second file", func() bool { return r.version() != one })
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	until(t, "one file again", func() bool { return r.version() == one })
	write(t, filepath.Join(dir, "notes.txt"), "not configuration")
	write(t, filepath.Join(dir, ".fraud.yaml.swp"), "kind: [")
	write(t, filepath.Join(dir, "last.yaml"), configuration("other", "0.2"))
	until(t, "the last file", func() bool { return r.version() != one })
	if _, s := r.ready(); len(s.Config.Problems) > 0 {
		t.Errorf("what is not configuration was read: %v", s.Config.Problems)
	}
}

// A ConfigMap's files are links through ..data, which is swapped.
func TestAConfigMap(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "config")
	version := func(name, score string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name, "fraud.yaml"), configuration("fraud", score))
		link(t, name, filepath.Join(dir, "..data"))
	}
	version("..1", "0.5")
	link(t, filepath.Join("..data", "fraud.yaml"), filepath.Join(dir, "fraud.yaml"))
	r := start(t, dir)
	first := r.version()
	version("..2", "0.6")
	until(t, "the new version", func() bool { return r.version() != first })
	version("..3", "0.5")
	until(t, "the old version again", func() bool { return r.version() == first })
	if got := r.metric(`safestate_config_reloads_total{outcome="error"}`); got != "0" {
		t.Errorf("%s loads saw half a change", got)
	}
}

// link makes or atomically replaces a link.
func link(t *testing.T, to, at string) {
	t.Helper()
	if err := os.Symlink(to, at+".tmp"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(at+".tmp", at); err != nil {
		t.Fatal(err)
	}
}

func TestTheFolderItselfIsReplaced(t *testing.T) {
	t.Run("a link", func(t *testing.T) {
		base := t.TempDir()
		for _, name := range []string{"a", "b"} {
			if err := os.Mkdir(filepath.Join(base, name), 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(base, name, "fraud.yaml"), configuration("fraud", map[string]string{"a": "0.1", "b": "0.2"}[name]))
		}
		dir := filepath.Join(base, "config")
		link(t, "a", dir)
		r := start(t, dir)
		a := r.version()
		link(t, "b", dir)
		until(t, "the other folder to be read", func() bool { return r.version() != a })
		b := r.version()
		write(t, filepath.Join(base, "b", "fraud.yaml"), configuration("fraud", "0.3"))
		until(t, "a change in the other folder", func() bool { return r.version() != b })
	})
	t.Run("a folder", func(t *testing.T) {
		dir := folder(t)
		r := start(t, dir)
		before := r.version()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		until(t, "its absence to be seen", func() bool { _, s := r.ready(); return s.Ready && len(s.Config.Problems) > 0 })
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "fraud.yaml"), configuration("fraud", "0.9"))
		until(t, "the new folder to be read", func() bool { return r.version() != before })
	})
}

func TestADrainWaitsForRequestsInFlight(t *testing.T) {
	dir := folder(t)
	r := start(t, dir, func(o *Options) { o.Drain = time.Minute })
	conn := r.dial()
	checks := healthv1.NewHealthClient(conn)
	if got, err := checks.Check(t.Context(), &healthv1.HealthCheckRequest{}); err != nil || got.Status != healthv1.HealthCheckResponse_SERVING {
		t.Fatalf("health: %v, %v", got, err)
	}
	watching, endWatch := context.WithTimeout(t.Context(), 2*time.Minute)
	defer endWatch()
	watch, err := checks.Watch(watching, &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := watch.Recv(); err != nil || got.Status != healthv1.HealthCheckResponse_SERVING {
		t.Fatalf("health: %v, %v", got, err)
	}
	c := newCall(t, conn, dir)
	if err := c.ask(); err != nil {
		t.Fatal(err)
	}
	until(t, "it leads", func() bool { return r.metric("safestate_release_leading") == "1" })
	r.stop()
	if got, err := watch.Recv(); err != nil || got.Status != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health while draining: %v, %v", got, err)
	}
	endWatch()
	until(t, "not ready", func() bool { status, s := r.ready(); return status == 503 && !s.Ready })
	// It hears of no answer and reaches no proxy any more: another one may lead.
	until(t, "the lead to be given up", func() bool { return r.metric("safestate_release_leading") == "0" })
	if status, _ := r.get("/healthz"); status != 200 {
		t.Errorf("/healthz while draining: %d", status)
	}
	until(t, "new streams to be refused", func() bool { return newCall(t, r.dial(), dir).ask() != nil })
	if got := c.answer(nanAnswer); got != defaultBody {
		t.Errorf("in the drain NaN became %s", got)
	}
	_ = c.stream.CloseSend()
	<-r.ended // and not only after a minute, or the test's own limit ends it
	if r.err != nil {
		t.Errorf("Run: %v", r.err)
	}
}

// What does not finish in time must not look like a processor that has nothing
// to say: Envoy would pass the model's answer.
func TestADrainEnds(t *testing.T) {
	dir := folder(t)
	r := start(t, dir, func(o *Options) { o.Drain = 50 * time.Millisecond })
	c := newCall(t, r.dial(), dir)
	if err := c.ask(); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	if err := r.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(started); took < 50*time.Millisecond || took > 30*time.Second {
		t.Errorf("drained in %s with a request in flight, want 50ms", took)
	}
	if _, err := c.stream.Recv(); err == nil || errors.Is(err, io.EOF) || status.Code(err) == codes.OK {
		t.Errorf("the request's stream ended with %v", err)
	}
}

func TestProxiesDoNotHoldADrain(t *testing.T) {
	r := start(t, folder(t), func(o *Options) { o.Drain = time.Minute })
	conn := r.dial()
	client := discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	node := &corev3.Node{Id: "proxy-1"}
	delta, err := client.DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := delta.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: resourcev3.ClusterType}); err != nil {
		t.Fatal(err)
	}
	got, err := delta.Recv()
	if err != nil || len(got.Resources) == 0 {
		t.Fatalf("ADS gave %v, %v", got, err)
	}
	whole, err := client.StreamAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := whole.Send(&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: resourcev3.ListenerType}); err != nil {
		t.Fatal(err)
	}
	if _, err := whole.Recv(); err != nil {
		t.Fatal(err)
	}
	if got := r.metric("safestate_xds_proxies"); got != "1" {
		t.Errorf("%s proxies, want 1", got)
	}
	started := time.Now()
	if err := r.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(started); took > 30*time.Second {
		t.Errorf("the drain took %s", took)
	}
}

func TestAConfigurationReachesTheProxies(t *testing.T) {
	dir := folder(t)
	r := start(t, dir)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(r.dial()).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: "p"}, TypeUrl: resourcev3.ClusterType}); err != nil {
		t.Fatal(err)
	}
	wantCluster(t, stream, "default/fraud/v1")
	write(t, filepath.Join(dir, "other.yaml"), configuration("other", "0.1"))
	wantCluster(t, stream, "default/other/v1")
}

// wantCluster reads until a cluster comes.
func wantCluster(t *testing.T, stream grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse], name string) {
	t.Helper()
	for range 10 {
		got, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: got.TypeUrl, ResponseNonce: got.Nonce}); err != nil {
			t.Fatal(err)
		}
		for _, r := range got.Resources {
			if r.Name == name {
				return
			}
		}
	}
	t.Fatalf("no cluster %s came", name)
}
