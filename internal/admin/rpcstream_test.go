package admin

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/safestate/safestate/internal/admin/adminv1"
	"github.com/safestate/safestate/internal/kill"
)

// proving is proven step by step: one more each second.
type proving struct {
	fakeControl
	begun time.Time
}

func (p *proving) KillProof(t kill.Target) KillProof {
	proven := min(int(time.Since(p.begun).Seconds()), 3)
	return KillProof{
		State: KillStateOf(p.killed(t), now), At: time.Now(), Expected: 3, Proven: proven, Complete: proven == 3,
		Rows: []KillRow{{Node: "a", Kind: "proxy", State: StepAcked, How: "x"}},
	}
}

// watcher is whoever watches, on this machine.
type watcher struct {
	grpc.ServerStream
	ctx  context.Context
	mu   sync.Mutex
	sent []int64 // how much was proven
	take func()  // what sending waits for; nil: nothing
}

type nowhere struct{}

func (nowhere) Network() string { return "unix" }
func (nowhere) String() string  { return "" }

func newWatcher(ctx context.Context) *watcher {
	return &watcher{ctx: metadata.NewIncomingContext(peer.NewContext(ctx, &peer.Peer{Addr: nowhere{}}), nil)}
}

func (w *watcher) Context() context.Context { return w.ctx }

func (w *watcher) Send(p *adminv1.KillProof) error {
	if w.take != nil {
		w.take()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, p.Proven)
	return nil
}

func TestAProofIsWatchedUntilItIsComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := New(Options{Control: &proving{begun: time.Now()}})
		w := newWatcher(t.Context())
		err := api.rpc.WatchKillProof(&adminv1.WatchKillProofRequest{Target: "all", Generation: 1}, w)
		if want := []int64{0, 1, 2, 3}; err != nil || !slices.Equal(w.sent, want) {
			t.Errorf("sent %v, %v; want %v", w.sent, err, want)
		}
	})
}

func TestAWatchEnds(t *testing.T) {
	later := &adminv1.WatchKillProofRequest{Target: "all", Generation: 2} // which is not there yet
	for name, c := range map[string]struct {
		end  func(api *API, leave func(), w *watcher)
		code codes.Code
	}{
		"where its caller goes away":        {func(_ *API, leave func(), _ *watcher) { leave() }, codes.Canceled},
		"where the replica shuts down":      {func(api *API, _ func(), _ *watcher) { api.Leave() }, codes.Unavailable},
		"after a time":                      {func(*API, func(), *watcher) {}, codes.DeadlineExceeded},
		"where nobody takes what it sends":  {func(_ *API, _ func(), w *watcher) { w.take = func() { <-w.ctx.Done() } }, codes.Unavailable},
		"where it is about nothing at once": {nil, codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := New(Options{Control: &proving{begun: time.Now()}})
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				w, in := newWatcher(ctx), later
				if c.end == nil {
					in = &adminv1.WatchKillProofRequest{Target: "nothing"}
				} else {
					c.end(api, leave, w)
				}
				ended := make(chan error)
				go func() { ended <- api.rpc.WatchKillProof(in, w) }()
				if err := <-ended; grpcstatus.Code(err) != c.code {
					t.Errorf("%v, want %s", err, c.code)
				}
			})
		})
	}
}

func TestWatchesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := New(Options{Control: &proving{begun: time.Now()}})
		ctx, leave := context.WithCancel(t.Context())
		in := &adminv1.WatchKillProofRequest{Target: "all", Generation: 2}
		for range watchesAtOnce {
			go func() { _ = api.rpc.WatchKillProof(in, newWatcher(ctx)) }()
		}
		synctest.Wait()
		if err := api.rpc.WatchKillProof(in, newWatcher(ctx)); grpcstatus.Code(err) != codes.ResourceExhausted {
			t.Errorf("one more: %v", err)
		}
		leave()
		synctest.Wait()
	})
}

// Whoever takes nothing of a stream keeps nobody else from one.
func TestAStreamThatNobodyTakesEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{})
		defer close(ended)
		s := &sender{func(*adminv1.Part) error { <-ended; return errors.New("ended") }}
		begun := time.Now()
		if n, err := s.Write(make([]byte, 10)); n != 0 || err == nil || time.Since(begun) != streamStall {
			t.Errorf("%d bytes, %v, after %s", n, err, time.Since(begun))
		}
	})
}
