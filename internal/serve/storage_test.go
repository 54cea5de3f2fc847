package serve

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
)

// nobody is an endpoint at which no etcd listens.
func nobody(t *testing.T) []string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return []string{"http://" + l.Addr().String()}
}

// A replica that knows what held starts while the cluster is away: it serves that, and
// says so.
func TestAStartWithoutTheCluster(t *testing.T) {
	t.Parallel()
	dir, data := folder(t), t.TempDir()
	first := start(t, dir, func(o *Options) { o.DataDir = data })
	until(t, "a release is known", func() bool {
		return first.metric(`safestate_release_generation{model="default/fraud"}`) == "1"
	})
	version := first.version()
	if err := first.end(); err != nil {
		t.Fatal(err)
	}

	r := start(t, dir, func(o *Options) { o.DataDir, o.Etcd = data, nobody(t) })
	if status, s := r.ready(); status != 200 || s.Config.Version != version {
		t.Errorf("%d, %+v; want %s", status, s, version)
	}
	if got := r.metric(`safestate_release_generation{model="default/fraud"}`); got != "1" {
		t.Errorf("generation %s", got)
	}
	_, body := r.get("/v1/status")
	for _, want := range []string{"was not read since the start", "does not answer", "connection refused", `"well": false`} {
		if !strings.Contains(body, want) {
			t.Errorf("status does not say %q: %s", want, body)
		}
	}
	if status, body := r.get("/v1/store/backup"); status != 503 || !strings.Contains(body, "connection refused") {
		t.Errorf("a backup of a store that is away: %d %s", status, body)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// One that knows nothing does not: the files' weights may be those of a bad version.
func TestAFirstStartWithoutTheCluster(t *testing.T) {
	t.Parallel()
	err := Run(context.Background(), Options{
		ConfigDir: folder(t), DataDir: t.TempDir(), HTTP: "127.0.0.1:0", GRPC: "127.0.0.1:0", Answers: "127.0.0.1:0", Etcd: nobody(t), LogTo: &bytes.Buffer{},
	})
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
}
