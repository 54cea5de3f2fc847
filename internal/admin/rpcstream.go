package admin

import (
	"context"
	"net/http"
	"slices"
	"time"

	"google.golang.org/grpc"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/safestate/safestate/internal/admin/adminv1"
)

// parts has a method that is answered by parts answered.
func (f rpc) parts(method string, in proto.Message, out grpc.ServerStreamingServer[adminv1.Part]) (err error) {
	defer unbroken(method, &err)
	ctx, cancel := context.WithCancel(out.Context())
	defer cancel()
	if err := f.server.stream(ctx, f.call(ctx, method, in), &sender{out.Send}); err != nil {
		return rpcError(problemOf(err))
	}
	return nil
}

// partSize is the most bytes of a part.
const partSize = 32 << 10

// sender sends what is written to it.
type sender struct {
	send func(*adminv1.Part) error
}

func (s *sender) Write(b []byte) (n int, err error) {
	for part := range slices.Chunk(b, partSize) {
		whole := &adminv1.Part{Content: slices.Clone(part)}
		if err := patiently(func() error { return s.send(whole) }); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// patiently sends something that a reader takes in time. A method that returns ends
// what it is still sending.
func patiently(send func() error) error {
	sent := make(chan error, 1)
	go func() { sent <- send() }()
	stall := time.NewTimer(streamStall)
	defer stall.Stop()
	select {
	case err := <-sent:
		return err
	case <-stall.C:
		return Unavailable("nothing was taken for %s", streamStall)
	}
}

// Bounds of watches: how many at a time, in all and of one principal, how often each
// looks, and for how long at most.
const (
	watchesAtOnce = 32
	watchesEach   = 4
	watchEvery    = 200 * time.Millisecond
	watchFor      = 10 * time.Minute
)

// WatchKillProof sends the proof each time that it changes, until it is complete.
func (f rpc) WatchKillProof(in *adminv1.WatchKillProofRequest, out grpc.ServerStreamingServer[adminv1.KillProof]) (err error) {
	defer unbroken("WatchKillProof", &err)
	s := f.server
	ctx, cancel := context.WithTimeout(out.Context(), watchFor)
	defer cancel()
	c := f.call(ctx, "KillProof", in)
	got := s.answer(ctx, c) // the first time as any other call
	if got.problem != nil {
		return rpcError(got.problem)
	}
	leave, ok := s.watches.take(c.principal.ID)
	defer leave()
	if !ok {
		return rpcError(&Problem{Status: http.StatusTooManyRequests, Message: "others watch already, or you do elsewhere", Hint: "ask for KillProof from time to time"})
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var last *adminv1.KillProof
	for {
		proof := &adminv1.KillProof{}
		if err := fillFrom(got, proof); err != nil {
			return err
		}
		if !sameProof(last, proof) {
			if err := patiently(func() error { return out.Send(proof) }); err != nil {
				return rpcError(problemOf(err))
			}
			last = proof
		}
		if proof.GetComplete() && proof.GetState().GetGeneration() >= in.GetGeneration() {
			return nil
		}
		select {
		case <-ctx.Done():
			return grpcstatus.FromContextError(ctx.Err()).Err()
		case <-s.left.Done():
			return rpcError(Unavailable("this replica is shutting down").Hinted("ask again: another one answers"))
		case <-tick.C:
			got = resultOf(c.route.serve(ctx, c))
		}
	}
}

// sameProof reports whether two proofs say the same, but for when.
func sameProof(a, b *adminv1.KillProof) bool {
	if a == nil {
		return false
	}
	now := b.GetAt()
	b.At = a.GetAt()
	defer func() { b.At = now }()
	return proto.Equal(a, b)
}
