package etcd

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// endpoint is the embedded server's, for a client whose dialler ignores it.
const endpoint = "http://embedded"

func (s *Store) openEmbedded(ctx context.Context) error {
	var err error
	if s.server, err = startServer(ctx, s.options); err != nil {
		return err
	}
	s.where = "etcd in " + s.server.dir
	config := clientv3.Config{
		Endpoints:   []string{endpoint},
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(s.server.dial)},
	}
	if err := s.connect(ctx, config); err != nil {
		return s.fault("open", "", err)
	}
	return s.forgetLeases(ctx)
}

// forgetLeases ends what the process before us held. Nobody else can hold
// anything here, so a leader that was killed need not be waited for.
func (s *Store) forgetLeases(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openWait)
	defer cancel()
	held, err := s.client.Leases(ctx)
	if err != nil {
		return s.fault("open", "", err)
	}
	for _, lease := range held.Leases {
		_, err := s.client.Revoke(ctx, lease.ID)
		if err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return s.fault("open", "", err)
		}
	}
	return nil
}

// reclaim makes room in the embedded server's file, which is full of history
// that nobody needs: our records are few. Etcd takes writes again after it.
func (s *Store) reclaim(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	now, err := s.client.Get(ctx, "/", clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	_, err = s.client.Compact(ctx, now.Header.Revision, clientv3.WithCompactPhysical())
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return err
	}
	if _, err := s.client.Defragment(ctx, endpoint); err != nil {
		return err
	}
	_, err = s.client.AlarmDisarm(ctx, &clientv3.AlarmMember{
		MemberID: uint64(s.server.etcd.Server.MemberID()), Alarm: pb.AlarmType_NOSPACE})
	return err
}

// makeRoom runs reclaim in the background, one at a time.
func (s *Store) makeRoom() {
	if !s.reclaiming.CompareAndSwap(false, true) {
		return
	}
	if !s.life.Enter() {
		return
	}
	go func() {
		defer s.life.Leave()
		defer s.reclaiming.Store(false)
		if err := s.reclaim(s.life.Alive); err != nil {
			s.options.Problem(fmt.Errorf("store: %s is full, and no room could be made: %w", s.where, err))
		}
	}()
}
