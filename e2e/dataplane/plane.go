package dataplane

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/porttest"
)

// startWithin bounds every start: generous, because machines are busy.
const startWithin = 60 * time.Second

// Options of a data plane.
type Options struct {
	// Config is the folder that safestate reads.
	Config string
	// Serve are further flags of `safestate serve`, Render of `safestate
	// render`.
	Serve, Render []string
	// Static runs Envoy from `safestate render envoy`, not from ADS. Edit, if
	// set, changes that configuration first.
	Static bool
	Edit   func(t testing.TB, config map[string]any)
	// NoProcessor leaves safestate out: the static configuration's processor
	// is then dead from the start.
	NoProcessor bool
}

// Plane is safestate and an Envoy in front of models.
type Plane struct {
	Traffic, Admin, HTTP, GRPC, Answers string // host:port each

	Data string // folder of safestate's store

	Safestate *Process // nil with NoProcessor
	Envoy     *Process
	Client    *Client

	t    testing.TB
	opts Options
}

// Start starts a data plane and waits until it is ready. It ends with the test.
func Start(t testing.TB, opts Options) *Plane {
	t.Helper()
	p := &Plane{t: t, opts: opts, Data: t.TempDir()}
	for _, addr := range []*string{&p.Traffic, &p.Admin, &p.HTTP, &p.GRPC, &p.Answers} {
		*addr = porttest.Address(t)
	}
	bootstrap := p.render()
	if !opts.NoProcessor {
		p.StartSafestate()
	}
	p.Envoy = StartEnvoy(t, bootstrap, p.Admin)
	p.Client = NewClient(p.Traffic)
	t.Cleanup(p.Client.Close)
	Eventually(t, startWithin, "Envoy takes traffic", func() bool {
		if p.Envoy.Exited() {
			t.Fatalf("Envoy ended: %v\n%s", p.Envoy.WaitExit(0), tail(p.Envoy.Log(), 8<<10))
		}
		a := p.Client.Do(Request{Method: http.MethodGet, Path: "/no-such-route"})
		return a.Err == nil && (a.Status == http.StatusNotFound || opts.Edit != nil) // another filter may answer everything
	})
	return p
}

// render writes Envoy's configuration to a file and returns its path.
func (p *Plane) render() string {
	p.t.Helper()
	flags := append([]string{"--traffic", p.Traffic, "--envoy-admin", p.Admin, "--processor", p.GRPC, "--answers-upstream", p.Answers}, p.opts.Render...)
	args := append([]string{"render", "bootstrap"}, flags...)
	if p.opts.Static || p.opts.NoProcessor {
		args = append([]string{"render", "envoy", p.opts.Config}, flags...)
	}
	cmd := exec.Command(Program(p.t, "safestate"), args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatalf("safestate %v: %v\n%s", args, err, stderr.String())
	}
	if p.opts.Edit != nil {
		out = edit(p.t, out, p.opts.Edit)
	}
	path := filepath.Join(p.t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(path, out, 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// StartSafestate starts safestate, also again after it was killed, and waits
// until it is ready.
func (p *Plane) StartSafestate() {
	p.t.Helper()
	args := append([]string{
		"serve", "--config", p.opts.Config, "--http", p.HTTP, "--grpc", p.GRPC, "--answers", p.Answers,
		"--traffic", p.Traffic, "--envoy-admin", p.Admin, "--data-dir", p.Data,
	}, p.opts.Serve...)
	p.Safestate = Spawn(p.t, "safestate", Program(p.t, "safestate"), args...)
	Eventually(p.t, startWithin, "safestate is ready", func() bool {
		if p.Safestate.Exited() {
			p.t.Fatalf("safestate ended: %v\n%s", p.Safestate.WaitExit(0), tail(p.Safestate.Log(), 8<<10))
		}
		return Get("http://"+p.HTTP+"/readyz") != ""
	})
}

// StartEnvoy starts Envoy with a configuration file and waits until its admin
// interface says that it is live.
func StartEnvoy(t testing.TB, config, admin string) *Process {
	t.Helper()
	path, err := Envoy()
	if err != nil {
		t.Fatal(err)
	}
	p := Spawn(t, "envoy", path, "-c", config, "--disable-hot-restart", "--concurrency", "2", "--log-level", "warning")
	Eventually(t, startWithin, "Envoy is live", func() bool {
		if p.Exited() {
			t.Fatalf("Envoy ended: %v\n%s", p.WaitExit(0), tail(p.Log(), 8<<10))
		}
		return strings.Contains(Get("http://"+admin+"/ready"), "LIVE")
	})
	return p
}

// readWithin bounds the wait for a page: a busy machine takes seconds for one.
const readWithin = 10 * time.Second

// Get returns the body of a URL that answers 200 within a while, or "".
func Get(url string) string {
	ctx, cancel := context.WithTimeout(context.Background(), readWithin)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return ""
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return ""
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(body)
}

// Metric sums the values of a metric's samples whose labels contain all of the
// given texts, such as `source="primary"`; 0 where there is none.
func (p *Plane) Metric(name string, labels ...string) float64 {
	return sum(Get("http://"+p.HTTP+"/metrics"), name, labels)
}

// EnvoyStat is Metric of Envoy's own statistics, by their Prometheus names.
func (p *Plane) EnvoyStat(name string, labels ...string) float64 {
	return sum(Get("http://"+p.Admin+"/stats/prometheus"), name, labels)
}

func sum(text, name string, labels []string) float64 {
	total := 0.0
samples:
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(rest, l) {
				continue samples
			}
		}
		var v float64
		if _, err := fmt.Sscan(rest[strings.LastIndexByte(rest, ' ')+1:], &v); err == nil {
			total += v
		}
	}
	return total
}
