package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
	"github.com/safestate/safestate/internal/porttest"
)

const (
	chaosDeadline = 2 * time.Second
	chaosDefault  = `{"model_name": "default", "outputs": [{"name": "score", "datatype": "FP32", "shape": [1], "data": [0.5]}]}`
	rate          = 200 // requests a second
	// lost is what no answer may take, whatever the machine does meanwhile.
	lost = 12 * time.Second
)

// stopped waits until the kernel says that a process is stopped.
func stopped(t *testing.T, p *dataplane.Process) {
	t.Helper()
	dataplane.Eventually(t, 30*time.Second, p.Name+" is in state T", func() bool {
		state, err := p.State()
		return err == nil && state == "T"
	})
}

// stand is a data plane with every part a process that can be killed.
type stand struct {
	t         *testing.T // of the whole test: a part started again in a sub-test outlives it
	plane     *dataplane.Plane
	fallback  *fm.Server
	model     *dataplane.Process
	redis     *dataplane.Process
	modelPort int
	control   int // port of the model's control
	redisPort int
}

func newStand(t *testing.T) *stand {
	t.Helper()
	s := &stand{t: t, modelPort: porttest.Free(t), control: porttest.Free(t), redisPort: porttest.Free(t)}
	fallback, err := fm.Start(fm.Options{Version: "small"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fallback.Close)
	s.fallback = fallback
	s.startModel()
	s.redis = dataplane.StartRedis(t, s.redisPort)
	dir := t.TempDir()
	text := fill(t, "chaos.yaml.tmpl", map[string]any{
		"PrimaryPort": s.modelPort, "FallbackPort": fallback.Port(), "Deadline": chaosDeadline, "Default": chaosDefault,
	})
	if err := os.WriteFile(filepath.Join(dir, "chaos.yaml"), times{chaosDeadline, chaosDeadline / 2}.fallbackIn(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.plane = dataplane.Start(t, dataplane.Options{Config: dir, Serve: []string{"--redis", fmt.Sprintf("redis://127.0.0.1:%d", s.redisPort)}})
	return s
}

// fill renders a template of testdata/policies.
func fill(t *testing.T, name string, values any) []byte {
	t.Helper()
	tmpl, err := template.ParseFiles(filepath.Join("testdata", "policies", name))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := tmpl.Execute(&out, values); err != nil {
		t.Fatal(err)
	}
	return []byte(out.String())
}

func (s *stand) startModel() {
	t := s.t
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", s.modelPort)
	s.model = dataplane.Spawn(t, "samplemodel", dataplane.Program(t, "samplemodel"), "-addr", addr, "-version", "v1",
		"-control", fmt.Sprintf("127.0.0.1:%d", s.control))
	dataplane.Eventually(t, time.Minute, "the model is ready", func() bool {
		resp, err := http.Get("http://" + addr + "/v2/health/ready")
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
}

// chaos is one event: what is done in the middle of the load, and undone.
type chaos struct {
	name     string
	do, undo func(*testing.T, *stand)
	// sources that may answer; a caller never sees anything else.
	sources []string
	// proof: while it lasts, this source has to be seen, or nothing happened.
	proof string
	// broken: the model answers NaN all the while, so that every request goes
	// down the ladder.
	broken bool
}

// setFault tells the model to fail, or with "" to stop it.
func (s *stand) setFault(t *testing.T, name string) {
	t.Helper()
	resp, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/fault", s.control), "application/json", strings.NewReader(fmt.Sprintf(`{"fault": %q}`, name)))
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("the model does not take fault %q: status %d, %v", name, resp.StatusCode, err)
	}
}

func kill(part func(*stand) *dataplane.Process) func(*testing.T, *stand) {
	return func(_ *testing.T, s *stand) { part(s).Kill() }
}

func signal(part func(*stand) *dataplane.Process, sig syscall.Signal) func(*testing.T, *stand) {
	return func(t *testing.T, s *stand) {
		t.Helper()
		p := part(s)
		if err := p.Signal(sig); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		if sig == syscall.SIGSTOP {
			stopped(t, p)
		}
		if sig == syscall.SIGTERM {
			if err := p.WaitExit(time.Minute); err != nil && !p.Exited() {
				t.Errorf("%s: %v", p.Name, err)
			}
		}
	}
}

func chaosEvents() []chaos {
	safestate := func(s *stand) *dataplane.Process { return s.plane.Safestate }
	model := func(s *stand) *dataplane.Process { return s.model }
	redis := func(s *stand) *dataplane.Process { return s.redis }
	again := func(_ *testing.T, s *stand) { s.plane.StartSafestate() }
	modelAgain := func(_ *testing.T, s *stand) { s.startModel() }
	redisAgain := func(_ *testing.T, s *stand) { s.redis = dataplane.StartRedis(s.t, s.redisPort) }
	anyRung := []string{"primary", "fallback", "cache", "safe_default"}
	ladder := []string{"fallback", "cache"}
	return []chaos{
		{name: "safestate SIGKILL", do: kill(safestate), undo: again, sources: anyRung, proof: "safe_default"},
		{name: "safestate SIGSTOP", do: signal(safestate, syscall.SIGSTOP), undo: signal(safestate, syscall.SIGCONT), sources: anyRung, proof: "safe_default"},
		{name: "safestate SIGTERM", do: signal(safestate, syscall.SIGTERM), undo: again, sources: anyRung, proof: "safe_default"},
		{name: "redis SIGKILL", do: kill(redis), undo: redisAgain, sources: ladder, proof: "fallback", broken: true},
		{name: "redis SIGSTOP", do: signal(redis, syscall.SIGSTOP), undo: signal(redis, syscall.SIGCONT), sources: ladder, proof: "fallback", broken: true},
		{name: "redis SIGTERM", do: signal(redis, syscall.SIGTERM), undo: redisAgain, sources: ladder, proof: "fallback", broken: true},
		{name: "model SIGKILL", do: kill(model), undo: modelAgain, sources: anyRung, proof: "fallback"},
		{name: "model SIGSTOP", do: signal(model, syscall.SIGSTOP), undo: signal(model, syscall.SIGCONT), sources: anyRung, proof: "fallback"},
		{name: "model SIGTERM", do: signal(model, syscall.SIGTERM), undo: modelAgain, sources: anyRung, proof: "fallback"},
	}
}

// TestChaos kills, stops and ends each part under 200 requests a second. Every
// request gets an allowed answer; uninspected ones are counted and there are
// none; how many were later than the deadline and 50 ms is printed, since a
// busy machine is late by itself, and none is lost.
func TestChaos(t *testing.T) {
	s := newStand(t)
	for _, event := range chaosEvents() {
		t.Run(event.name, func(t *testing.T) {
			dataplane.Eventually(t, 30*time.Second, "the primary answers", func() bool {
				return s.plane.Client.Do(inference(fm.V2, "chaos", 1, nil)).Source() == "primary"
			})
			if event.broken {
				s.setFault(t, "nan-bare")
				defer s.setFault(t, "")
			}
			l := startLoad(s.plane.Client)
			l.waitFor(t, rate) // a second of peace
			event.do(t, s)
			begun := l.sent()
			l.waitFor(t, begun+2*rate)
			event.undo(t, s)
			l.waitFor(t, l.sent()+rate)
			l.end()
			l.judge(t, event, begun)
		})
	}
}

// load sends requests at a fixed rate, each in its own goroutine, however long
// the answers take.
type load struct {
	stop    chan struct{}
	stopped chan struct{}
	wg      sync.WaitGroup

	mu      sync.Mutex
	count   int
	answers []timed
}

type timed struct {
	nth int
	dataplane.Answer
}

func startLoad(c *dataplane.Client) *load {
	l := &load{stop: make(chan struct{}), stopped: make(chan struct{})}
	go func() {
		defer close(l.stopped)
		tick := time.NewTicker(time.Second / rate)
		defer tick.Stop()
		for {
			select {
			case <-l.stop:
				return
			case <-tick.C:
			}
			l.mu.Lock()
			l.count++
			nth := l.count
			l.mu.Unlock()
			l.wg.Go(func() {
				a := c.Do(inference(fm.V2, "chaos", 1, nil))
				l.mu.Lock()
				defer l.mu.Unlock()
				l.answers = append(l.answers, timed{nth, a})
			})
		}
	}()
	return l
}

func (l *load) sent() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

func (l *load) waitFor(t *testing.T, n int) {
	t.Helper()
	dataplane.Eventually(t, time.Minute, fmt.Sprintf("%d requests are sent", n), func() bool { return l.sent() >= n })
}

func (l *load) end() {
	close(l.stop)
	<-l.stopped
	l.wg.Wait()
}

// judge holds every answer against the event's allowed set.
func (l *load) judge(t *testing.T, event chaos, begun int) {
	t.Helper()
	sources := map[string]int{}
	uninspected, late, away := 0, 0, 0
	var took []time.Duration
	for _, a := range l.answers {
		took = append(took, a.Took)
		if a.Took > chaosDeadline+50*time.Millisecond {
			late++
		}
		switch {
		case a.Err != nil || a.Status != http.StatusOK || a.Took > lost:
			t.Errorf("request %d of %d (the event at %d): status %d, error %v, after %s", a.nth, l.count, begun, a.Status, a.Err, a.Took)
			continue
		case a.Source() == "":
			uninspected++
			continue
		case a.Reason() == "processor_away" && !slices.Contains(event.sources, a.Source()):
			away++
		case !slices.Contains(event.sources, a.Source()):
			t.Errorf("request %d: source %q, reason %q, want one of %q", a.nth, a.Source(), a.Reason(), event.sources)
		case a.Source() == "safe_default" && string(a.Body) != chaosDefault:
			t.Errorf("request %d: the default is %.200q", a.nth, a.Body)
		}
		sources[a.Source()]++
	}
	slices.Sort(took)
	fmt.Printf("figure chaos=%q requests=%d sources=%v uninspected=%d over_deadline_plus_50ms=%d p50=%s p99=%s max=%s\n", event.name, len(took),
		sources, uninspected, late, took[len(took)/2].Round(time.Millisecond), took[len(took)*99/100].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	if away*50 > len(took) {
		t.Errorf("%d answers of %d are Envoy's own: a busy machine's processor is late for one in hundreds", away, len(took))
	}
	if uninspected > 0 {
		t.Errorf("%d answers were not inspected", uninspected)
	}
	if event.proof != "" && sources[event.proof] == 0 {
		t.Errorf("no answer by %s: the event had no effect, or nothing covered it (%v)", event.proof, sources)
	}
}
