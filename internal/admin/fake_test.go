package admin

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/audit"
	"github.com/safestate/safestate/internal/release"
)

var now = time.Date(2026, 10, 2, 3, 4, 5, 0, time.UTC)

// fakeControl has one model, default/fraud, and remembers what it was asked.
type fakeControl struct {
	mu       sync.Mutex
	asked    []string
	commands []release.Command
	err      error         // of every change
	hold     chan struct{} // not nil: Command waits for it
	backup   func(io.Writer) error
}

func (f *fakeControl) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
}

func (f *fakeControl) calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.asked...)
}

func (f *fakeControl) Status(context.Context) (Status, error) {
	return Status{Now: now, Store: Store{Well: true}, Leader: Leader{Replica: "a", Self: true}, Models: []Model{{Model: "default/fraud", Generation: 7}}}, nil
}

func (f *fakeControl) Model(_ context.Context, model string) (Model, error) {
	f.note("model %s", model)
	if model != "default/fraud" {
		return Model{}, NotFound("there is no model %s", model)
	}
	return Model{Model: model, Generation: 7}, nil
}

func (f *fakeControl) History(_ context.Context, q HistoryQuery) (History, error) {
	f.note("history %+v", q)
	return History{}, nil
}

func (f *fakeControl) Command(ctx context.Context, model string, c release.Command) (Model, error) {
	f.note("%s %s %s by %s: %s", c.Do, model, c.Version, c.By, c.Reason)
	f.mu.Lock()
	f.commands = append(f.commands, c)
	f.mu.Unlock()
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
			return Model{}, ctx.Err()
		}
	}
	return Model{Model: model, Generation: 8}, f.err
}

func (f *fakeControl) Policy(_ context.Context, policy string, c PolicyCommand) (Policy, error) {
	f.note("policy %s %s to %d by %s: %s", c.Do, policy, c.To, c.By, c.Reason)
	return Policy{Policy: policy, Number: c.To}, f.err
}

func (f *fakeControl) Deregister(_ context.Context, node string, d Deregistration) error {
	f.note("deregister %s by %s: %s", node, d.By, d.Reason)
	return f.err
}

func (f *fakeControl) Backup(_ context.Context, to audit.Actor, w io.Writer) error {
	f.note("backup to %s, %s from %s", to.Name, to.How, to.Address)
	return f.backup(w)
}

// request is one as the command line makes it, until a test changes it.
func request(method, path, body string) *http.Request {
	r := here(httptest.NewRequest(method, "http://127.0.0.1:8686"+path, strings.NewReader(body)))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

// here has a request come from this machine.
func here(r *http.Request) *http.Request {
	r.RemoteAddr = "127.0.0.1:5000"
	return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8686}))
}

func send(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// serve makes the API over a fake.
func serve(f *fakeControl) *API {
	return New(Options{Control: f, Now: func() time.Time { return now }})
}

// changeable is a clock that a test moves.
type changeable struct {
	mu sync.Mutex
	t  time.Time
}

func (c *changeable) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *changeable) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// wants checks an answer's status and that it says something.
func wants(t *testing.T, w *httptest.ResponseRecorder, status int, texts ...string) {
	t.Helper()
	if w.Code != status {
		t.Errorf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	for _, text := range texts {
		if !strings.Contains(w.Body.String(), text) {
			t.Errorf("no %q in %s", text, w.Body)
		}
	}
}
