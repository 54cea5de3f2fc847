package etcd

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/safestate/safestate/internal/store"
)

var _ store.Store = (*Store)(nil)

// Store is a store.Store on etcd.
type Store struct {
	options Options
	where   string // for messages: the folder, or the endpoints
	client  *clientv3.Client
	server  *server // nil: a cluster elsewhere

	life  *store.Life  // ends with Close
	close func() error // once

	history    atomic.Pointer[history] // nil: the embedded server's cannot change
	unlinked   atomic.Pointer[string]  // why there was no connection, nil while there is one
	reclaiming atomic.Bool
}

// Open opens the store. It waits for an answer, at most until ctx ends and, of
// a cluster, 5 s: what cannot be reached is store.ErrUnavailable, a wrong
// certificate, user or password store.ErrDenied.
func Open(ctx context.Context, options Options) (*Store, error) {
	if err := options.check(); err != nil {
		return nil, err
	}
	s := &Store{options: options.withDefaults(), life: store.NewLife(context.Background())}
	s.close = sync.OnceValue(s.shut)
	open := s.openCluster
	if options.Dir != "" {
		open = s.openEmbedded
	}
	if err := open(ctx); err != nil {
		_ = s.Close() // the error that matters is at hand
		return nil, err
	}
	return s, nil
}

// openWait bounds the wait for a cluster's first answer.
const openWait = 5 * time.Second

func (s *Store) openCluster(ctx context.Context) error {
	endpoints, err := s.options.endpoints()
	if err != nil {
		return err
	}
	config := clientv3.Config{Endpoints: endpoints, Username: s.options.User}
	if config.TLS, err = s.options.tls(); err != nil {
		return err
	}
	if config.Password, err = s.options.password(); err != nil {
		return err
	}
	s.where = "etcd at " + strings.Join(endpoints, ", ")
	ctx, cancel := context.WithTimeout(ctx, openWait)
	defer cancel()
	if err := s.connect(ctx, config); err != nil {
		return s.fault("open", "", err)
	}
	first, err := s.client.Get(ctx, "/", clientv3.WithCountOnly())
	if err != nil {
		return s.fault("open", "", err)
	}
	s.history.Store(newHistory(first.Header))
	s.life.Go(s.followHistory)
	return nil
}

// connect makes the client. A user is held against the cluster at once.
func (s *Store) connect(ctx context.Context, config clientv3.Config) error {
	config.Logger = zap.NewNop() // errors come back from the calls
	config.DialTimeout = openWait
	if end, ok := ctx.Deadline(); ok {
		config.DialTimeout = time.Until(end) * 9 / 10 // so that it is New that says why
	}
	// A peer that stands still is noticed after 13 s; every call is bounded on
	// its own. Etcd takes pings every 5 s at most, gRPC sends them every 10 s.
	config.DialKeepAliveTime, config.DialKeepAliveTimeout = 10*time.Second, 3*time.Second
	// Where a member answers that it has no leader: some 1.5 s of tries, so that
	// the error says so, and not only that time is up.
	config.MaxUnaryRetries, config.BackoffWaitBetween = 15, 100*time.Millisecond
	config.DialOptions = append(config.DialOptions, grpc.WithChainUnaryInterceptor(s.notice), grpc.WithConnectParams(grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.5, MaxDelay: 2 * time.Second},
		MinConnectTimeout: 2 * time.Second,
	}))
	type made struct {
		client *clientv3.Client
		err    error
	}
	// New takes no context that ends before the client does.
	result := make(chan made, 1)
	go func() {
		client, err := clientv3.New(config)
		result <- made{client, err}
	}()
	select {
	case m := <-result:
		if m.err != nil {
			return m.err
		}
		s.client = m.client
	case <-ctx.Done():
		go func() {
			if m := <-result; m.err == nil {
				_ = m.client.Close() // nobody waits for it any more
			}
		}()
		return ctx.Err()
	}
	if s.options.Prefix != "" {
		s.client.KV = namespace.NewKV(s.client.KV, s.options.Prefix)
		s.client.Watcher = namespace.NewWatcher(s.client.Watcher, s.options.Prefix)
	}
	return nil
}

// Close implements store.Store. It also ends the embedded server.
func (s *Store) Close() error { return s.close() }

func (s *Store) shut() error {
	s.life.End()
	if s.client != nil {
		_ = s.client.Close() // it holds nothing that could get lost
	}
	if s.server != nil {
		return s.server.close()
	}
	return nil
}

// bound is the context of one call. It is over at once where nobody can answer.
func (s *Store) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.stopped() != nil {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return ctx, cancel
	}
	return context.WithTimeout(ctx, s.options.CallTimeout)
}

// history is which history of a cluster revisions belong to.
type history struct {
	cluster  uint64
	revision int64
	over     chan struct{} // closed when it is replaced
}

func newHistory(header *pb.ResponseHeader) *history {
	return &history{cluster: header.ClusterId, revision: header.Revision, over: make(chan struct{})}
}

// historyEvery is how often the cluster's history is held against what it was.
const historyEvery = 5 * time.Second

// followHistory notices that a cluster was set back, to a backup without a
// jump in its revisions or to nothing: the etcd client waits without a word
// for revisions that may never come again.
func (s *Store) followHistory() {
	ticker := time.NewTicker(historyEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.checkHistory(s.life.Alive)
		case <-s.life.Alive.Done():
			return
		}
	}
}

func (s *Store) checkHistory(ctx context.Context) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	got, err := s.client.Get(ctx, "/", clientv3.WithCountOnly())
	if err != nil {
		return // whoever watches or holds a lease says so
	}
	old, now := s.history.Load(), newHistory(got.Header)
	if now.cluster == old.cluster && now.revision >= old.revision {
		now.over = old.over
		s.history.Store(now)
		return
	}
	s.history.Store(now)
	close(old.over)
	s.options.Problem(fmt.Errorf("store: %s was set back, from revision %d to %d: everything is read anew",
		s.where, old.revision, now.revision))
}
