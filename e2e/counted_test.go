package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/extproc"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/porttest"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/telemetry"
)

// How a model ends its connection, and when, are in its path's query.
const (
	endWell  = "well"  // with the last chunk
	endFIN   = "fin"   // it closes the connection
	endReset = "reset" // it resets it
	endHolds = "holds" // not at all, until the caller leaves
)

// abruptly is a model that streams a whole answer up to its end mark, or with
// garbage for its last event, and then ends the connection as it is told.
func abruptly(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	q := r.URL.Query()
	pause, _ := time.ParseDuration(q.Get("after"))
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	chunk := func(text string) {
		fmt.Fprintf(buffered, "%x\r\n%s\r\n", len(text), text)
		_ = buffered.Flush()
	}
	status := "200 OK"
	if q.Get("say") == "error" {
		status = "500 Oops"
	}
	_, _ = io.WriteString(buffered, "HTTP/1.1 "+status+"\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
	const event = `data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"chat","choices":[{"index":0,"delta":%s,"finish_reason":%s}]}` + "\n\n"
	chunk(fmt.Sprintf(event, `{"role":"assistant","content":"Hello"}`, "null"))
	last := fmt.Sprintf(event, "{}", `"stop"`) + "data: [DONE]\n\n"
	if q.Get("say") == "garbage" {
		last = "data: oops\n\n"
	}
	chunk(last)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = conn.Read(make([]byte, 1))
	}()
	select {
	case <-time.After(pause):
	case <-gone:
	}
	switch q.Get("end") {
	case endWell:
		_, _ = io.WriteString(conn, "0\r\n\r\n")
	case endReset:
		_ = conn.(*net.TCPConn).SetLinger(0)
	case endHolds:
		<-gone
	}
}

// counting is a real Envoy with a processor and a hub in this process.
type counting struct {
	t       *testing.T
	traffic string
	hub     *signals.Hub
}

func newCounting(t *testing.T, mode string) *counting {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(abruptly))
	t.Cleanup(server.CloseClientConnections)
	text, err := os.ReadFile(filepath.Join("..", "docs", "samples", "chat", "chat.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	moved := strings.NewReplacer("9115", port, "mode: Enforce\n", "mode: "+mode+"\n  breaker: {failures: 100000}\n").Replace(string(text))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "chat.yaml"), []byte(moved), 0o600); err != nil {
		t.Fatal(err)
	}
	snapshot, problems := compile.Dir(dir)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := envoy.Options{Listen: porttest.Address(t), Admin: porttest.Address(t), Processor: l.Addr().String(), Answers: porttest.Address(t), MessageTimeout: 10 * time.Second}
	bootstrap, err := envoy.Static(snapshot, o)
	if err != nil {
		t.Fatal(err)
	}
	config, err := envoy.YAML(bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "envoy.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	c := &counting{t: t, traffic: o.Listen, hub: signals.NewHub(signals.HubOptions{})}
	metrics := telemetry.NewMetrics("test", telemetry.Caps{})
	state, err := extproc.NewState(extproc.StateOptions{Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	reporter := signals.NewReporter(signals.ReporterOptions{Name: "test", Links: []signals.Link{c.hub.Link()}})
	processor := extproc.New(extproc.Options{Metrics: metrics, Log: telemetry.NopLog(), State: state, Signals: reporter})
	g := grpc.NewServer(extproc.ServerOptions()...)
	processor.Register(g)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(func() {
		processor.Leave()
		g.Stop()
		processor.Close()
		reporter.Close()
		state.Close()
		c.hub.Close()
	})
	dataplane.StartEnvoy(t, file, o.Admin)
	return c
}

// ask asks for a stream, and reports whether the caller got its end mark. One that
// is impatient leaves as soon as it has.
func (c *counting) ask(query string, impatient bool) (whole bool) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	body := strings.NewReader(`{"model":"chat","messages":[{"role":"user","content":"hi"}],"stream":true}`)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.traffic+"/v1/chat/completions?"+query, body)
	if err != nil {
		c.t.Error(err)
		return false
	}
	r.Header.Set("Content-Type", "application/json")
	client := &http.Transport{DisableKeepAlives: true}
	defer client.CloseIdleConnections()
	resp, err := client.RoundTrip(r)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		whole = whole || lines.Text() == "data: [DONE]" && resp.Header.Get("X-Safestate-Source") == "primary"
		if whole && impatient {
			cancel()
		}
	}
	return whole
}

// counts are those of the version that is asked.
func (c *counting) counts() (asked, clean, bad uint64) {
	for _, v := range c.hub.Totals() {
		if v.Model == "default/chat" && v.Name == "v1" {
			asked, clean, bad = v.Asked, v.Clean, v.Bad
		}
	}
	return asked, clean, bad
}

// settled waits until so many were asked and as many answers are counted, ten seconds
// at the most, and then until nothing has been counted for longer than any log is kept.
func (c *counting) settled(most uint64) (asked, clean, bad uint64) {
	c.t.Helper()
	same := 0
	dataplane.Eventually(c.t, time.Minute, "the counts settle", func() bool {
		a, g, b := c.counts()
		if a != asked || g != clean || b != bad {
			asked, clean, bad, same = a, g, b, 0
		}
		same++
		return same > 30 && asked >= most && clean+bad >= most || same > 2000
	})
	return asked, clean, bad
}

// TestAnAnswerCountsOnce whatever its model does to the connection behind the end
// mark, and whenever: as clean where the caller got the mark, else as bad. Envoy's
// log and the exchange both see the end, and neither sees what the other makes of
// it.
func TestAnAnswerCountsOnce(t *testing.T) {
	for _, mode := range []string{"Enforce", "Observe"} {
		t.Run(mode, func(t *testing.T) {
			c := newCounting(t, mode)
			for _, x := range []struct {
				end       string
				say       string
				impatient bool
			}{
				{endWell, "", false}, {endFIN, "", false}, {endReset, "", false},
				{endWell, "", true}, {endHolds, "", true}, {endReset, "", true},
				{endFIN, "garbage", false}, {endReset, "garbage", false}, {endReset, "error", false},
			} {
				for _, after := range []string{"0", "300us", "2ms", "60ms"} {
					name := fmt.Sprintf("%s %s after %s, impatient %v", x.say, x.end, after, x.impatient)
					asked, clean, bad := c.counts()
					const n = 20
					var whole atomic.Uint64
					var asking sync.WaitGroup
					for range 4 {
						asking.Go(func() {
							for range n / 4 {
								if c.ask("end="+x.end+"&after="+after+"&say="+x.say, x.impatient) && x.say == "" {
									whole.Add(1)
								}
							}
						})
					}
					asking.Wait()
					a, g, b := c.settled(asked + n)
					a, g, b = a-asked, g-clean, b-bad
					if a != n || g+b != n || g != whole.Load() {
						t.Errorf("%s: asked %d, clean %d, bad %d; %d callers of %d have the whole answer", name, a, g, b, whole.Load(), n)
					}
				}
			}
		})
	}
}
