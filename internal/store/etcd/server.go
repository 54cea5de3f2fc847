package etcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
)

const (
	folder   = "etcd"      // in Options.Dir: etcd's own data
	lockFile = "etcd.lock" // beside it: held for as long as the server lives

	memberName = "safestate"

	// memberURL is what etcd calls its only member. Nothing listens there.
	memberURL = "http://127.0.0.1:0"

	startWait = 30 * time.Second
)

// server is the embedded etcd. Its one client reaches it through memory.
type server struct {
	dir  string // etcd's own
	free func(dir string) (uint64, error)
	lock *fileutil.LockedFile
	etcd *embed.Etcd
	rpc  *grpc.Server
	pipe *bufconn.Listener

	once    sync.Once
	stopped chan struct{} // closed when etcd gave up
	cause   error         // why; to be read once stopped is closed
}

// startServer starts etcd in a folder and waits until it serves.
func startServer(ctx context.Context, options Options) (*server, error) {
	s := &server{dir: filepath.Join(options.Dir, folder), free: options.free, stopped: make(chan struct{})}
	var err error
	if s.lock, err = lockDir(options.Dir); err != nil {
		return nil, err
	}
	if err := s.start(ctx, options); err != nil {
		_ = s.close() // the error that matters is at hand
		return nil, err
	}
	return s, nil
}

func (s *server) start(ctx context.Context, options Options) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	if err := prepare(s.dir); err != nil {
		return err
	}
	if err := s.writable(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if !founded(s.dir) {
		if err := s.found(ctx, options); err != nil {
			return err
		}
	}
	if err := s.boot(ctx, s.config(s.dir, options)); err != nil {
		return err
	}
	// A restored backup of a cluster may ask for its users. The folder's
	// owner is the only one who can reach this server.
	if auth := s.etcd.Server.AuthStore(); auth.IsAuthEnabled() {
		auth.AuthDisable()
	}
	s.pipe = bufconn.Listen(1 << 20)
	s.rpc = v3rpc.Server(s.etcd.Server, nil, nil)
	go func() { _ = s.rpc.Serve(s.pipe) }() // it ends with close
	return nil
}

// found makes a new member, elsewhere: a member that was killed in its first
// moments would never start again.
func (s *server) found(ctx context.Context, options Options) error {
	fresh, err := freshFolder(s.dir)
	if err != nil {
		return err
	}
	if err := s.boot(ctx, s.config(fresh, options)); err != nil {
		return err
	}
	s.etcd.Close()
	s.etcd = nil
	return adopt(fresh, s.dir)
}

// boot starts etcd and waits until it serves. StartEtcd runs where it may give
// up: on damaged data etcd ends the process by its logger, or panics.
func (s *server) boot(ctx context.Context, config *embed.Config) error {
	type booted struct {
		etcd *embed.Etcd
		err  error
	}
	result := make(chan booted, 1)
	go func() {
		b := booted{err: errors.New("it gave up")} // remains where the logger ends this goroutine
		defer func() {
			if p := recover(); p != nil {
				b = booted{err: fmt.Errorf("%v", p)}
			}
			result <- b
		}()
		b.etcd, b.err = embed.StartEtcd(config)
	}()
	select {
	case b := <-result:
		s.etcd = b.etcd
		switch {
		case s.failure() != nil:
			return damaged(s.dir, s.cause)
		case b.err != nil:
			return damaged(s.dir, b.err)
		}
	case <-s.stopped: // in another of etcd's goroutines, for which it waits
		return damaged(s.dir, s.cause)
	case <-ctx.Done():
		return late(s.dir, ctx.Err())
	}
	select {
	case <-s.etcd.Server.ReadyNotify():
		releasePages(s.etcd.Config().Dir)
		return nil
	case <-s.stopped:
		return damaged(s.dir, s.cause)
	case <-ctx.Done():
		return late(s.dir, ctx.Err())
	}
}

func late(dir string, err error) error {
	return fmt.Errorf("store: the embedded etcd in %s did not start in time: %w", dir, err)
}

// config is etcd's for one member with small records: little memory, a small
// folder, no listener.
func (s *server) config(dir string, options Options) *embed.Config {
	smallSegments()
	c := embed.NewConfig()
	c.Name, c.Dir = memberName, dir
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(s.logger(options.Problem))
	self, _ := url.Parse(memberURL) // a constant
	c.ListenPeerUrls, c.ListenClientUrls, c.AdvertiseClientUrls = nil, nil, nil
	c.AdvertisePeerUrls = []url.URL{*self}
	c.InitialCluster = memberName + "=" + memberURL
	c.QuotaBackendBytes = options.Quota
	// Watches list again where the history is gone: 1,000 changes are a reserve.
	c.AutoCompactionMode, c.AutoCompactionRetention = embed.CompactorModeRevision, "1000"
	// What lies between two snapshots is in memory as well, and no other member
	// has to catch up.
	c.SnapshotCount, c.SnapshotCatchUpEntries = 1000, 100
	c.MaxWalFiles = 2
	// Nobody else stands for election, so the wait for others may be short: it
	// is most of the start.
	c.TickMs, c.ElectionMs = 50, 250
	return c
}

// smallSegments has etcd preallocate its log in pieces of 8 MB and not 64. The
// size is a variable of etcd's package, for the whole process.
var smallSegments = sync.OnceFunc(func() { wal.SegmentSizeBytes = 8 << 20 })

// give keeps the first cause for which etcd gave up.
func (s *server) give(up error) {
	s.once.Do(func() {
		s.cause = up
		close(s.stopped)
	})
}

// failure is nil for as long as the server serves.
func (s *server) failure() error {
	select {
	case <-s.stopped:
		return fmt.Errorf("the embedded etcd in %s stopped (%w): restart safestate once that is mended", s.dir, s.cause)
	default:
		return nil
	}
}

// dial reaches the server through memory.
func (s *server) dial(ctx context.Context, _ string) (net.Conn, error) {
	return s.pipe.DialContext(ctx)
}

// closeWait bounds the end of a server; one that gave up has lost parts of
// itself, and mostly does not end.
const (
	closeWait       = 5 * time.Second
	closeWaitFailed = 200 * time.Millisecond
)

func (s *server) close() error {
	if s.rpc != nil {
		s.rpc.Stop()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if s.etcd != nil {
			s.etcd.Close()
		}
	}()
	wait := closeWait
	if s.failure() != nil {
		wait = closeWaitFailed
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	var err error
	select {
	case <-done:
		err = s.lock.Close()
	case <-timer.C: // the lock stays: the files are still in use
		err = fmt.Errorf("store: the embedded etcd in %s does not stop; it will with the process", s.dir)
	}
	if cause := s.failure(); cause != nil {
		return fmt.Errorf("store: %w", cause)
	}
	return err
}
