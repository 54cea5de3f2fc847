package tlsmesh

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/porttest"
)

// callers ask, some 50 times a second, until they are stopped, and remember the first
// answers that were not judged, and how many came.
type callers struct {
	mu    sync.Mutex
	asked int
	bad   []string

	stop func()
}

func startCallers(t *testing.T, p *proxy) *callers {
	t.Helper()
	l := &callers{}
	done := make(chan struct{})
	var asking sync.WaitGroup
	for i := range 2 {
		asking.Go(func() {
			tick := time.NewTicker(40 * time.Millisecond)
			defer tick.Stop()
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				case <-tick.C:
				}
				l.ask(p, (n+i)%2 == 0)
			}
		})
	}
	l.stop = sync.OnceFunc(func() {
		close(done)
		asking.Wait()
	})
	t.Cleanup(l.stop)
	return l
}

func (l *callers) ask(p *proxy, nan bool) {
	var header []string
	want, source := cleanAnswer, "primary"
	if nan {
		header, want, source = []string{ask, "nan"}, safeDefault, "safe_default"
	}
	a := p.score(header...)
	judged := a.Err == nil && a.Status == http.StatusOK && string(a.Body) == want && a.Source() == source && (!nan || strings.HasPrefix(a.Reason(), "nonfinite"))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	if !judged && len(l.bad) < 10 {
		l.bad = append(l.bad, fmt.Sprintf("request %d: %v %d %q, source %q, reason %q", l.asked, a.Err, a.Status, a.Body, a.Source(), a.Reason()))
	}
}

// fine stops the load, and fails the test where any answer was not judged.
func (l *callers) fine(t *testing.T) {
	t.Helper()
	l.stop()
	if len(l.bad) > 0 || l.asked < 20 {
		t.Errorf("of %d answers not judged:\n%s", l.asked, strings.Join(l.bad, "\n"))
	}
}

// so is how many answers have come.
func (l *callers) so() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

// more waits for further answers.
func (l *callers) more(t *testing.T, n int) {
	t.Helper()
	from := l.so()
	dataplane.Eventually(t, soon, "further answers", func() bool { return l.so() >= from+n })
}

// TestRotationUnderLoad has the key rotated twice while requests come all the
// time, and none is refused: not at the moment at which policies are signed anew,
// and not when the old key is dropped.
func TestRotationUnderLoad(t *testing.T) {
	ca := newAuthority(t, "ca")
	c := far(t, ca, folder(t, world(share{version: "v1", port: model(t, "v1"), weight: 100})))
	p := c.startEnvoy(t, []string{"bootstrap"}, nil, append(ca.issued("mesh/payments").proxyFlags(), "--node-id", node)...)
	dataplane.Eventually(t, soon, "answers are judged", p.judges)
	server := "http://" + c.http
	l := startCallers(t, p)
	first := command(t, "keys", "list", "--pem", "--server", server)
	for range 2 {
		before := command(t, "keys", "list", "--pem", "--server", server)
		command(t, "keys", "rotate", "--reason", "a test", "--after", "1s", "--overlap", "4s", "--server", server)
		dataplane.Eventually(t, soon, "the rotation is over", func() bool {
			now := command(t, "keys", "list", "--pem", "--server", server)
			return now != before && strings.Count(now, "BEGIN PUBLIC KEY") == 1
		})
		l.more(t, 10)
	}
	l.fine(t)
	if command(t, "keys", "list", "--pem", "--server", server) == first {
		t.Error("it is the first key again")
	}
	for _, cause := range []string{"unsigned", "malformed", "unknown_key", "other_route", "wrong_signature", "no_keys"} {
		if n := c.count(`safestate_policies_refused_total{cause="` + cause + `"}`); n != 0 {
			t.Errorf("%v policies were refused: %s", n, cause)
		}
	}
}

// TestRotationOfAProcessorApart has the keys of a processor that runs by itself
// changed by its file, under load: the new one is there before policies are signed
// by it.
func TestRotationOfAProcessorApart(t *testing.T) {
	ca := newAuthority(t, "ca")
	c := far(t, ca, folder(t, world(share{version: "v1", port: model(t, "v1"), weight: 100})), "--role", "control")
	server := "http://" + c.http
	keys := filepath.Join(t.TempDir(), "keys.pem")
	place(t, keys, []byte(command(t, "keys", "list", "--pem", "--server", server)))

	_, port, _ := strings.Cut(porttest.Address(t), ":")
	status := porttest.Address(t)
	host := dataplane.Spawn(t, "processor", dataplane.Program(t, "safestate"), append([]string{
		"serve", "--role", "extproc", "--grpc", "0.0.0.0:" + port, "--answers", c.answers, "--http", status, "--policy-keys", keys,
	}, ca.issued("processor").serveFlags()...)...)
	dataplane.Eventually(t, soon, "the processor is ready", func() bool { return dataplane.Get("http://"+status+"/readyz") != "" })
	p := (&control{grpc: "127.0.0.1:" + port, answers: c.answers, traffic: c.traffic}).startEnvoy(t, []string{"bootstrap"}, nil,
		append(ca.issued("mesh/payments").proxyFlags(), "--node-id", node, "--xds", c.grpc)...)
	dataplane.Eventually(t, soon, "answers are judged", p.judges)
	l := startCallers(t, p)

	// Nobody but the clock waits for a processor whose keys come by a file.
	command(t, "keys", "rotate", "--reason", "a test", "--after", "12s", "--overlap", "4s", "--server", server)
	place(t, keys, []byte(command(t, "keys", "list", "--pem", "--server", server)))
	dataplane.Eventually(t, soon, "the processor has both keys", func() bool {
		return strings.Count(host.Log(), "keys of policies read again") == 1
	})
	dataplane.Eventually(t, soon, "the rotation is over", func() bool {
		return strings.Count(command(t, "keys", "list", "--pem", "--server", server), "BEGIN PUBLIC KEY") == 1
	})
	place(t, keys, []byte(command(t, "keys", "list", "--pem", "--server", server)))
	dataplane.Eventually(t, soon, "the processor has the new one alone", func() bool {
		return strings.Count(host.Log(), "keys of policies read again") == 2
	})
	l.more(t, 10)
	if err := os.WriteFile(keys+".next", []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(keys+".next", keys); err != nil {
		t.Fatal(err)
	}
	dataplane.Eventually(t, soon, "a file that is none is told of", func() bool { return strings.Contains(host.Log(), "cannot be used, the last good ones stay") })
	l.more(t, 10)
	l.fine(t)
}

// TestCertificatesSwappedUnderLoad has everybody's certificates replaced, and then
// the authority of all, while requests come: none is lost and none passes
// unjudged. The authorities that both sides trust overlap, as those of a renewal
// do. At each step an Envoy that is started then finds its way too.
func TestCertificatesSwappedUnderLoad(t *testing.T) {
	before, after := newAuthority(t, "before"), newAuthority(t, "after")
	until := time.Now().Add(time.Hour)
	server, client := pairIn(t.TempDir()), pairIn(t.TempDir())
	before.renew(server, "safestate", until, before)
	before.renew(client, node, until, before)
	dir := t.TempDir()
	secret, authorities := filepath.Join(dir, "secret.yaml"), filepath.Join(dir, "authorities.yaml")
	place(t, secret, render(t, "secret", "--tls-cert", client.cert, "--tls-key", client.key))
	place(t, authorities, render(t, "secret", "--tls-ca", client.ca))
	flags := append(client.proxyFlags(), "--tls-secret", secret, "--tls-ca-secret", authorities)

	config := folder(t, world(share{version: "v1", port: model(t, "v1"), weight: 100}))
	_, port, _ := strings.Cut(porttest.Address(t), ":")
	c := startControl(t, config, append(server.serveFlags(), "--grpc", "0.0.0.0:"+port)...)
	c.grpc = "127.0.0.1:" + port
	p := c.startEnvoy(t, []string{"bootstrap"}, nil, append(flags, "--node-id", node)...)
	dataplane.Eventually(t, soon, "answers are judged", p.judges)
	all := startCallers(t, p)

	for i, step := range []struct {
		by      *authority
		trusted []*authority
	}{
		{before, []*authority{before, after}}, // both trust both
		{after, []*authority{before, after}},  // each has a new certificate
		{after, []*authority{after}},          // and nobody trusts the old one
	} {
		serial := mine(p, client)
		step.by.renew(client, node, until, step.trusted...)
		step.by.renew(server, "safestate", until, step.trusted...)
		dataplane.Eventually(t, soon, "Envoy has read its files", func() bool { now := mine(p, client); return now != "" && now != serial })
		fresh := c.startEnvoy(t, []string{"fragment", config}, nil, append(flags, "--node-id", fmt.Sprintf("%s/%d", node, i))...)
		dataplane.Eventually(t, soon, "a new Envoy's answers are judged", fresh.judges)
		fresh.process.Kill()
		all.more(t, 5)
	}
	all.fine(t)

	// What was connected all the time finds its way back by what it read since: a
	// process that is stopped loses its connections.
	if err := c.process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	dataplane.Eventually(t, soon, "Envoy gives up its connections", func() bool {
		return p.stat("cluster.safestate_xds.upstream_cx_active") == "0" && p.stat("cluster.safestate_extproc.upstream_cx_active") == "0" ||
			p.stat("control_plane.connected_state") == "0"
	})
	if err := c.process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	dataplane.Eventually(t, soon, "answers are judged over new connections", p.judges)
	if c.told("cannot be used") {
		t.Error("a renewed file could not be used")
	}
}
