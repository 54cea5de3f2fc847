package etcd

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/store"
)

func TestClusterThatCannotBeUsed(t *testing.T) {
	c := startCluster(t)
	dir := t.TempDir()
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "https://" + free.Addr().String()
	_ = free.Close()
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	foreign, _, _ := certificates(t, dir)
	endpoint := c.options.Endpoints[0]
	for name, test := range map[string]struct {
		change func(*Options)
		class  error
		want   string
	}{
		"nobody listens": {func(o *Options) { o.Endpoints = []string{nobody} }, store.ErrUnavailable, "connection refused"},
		"silence":        {func(o *Options) { o.Endpoints = []string{"https://" + silent.Addr().String()} }, store.ErrUnavailable, "etcd at"},
		"wrong password": {func(o *Options) { o.PasswordFile = write(t, dir, "wrong", "no") }, store.ErrDenied, "authentication failed"},
		"no user":        {func(o *Options) { o.User, o.PasswordFile = "", "" }, store.ErrDenied, "permission denied"},
		"foreign keys":   {func(o *Options) { o.Prefix = "/theirs" }, store.ErrDenied, "permission denied"},
		"unknown CA":     {func(o *Options) { o.CA = foreign }, store.ErrDenied, "x509"},
		// Denied as well, unless the connection breaks before TLS says why.
		"no certificate": {func(o *Options) { o.Cert, o.Key = "", "" }, nil, "etcd at"},
		"plain text": {func(o *Options) {
			o.Endpoints, o.CA, o.Cert, o.Key = []string{strings.Replace(endpoint, "https", "http", 1)}, "", "", ""
		}, store.ErrUnavailable, "etcd at"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := c.options
			test.change(&options)
			patience := 20 * time.Second
			if test.class != store.ErrDenied { // it is tried until then
				patience = 2 * time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, err := Open(ctx, options)
			line(t, err, test.class, "store: open", test.want)
		})
	}
}

// TestFrozenCluster stops etcd's process without a word, and lets it go on.
func TestFrozenCluster(t *testing.T) {
	c := startCluster(t)
	brisk := c.options
	brisk.CallTimeout = time.Second
	s, calling := open(t, c.options), open(t, brisk)
	ctx := t.Context()
	a, err := s.Put(ctx, "/a", []byte("1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	events := s.Watch(ctx, "/a")
	<-events
	led := make(chan context.Context, 10)
	elected, stop := context.WithCancel(ctx)
	defer stop()
	go s.Elect(elected, "/leader", "me", func(ctx context.Context) { led <- ctx; <-ctx.Done() })
	leading := <-led

	c.signal(t, syscall.SIGSTOP)
	calls := map[string]func() error{
		"get":    func() error { _, err := calling.Get(ctx, "/a"); return err },
		"list":   func() error { _, err := calling.List(ctx, "/a"); return err },
		"put":    func() error { _, err := calling.Put(ctx, "/a", nil, a.Revision); return err },
		"delete": func() error { return calling.Delete(ctx, "/a", a.Revision) },
		"leader": func() error { _, err := calling.Leader(ctx, "/leader"); return err },
	}
	for name, call := range calls {
		done := make(chan error, 1)
		go func() { done <- call() }()
		select {
		case err := <-done:
			line(t, err, store.ErrUnavailable, name)
		case <-time.After(hang):
			t.Fatalf("%s hangs with etcd", name)
		}
	}
	select {
	case <-leading.Done(): // nobody knows whether another leads
	case <-time.After(hang):
		t.Fatal("leads though its lease is over")
	}
	c.signal(t, syscall.SIGCONT)

	select {
	case leading = <-led:
		if leading.Err() != nil {
			t.Error("leads anew with an ended context")
		}
	case <-time.After(hang):
		t.Fatal("does not lead again")
	}
	// The writes that were on their way may have happened, or not.
	now, err := s.Get(ctx, "/a")
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	now, err = s.Put(ctx, "/a", []byte("2"), now.Revision)
	if err != nil {
		t.Fatal(err)
	}
	for batch := range events {
		if last := batch[len(batch)-1]; last.Revision == now.Revision {
			break
		}
	}
}

// hang is the time after which a test gives up on what should come soon.
const hang = 30 * time.Second

// TestLostLease: a leader whose lease was taken away stops, and stands again.
func TestLostLease(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), Lease: shortLease})
	led := make(chan context.Context, 10)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go s.Elect(ctx, "/leader", "me", func(ctx context.Context) { led <- ctx; <-ctx.Done() })
	for range 2 {
		leading := <-led
		held, err := s.client.Leases(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, lease := range held.Leases {
			if _, err := s.client.Revoke(ctx, lease.ID); err != nil {
				t.Fatal(err)
			}
		}
		<-leading.Done()
	}
}

// TestClusterSetBack: a cluster that lost its data has a history of its own.
func TestClusterSetBack(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, "cluster", filepath.Join(dir, "first"), "", "", "")
	endpoint := c.say(t, "ready")
	s := open(t, Options{Endpoints: []string{endpoint}})
	ctx := t.Context()
	for i := range 20 {
		if _, err := s.Put(ctx, "/a/"+string(rune('a'+i)), []byte("old"), 0); err != nil {
			t.Fatal(err)
		}
	}
	s.checkHistory(ctx)
	events := s.Watch(ctx, "/a/")
	<-events
	c.kill()
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	startChild(t, "cluster", filepath.Join(dir, "second"), "", "", "", u.Host).say(t, "ready")
	var now store.Entry
	for now, err = s.Put(ctx, "/a/new", []byte("new"), 0); errors.Is(err, store.ErrUnavailable); {
		now, err = s.Put(ctx, "/a/new", []byte("new"), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.checkHistory(ctx)
	state := map[string]int64{}
	for batch := range events {
		for _, e := range batch {
			if state[e.Key] = e.Revision; e.Deleted {
				state[e.Key] = -1
			}
		}
		if len(state) == 21 && state["/a/new"] == now.Revision && state["/a/a"] == -1 {
			break
		}
	}
}

var errFull = errors.New("the disk is full")

// full takes some bytes and no more.
type fullWriter struct{ room int }

func (f *fullWriter) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}

var _ io.Writer = (*fullWriter)(nil)
