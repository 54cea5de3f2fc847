package admin

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// connect serves a fake on a port of its own.
func connect(t *testing.T, h http.Handler) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := NewClient(s.URL, ClientOptions{User: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClientAsksWhatTheHandlerUnderstands(t *testing.T) {
	f := &fakeControl{backup: func(w io.Writer) error { _, err := io.WriteString(w, "everything"); return err }}
	c := connect(t, serve(f))
	ctx := t.Context()
	var errs []error
	add := func(_ any, err error) { errs = append(errs, err) }
	add(c.Status(ctx))
	add(c.Model(ctx, "default/fraud"))
	add(c.History(ctx, HistoryQuery{Model: "default/fraud", Limit: 3}))
	add(c.History(ctx, HistoryQuery{Policy: "default/strict"}))
	add(c.Rollout(ctx, "default/fraud", RolloutRequest{Action: "start", Version: "v2", Reason: "new"}))
	add(c.Rollback(ctx, "default/fraud", RollbackRequest{Reason: "bad"}))
	add(c.RollbackPolicy(ctx, "default/strict", PolicyRollbackRequest{To: 3, Reason: "bad"}))
	add(c.UnpinPolicy(ctx, "default/strict", ReasonRequest{Reason: "mended"}))
	add(c.Deregister(ctx, "edge/3 a%2f", ReasonRequest{Reason: "gone"}))
	var copied bytes.Buffer
	add(c.Backup(ctx, &copied))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	const by = " by local:alice (claimed): "
	want := []string{
		"model default/fraud", "history {Model:default/fraud Policy: Limit:3}", "history {Model: Policy:default/strict Limit:50}",
		"start default/fraud v2" + by + "new", "rollback default/fraud " + by + "bad",
		"policy rollback default/strict to 3" + by + "bad", "policy unpin default/strict to 0" + by + "mended",
		"deregister edge/3 a%2f" + by + "gone", "backup to local:alice (claimed), local from 127.0.0.1",
	}
	if !slices.Equal(f.calls(), want) {
		t.Errorf("asked %q,\nwant %q", f.calls(), want)
	}
	if copied.String() != "everything" {
		t.Errorf("backup %q", &copied)
	}
}

func TestClientReturnsTheProblemAndTheBytes(t *testing.T) {
	c := connect(t, serve(&fakeControl{err: Conflict(9, "it moved on").Hinted("look again")}))
	_, err := c.Rollback(t.Context(), "default/fraud", RollbackRequest{Reason: "x"})
	var p *Problem
	if !errors.As(err, &p) || p.Status != 409 || p.Generation != 9 || err.Error() != "it moved on; look again" {
		t.Errorf("%v", err)
	}
	a, err := c.Model(t.Context(), "default/fraud")
	if err != nil || !bytes.Contains(a.Raw, []byte(`"generation": 7`)) || a.Value.Generation != 7 {
		t.Errorf("%v %s", err, a.Raw)
	}
}

// An answer that is lost is asked for again, under the same key: the change is
// made once.
func TestALostAnswerIsAskedForAgain(t *testing.T) {
	f := &fakeControl{}
	inner := serve(f)
	var tries atomic.Int32
	c := connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tries.Add(1) == 1 {
			inner.ServeHTTP(httptest.NewRecorder(), r) // done, and nobody hears of it
			panic(http.ErrAbortHandler)
		}
		inner.ServeHTTP(w, r)
	}))
	a, err := c.Rollback(t.Context(), "default/fraud", RollbackRequest{Reason: "x"})
	if err != nil || a.Value.Generation != 8 || len(f.calls()) != 1 || tries.Load() != 2 {
		t.Errorf("%v %+v after %d tries: %q", err, a.Value, tries.Load(), f.calls())
	}
}

func TestABackupThatBreaksOffIsAnError(t *testing.T) {
	f := &fakeControl{backup: func(w io.Writer) error {
		_, _ = w.Write(make([]byte, 1<<20))
		return errors.New("the disk broke")
	}}
	c := connect(t, serve(f))
	if n, err := c.Backup(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "broke off") {
		t.Errorf("%d bytes, %v", n, err)
	}
	f.backup = func(io.Writer) error { return errors.New("the store is away") }
	if _, err := c.Backup(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "the store is away") {
		t.Errorf("an error before the first byte: %v", err)
	}
}

func TestBackupsAtOnceAreFew(t *testing.T) {
	hold, begun := make(chan struct{}), make(chan struct{}, backupsAtOnce)
	f := &fakeControl{backup: func(w io.Writer) error {
		begun <- struct{}{}
		<-hold
		_, err := w.Write([]byte("x"))
		return err
	}}
	h := serve(f)
	done := make(chan int, backupsAtOnce)
	for range backupsAtOnce {
		go func() { done <- send(h, request("GET", "/v1/store/backup", "")).Code }()
		<-begun
	}
	wants(t, send(h, request("GET", "/v1/store/backup", "")), 429, "other backups")
	close(hold)
	for range backupsAtOnce {
		if code := <-done; code != 200 {
			t.Errorf("status %d", code)
		}
	}
	wants(t, send(h, request("GET", "/v1/store/backup", "")), 200)
}

func TestServersThatAreNone(t *testing.T) {
	for _, server := range []string{"", "127.0.0.1:8686", "ftp://x", "http://", "http://a:b@c", "http://x?y=1", "://"} {
		if _, err := NewClient(server, ClientOptions{}); err == nil || !strings.Contains(err.Error(), "is no server") {
			t.Errorf("%q: %v", server, err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close() // nobody listens there now
	c, err := NewClient("http://"+l.Addr().String()+"/", ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be reached") || !strings.Contains(err.Error(), "--server") {
		t.Errorf("%v", err)
	}
	if _, err := c.Rollback(t.Context(), "default/x", RollbackRequest{}); err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("%v", err)
	}
	c = connect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) }))
	if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "502") || !strings.Contains(err.Error(), "not as safestate does") {
		t.Errorf("%v", err)
	}
	c = connect(t, http.RedirectHandler("http://127.0.0.1:1/", http.StatusTemporaryRedirect))
	if _, err := c.Rollback(t.Context(), "default/x", RollbackRequest{}); err == nil || !strings.Contains(err.Error(), "307") {
		t.Errorf("a redirect was followed: %v", err)
	}
}
