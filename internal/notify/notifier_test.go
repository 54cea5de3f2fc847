package notify

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// request is one that a receiver got.
type request struct {
	header http.Header
	path   string
	body   []byte
}

// target is a receiver of the test: a real server that does as it is told.
type target struct {
	server *httptest.Server
	mu     sync.Mutex
	got    []request
	answer func(n int, w http.ResponseWriter) // n: how many came before; nil: 200
}

func newTarget(t *testing.T, answer func(n int, w http.ResponseWriter)) *target {
	t.Helper()
	x := &target{answer: answer}
	x.server = httptest.NewServer(x)
	t.Cleanup(x.server.Close)
	return x
}

func (x *target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	x.mu.Lock()
	n := len(x.got)
	x.got = append(x.got, request{r.Header.Clone(), r.URL.Path, body})
	answer := x.answer
	x.mu.Unlock()
	if answer != nil {
		answer(n, w)
	}
}

func (x *target) requests() []request {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.got)
}

// wait waits until a condition holds.
func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: never", what)
		}
	}
}

// counts counts what becomes of messages and events.
type counts struct {
	mu   sync.Mutex
	by   map[string]int
	said []string
}

func (c *counts) observe(_, outcome string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[string]int{}
	}
	c.by[outcome]++
}

func (c *counts) told(text string, _ bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said = append(c.said, text)
}

func (c *counts) of(outcome string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by[outcome]
}

func (c *counts) heard() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.said, "\n")
}

// file reads settings of a file's text, and makes their times those of a test.
func file(t *testing.T, dir, text string) *Settings {
	t.Helper()
	path := filepath.Join(dir, "notify.yaml")
	write(t, path, text)
	s, err := ReadSettings(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range s.receivers {
		s.receivers[i].Window = 20 * time.Millisecond
	}
	return s
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// running runs a notifier until the test or stop ends it.
func running(t *testing.T, s *Settings, o Options) (n *Notifier, stop func()) {
	t.Helper()
	n = New(s, o)
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { n.Run(ctx) })
	stop = func() { cancel(); run.Wait() }
	t.Cleanup(stop)
	return n, stop
}

func hook(x *target) string {
	return "receivers:\n- {name: hook, form: webhook, url: \"" + x.server.URL + "/in\"}\n"
}

func TestAWebhookGetsWhatHappened(t *testing.T) {
	x, c, dir := newTarget(t, nil), &counts{}, t.TempDir()
	write(t, filepath.Join(dir, "token"), "s3cret-one\n")
	n, _ := running(t, file(t, dir, strings.Replace(hook(x), "form:", "tokenFile: token, form:", 1)), Options{Observe: c.observe, Told: c.told})
	e := condition("release/shop/rank/7", "degraded/shop/rank", "", Firing)
	e.By, e.Reason, e.Model = "safestate", "it \x1b[2Jfails\nmuch\u202e", "shop/rank"
	n.Notify(e)
	wait(t, "the message", func() bool { return c.of(Delivered) == 1 })
	r := x.requests()[0]
	var body webhookBody
	if err := json.Unmarshal(r.body, &body); err != nil {
		t.Fatal(err)
	}
	if r.path != "/in" || r.header.Get("Content-Type") != "application/json" || r.header.Get("Authorization") != "Bearer s3cret-one" || r.header.Get("Idempotency-Key") != body.ID {
		t.Errorf("%s %v", r.path, r.header)
	}
	if body.Version != "1" || body.ID == "" || body.Severity != Critical || len(body.Events) != 1 || !body.At.Equal(start) {
		t.Errorf("%s", r.body)
	}
	if got := body.Events[0]; got.ID != e.ID || got.Phase != Firing || got.Model != "shop/rank" || got.Reason != "it [2Jfails much" {
		t.Errorf("%+v", got)
	}
	// A secret that is renewed counts from the next message on.
	write(t, filepath.Join(dir, "token"), "s3cret-two")
	n.Notify(once("x", Info))
	wait(t, "another", func() bool { return c.of(Delivered) == 2 })
	if got := x.requests()[1].header.Get("Authorization"); got != "Bearer s3cret-two" {
		t.Error(got)
	}
}

// Whatever goes wrong on the way, the message comes, with the same id each time.
func TestWhatFailsIsTriedAgain(t *testing.T) {
	for name, answer := range map[string]func(n int, w http.ResponseWriter){
		"500":     func(_ int, w http.ResponseWriter) { w.WriteHeader(500) },
		"503":     func(_ int, w http.ResponseWriter) { w.WriteHeader(503) },
		"408":     func(_ int, w http.ResponseWriter) { w.WriteHeader(408) },
		"403":     func(_ int, w http.ResponseWriter) { w.WriteHeader(403) },
		"429":     func(_ int, w http.ResponseWriter) { w.Header().Set("Retry-After", "0"); w.WriteHeader(429) },
		"closing": func(_ int, w http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"a reset": func(_ int, w http.ResponseWriter) {
			conn, _, _ := w.(http.Hijacker).Hijack()
			conn.Close()
		},
		"hanging": func(_ int, w http.ResponseWriter) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_, _ = io.Copy(io.Discard, conn) // until the client gives up
				conn.Close()
			}
		},
		"half an answer": func(_ int, w http.ResponseWriter) {
			conn, _, _ := w.(http.Hijacker).Hijack()
			fmt.Fprint(conn, "HTTP/1.1 2")
			conn.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &counts{}
			x := newTarget(t, func(n int, w http.ResponseWriter) {
				if n < 2 {
					answer(n, w)
				}
			})
			s := file(t, t.TempDir(), hook(x))
			s.receivers[0].Timeout = 100 * time.Millisecond
			n, _ := running(t, s, Options{Observe: c.observe, Told: c.told})
			n.Notify(once("a", Info))
			wait(t, "the message", func() bool { return c.of(Delivered) == 1 })
			got := x.requests()
			ids := map[string]bool{}
			for _, r := range got {
				ids[r.header.Get("Idempotency-Key")] = true
			}
			if len(got) < 3 || len(ids) != 1 || c.of(Retried) < 2 || c.of(Refused)+c.of(GaveUp)+c.of(Overflowed) > 0 {
				t.Errorf("%d requests with %d ids, %v", len(got), len(ids), c.by)
			}
			if heard := c.heard(); strings.Count(heard, "fail and are tried again") != 1 || !strings.Contains(heard, "delivered again") || strings.Contains(heard, "/in") {
				t.Errorf("told %q", heard)
			}
		})
	}
}

func TestWhatIsRefusedIsCountedAndDropped(t *testing.T) {
	elsewhere := newTarget(t, nil)
	for code, header := range map[int]string{400: "", 413: "", 302: elsewhere.server.URL, 307: elsewhere.server.URL, 101: ""} {
		c := &counts{}
		x := newTarget(t, func(n int, w http.ResponseWriter) {
			if n > 0 {
				return
			}
			if header != "" {
				w.Header().Set("Location", header)
			}
			w.WriteHeader(code)
		})
		n, _ := running(t, file(t, t.TempDir(), hook(x)), Options{Observe: c.observe, Told: c.told})
		if code == 101 { // no answer at all to us: it is tried again
			n.Notify(once("a", Info))
			wait(t, "101", func() bool { return c.of(Retried)+c.of(Refused) == 1 })
			continue
		}
		n.Notify(once("a", Info))
		wait(t, "refusal", func() bool { return c.of(Refused) == 1 })
		n.Notify(once("b", Info))
		wait(t, "the next", func() bool { return c.of(Delivered) == 1 })
		if !strings.Contains(c.heard(), fmt.Sprint(code)) {
			t.Errorf("%d: told %q", code, c.heard())
		}
	}
	if len(elsewhere.requests()) > 0 {
		t.Error("a redirect was followed")
	}
}

// clock is a time that only the test moves.
type clock struct{ nanos atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.nanos.Store(start.UnixNano())
	return c
}
func (c *clock) now() time.Time       { return time.Unix(0, c.nanos.Load()).UTC() }
func (c *clock) pass(d time.Duration) { c.nanos.Add(int64(d)) }

// one is a receiver without a loop, whose every step the test makes.
func one(t *testing.T, x *target, text string, o Options) *receiver {
	t.Helper()
	s := file(t, t.TempDir(), text)
	s.receivers[0].Window = time.Minute
	n := New(s, o)
	return n.receivers[0]
}

func TestRetryAfterIsHeeded(t *testing.T) {
	c, now := &counts{}, newClock()
	x := newTarget(t, func(n int, w http.ResponseWriter) {
		if n == 0 {
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(429)
		}
	})
	r := one(t, x, hook(x), Options{Observe: c.observe, Now: now.now})
	r.offer(once("a", Info))
	m, _ := r.due()
	r.deliver(t.Context(), *m)
	now.pass(2*time.Minute - time.Second)
	if m, next := r.due(); m != nil || next.Before(start.Add(2*time.Minute)) || next.After(start.Add(2*time.Minute+mostBackoff)) {
		t.Errorf("%v, next %s", m, next)
	}
	now.pass(mostBackoff + time.Second)
	m, _ = r.due()
	if m == nil {
		t.Fatal("not tried again")
	}
	r.deliver(t.Context(), *m)
	if c.of(Delivered) != 1 || c.of(Retried) != 1 {
		t.Errorf("%v", c.by)
	}
}

func TestTheMostSevereIsTold(t *testing.T) {
	r := one(t, newTarget(t, nil), hook(newTarget(t, nil)), Options{Now: newClock().now})
	for _, e := range []Event{once("a", Info), once("b", Warning), once("c", Critical), once("d", Critical)} {
		r.offer(e)
	}
	if m, _ := r.due(); m == nil || m.Events[0].ID != "c" {
		t.Errorf("%+v", m)
	}
}

func TestWhatIsTriedForTooLongIsGivenUp(t *testing.T) {
	c, now := &counts{}, newClock()
	x := newTarget(t, func(_ int, w http.ResponseWriter) { w.WriteHeader(500) })
	r := one(t, x, hook(x), Options{Observe: c.observe, Told: c.told, Now: now.now})
	r.offer(once("a", Info))
	for range 10000 {
		m, _ := r.due()
		if m != nil {
			r.deliver(t.Context(), *m)
		}
		if len(r.messages) == 0 {
			break
		}
		now.pass(mostBackoff)
	}
	if c.of(GaveUp) != 1 || !strings.Contains(c.heard(), "tried for too long") || now.now().Sub(start) < defaultGiveUpAfter {
		t.Errorf("%v after %s", c.by, now.now().Sub(start))
	}
}

// A receiver that hangs holds up neither who notifies nor the other receivers,
// and everything that it does not get is counted.
func TestNotifyNeverBlocks(t *testing.T) {
	const events = 5000
	hold := make(chan struct{})
	slow := newTarget(t, func(n int, _ http.ResponseWriter) {
		if n == 0 {
			<-hold
		}
	})
	fast, c := newTarget(t, nil), map[string]*counts{"hook": {}, "fast": {}}
	text := hook(slow) + "- {name: fast, form: webhook, url: \"" + fast.server.URL + "\"}\n"
	s := file(t, t.TempDir(), text)
	s.receivers[0].Timeout = time.Minute
	n, _ := running(t, s, Options{Observe: func(r, o string) { c[r].observe(r, o) }})
	for i := range events {
		e := once(fmt.Sprint("e", i), Info)
		if i == 10 {
			e.Kind, e.Severity = Kill, Critical
		}
		n.Notify(e)
		if i == 0 {
			wait(t, "the first", func() bool { return len(slow.requests()) == 1 })
		}
	}
	wait(t, "the fast one", func() bool { return c["fast"].of(Delivered)+c["fast"].of(Overflowed) == events })
	close(hold)
	wait(t, "the slow one", func() bool { return c["hook"].of(Delivered)+c["hook"].of(Overflowed) == events })
	if c["hook"].of(Overflowed) == 0 || c["hook"].of(Delivered) > maxEvents+maxMessages+1 {
		t.Errorf("%v", c["hook"].by)
	}
	if second := slow.requests()[1]; !strings.Contains(string(second.body), `"e10"`) {
		t.Errorf("the kill is not next: %s", second.body)
	}
}

// What was not delivered is, after a restart; what was is not again.
func TestARestartLosesNothing(t *testing.T) {
	var down atomic.Bool
	c, x := &counts{}, newTarget(t, func(_ int, w http.ResponseWriter) {
		if down.Load() {
			w.WriteHeader(503)
		}
	})
	dir := t.TempDir()
	s := file(t, dir, hook(x))
	o := Options{Path: filepath.Join(dir, "kept.json"), Observe: c.observe, Told: c.told}
	n, stop := running(t, s, o)
	n.Notify(once("a", Info))
	n.Notify(condition("f1", "k", "", Firing))
	wait(t, "the first two", func() bool { return c.of(Delivered) == 2 })
	down.Store(true)
	n.Notify(once("b", Info))
	wait(t, "a try", func() bool { return c.of(Retried) > 0 })
	n.Notify(once("c", Info))
	stop()

	down.Store(false)
	before := len(x.requests())
	n, stop = running(t, s, o)
	for _, e := range []Event{once("a", Info), once("b", Info), once("c", Info), condition("f1", "k", "", Firing), condition("f2", "k", "", Firing)} {
		n.Notify(e)
	}
	wait(t, "the rest", func() bool { return c.of(Delivered) >= 4 })
	n.Notify(condition("f3", "k", "", Resolved))
	wait(t, "the end", func() bool { return c.of(Delivered) >= 5 })
	stop()
	var ids []string
	for _, r := range x.requests()[before:] {
		var body webhookBody
		if err := json.Unmarshal(r.body, &body); err != nil {
			t.Fatal(err)
		}
		for _, e := range body.Events {
			ids = append(ids, e.ID)
		}
	}
	slices.Sort(ids)
	if got := strings.Join(ids, " "); got != "b c f3" {
		t.Errorf("after the restart: %s", got)
	}
}

func TestWhatWasKeptAndCannotBeReadIsTold(t *testing.T) {
	dir, c := t.TempDir(), &counts{}
	x := newTarget(t, nil)
	s := file(t, dir, hook(x))
	path := filepath.Join(dir, "kept.json")
	for _, text := range []string{"", "x", `{"version":2}`, `{"version":1,"receivers":{"hook":{"messages":[{"id":"x"}],"last":null}}}`} {
		write(t, path, text)
		n, stop := running(t, s, Options{Path: path, Observe: c.observe, Told: c.told})
		delivered := c.of(Delivered)
		n.Notify(once("a", Info))
		wait(t, "a message", func() bool { return c.of(Delivered) > delivered })
		stop()
	}
	if got := strings.Count(c.heard(), "of before the restart are lost"); got != 3 {
		t.Errorf("told %d times: %s", got, c.heard())
	}
	n, stop := running(t, s, Options{Path: filepath.Join(dir, "none", "kept.json"), Observe: c.observe, Told: c.told})
	n.Notify(once("b", Info))
	wait(t, "the disk's error", func() bool { return strings.Contains(c.heard(), "are not kept over a restart") })
	stop()
}

func TestASecretAddressAndAnAuthority(t *testing.T) {
	dir, c := t.TempDir(), &counts{}
	x := &target{}
	x.server = httptest.NewTLSServer(x)
	defer x.server.Close()
	write(t, filepath.Join(dir, "url"), x.server.URL+"/services/T0/B0/s3cret\n")
	write(t, filepath.Join(dir, "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.server.Certificate().Raw})))
	for name, text := range map[string]string{"known": ", ca: ca.pem", "unknown": ""} {
		n, stop := running(t, file(t, dir, "receivers:\n- {name: chat, form: slack, urlFile: url"+text+"}\n"), Options{Observe: c.observe, Told: c.told})
		n.Notify(once("a", Info))
		wait(t, name, func() bool {
			return c.of(Delivered) == 1 && (name == "known" || c.of(Retried) > 0) || name == "unknown" && c.of(Retried) > 0
		})
		stop()
	}
	if got := x.requests(); len(got) != 1 || got[0].path != "/services/T0/B0/s3cret" {
		t.Errorf("%d requests", len(got))
	}
	if strings.Contains(c.heard(), "s3cret") || !strings.Contains(c.heard(), "certificate") {
		t.Errorf("told %q", c.heard())
	}
}

func TestNobodyIsTold(t *testing.T) {
	var none *Notifier
	none.Notify(once("a", Info))
	s, err := parse("notify.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	n, stop := running(t, s, Options{})
	n.Notify(once("a", Info))
	stop()
}
