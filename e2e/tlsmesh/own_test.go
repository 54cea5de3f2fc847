package tlsmesh

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
)

// ownForms are the ways in which an Envoy with a listener of its own takes routes
// and clusters.
var ownForms = map[string][]string{"RDS and CDS alone": {"fragment"}, "over ADS": {"fragment", "--ads"}}

// TestOwnEnvoy has an Envoy with a listener of its own: its answers are judged, a
// change of weights is followed, and no request fails while it comes.
func TestOwnEnvoy(t *testing.T) {
	v1, v2 := share{version: "v1", port: model(t, "v1"), weight: 100}, share{version: "v2", port: model(t, "v2")}
	for name, form := range ownForms {
		t.Run(name, func(t *testing.T) {
			config := folder(t, world(v1, v2))
			c := startControl(t, config)
			p := c.startEnvoy(t, form, nil)
			dataplane.Eventually(t, soon, "answers are judged", p.judges)

			l := startLoad(t, p)
			for _, to := range []string{"v2", "v1", "v2"} {
				enough := l.count() + perSecond
				dataplane.Eventually(t, soon, "the load runs", func() bool { return l.count() >= enough })
				a, b := v1, v2
				a.weight, b.weight = 0, 100
				if to == "v1" {
					a.weight, b.weight = 100, 0
				}
				rewrite(t, config, world(a, b))
				dataplane.Eventually(t, soon, "all goes to "+to, func() bool { return l.last(perSecond/2, to) })
			}
			l.stop()
			l.unharmed(t)
			for _, stat := range []string{"cluster_manager.cds.update_rejected", "http.safestate.rds.safestate.update_rejected"} {
				if n := p.number(stat); n != 0 {
					t.Errorf("%s is %d", stat, n)
				}
			}
			if c.told("a proxy refused a configuration") {
				t.Error("the proxy refused a configuration")
			}
		})
	}
}

// TestOwnEnvoySecrets has a model behind TLS, and one that wants a token besides:
// both come from files on Envoy's machine.
func TestOwnEnvoySecrets(t *testing.T) {
	files := newAuthority(t, "ca").issued("model")
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	v1, v2 := share{version: "v1", port: secretModel(t, "v1", "", files), weight: 100}, share{version: "v2", port: secretModel(t, "v2", token, files)}
	for name, form := range ownForms {
		t.Run(name, func(t *testing.T) {
			config := folder(t, secured(files, "", v1))
			c := startControl(t, config)
			p := c.startEnvoy(t, form, nil)
			dataplane.Eventually(t, soon, "answers are judged", p.judges)
			before, after := v1, v2
			before.weight, after.weight = 0, 100
			rewrite(t, config, secured(files, file, before, after))
			dataplane.Eventually(t, soon, "the version that wants a token answers", func() bool { return p.score().Header.Get(versionHeader) == "v2" && p.judges() })
			if c.told("a proxy refused a configuration") {
				t.Error("the proxy refused a configuration")
			}
		})
	}
}

const token = "Bearer secret"

// secured is a world whose model is behind TLS and, with a file, wants the token
// in it.
func secured(model pair, file string, shares ...share) string {
	more := "  tls: {caFile: " + model.ca + "}\n"
	if file != "" {
		more += "  credentials: {authorizationFile: " + file + "}\n"
	}
	return strings.Replace(world(shares...), "  versions:\n", more+"  versions:\n", 1)
}

// perSecond is how many requests the load sends.
const perSecond = 100

// load sends requests at a steady rate, whether or not earlier ones are answered.
// What a busy machine holds up is made up for.
type load struct {
	stop func()

	mu      sync.Mutex
	answers []dataplane.Answer
}

func startLoad(t *testing.T, to *proxy) *load {
	t.Helper()
	l, ended := &load{}, make(chan struct{})
	var running sync.WaitGroup
	l.stop = sync.OnceFunc(func() { close(ended); running.Wait() })
	t.Cleanup(l.stop)
	running.Go(func() {
		began, sent := time.Now(), 0
		tick := time.NewTicker(time.Second / perSecond)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			for ; sent < int(time.Since(began)*perSecond/time.Second); sent++ {
				running.Go(func() {
					a := to.score()
					l.mu.Lock()
					defer l.mu.Unlock()
					l.answers = append(l.answers, a)
				})
			}
		}
	})
	return l
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.answers)
}

// last reports whether the n requests answered last were all answered by a
// version.
func (l *load) last(n int, version string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.answers) < n {
		return false
	}
	for _, a := range l.answers[len(l.answers)-n:] {
		if a.Header.Get(versionHeader) != version {
			return false
		}
	}
	return true
}

// unharmed fails the test if any request was not answered by a model.
func (l *load) unharmed(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	bad := 0
	for _, a := range l.answers {
		if a.Err != nil || a.Status != http.StatusOK || a.Source() != "primary" {
			if bad++; bad == 1 {
				t.Errorf("a request failed: status %d, source %q, reason %q, %v", a.Status, a.Source(), a.Reason(), a.Err)
			}
		}
	}
	if bad > 0 {
		t.Errorf("%d of %d requests failed", bad, len(l.answers))
	}
}
