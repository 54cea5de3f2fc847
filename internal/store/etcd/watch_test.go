package etcd

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/safestate/safestate/internal/store"
)

// readable lists, and refuses every watch at once, as a member without a leader
// does.
type readable struct {
	clientv3.KV
	clientv3.Watcher
	watches atomic.Int32
}

func (*readable) Get(context.Context, string, ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	return &clientv3.GetResponse{Header: &pb.ResponseHeader{}}, nil
}

func (r *readable) Watch(context.Context, string, ...clientv3.OpOption) clientv3.WatchChan {
	r.watches.Add(1)
	out := make(chan clientv3.WatchResponse)
	close(out)
	return out
}

func TestAWatchThatIsRefusedIsNotTriedAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &readable{}
		problems := 0
		s := &Store{
			options: Options{CallTimeout: time.Second, Problem: func(error) { problems++ }},
			client:  &clientv3.Client{KV: r, Watcher: r},
		}
		s.life = store.NewLife(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for range s.Watch(ctx, "/a") { //nolint:revive // until it ends
		}
		s.life.End()
		if n := r.watches.Load(); n < 20 || n > 200 || problems < 20 {
			t.Errorf("%d watches in a minute, %d of them told of", n, problems)
		}
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Error(ctx.Err())
		}
	})
}
