package extproc

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

const (
	// workers are goroutines that go from exchange to exchange with the stack
	// that they have grown: a new one grows its own twice in each. Exchanges
	// beyond them get goroutines of their own.
	workers = 64
	// streamWindow and connectionWindow are how many bytes Envoy may send ahead,
	// of one exchange and of all on a connection. A message that is longer gets
	// the room that it needs; a caller who reads slowly costs no more than the
	// window. Left to itself gRPC finds windows by pings, one after the other
	// while messages come, which is a tenth of what a token costs.
	streamWindow     = 64 << 10
	connectionWindow = 16 << 20
)

// ServerOptions are what a gRPC server needs to be given for Register: room
// for bodies, a transport for many small messages, and a codec that sends replies
// which are serialized already. Other services on the same server are not
// concerned.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessageBytes),
		grpc.MaxSendMsgSize(MaxMessageBytes),
		grpc.NumStreamWorkers(workers),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.ForceServerCodecV2(Codec()),
	}
}

// Codec is that of ServerOptions, for a server that has services with a codec of
// their own as well: it marshals what it does not know as protobuf does.
func Codec() encoding.CodecV2 { return codec{encoding.GetCodecV2(proto.Name)} }

// codec is the protobuf codec, but for replies: those that never change are not
// serialized anew for every request.
type codec struct{ encoding.CodecV2 }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	r, ok := v.(*reply)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	if r.wire == nil {
		return c.CodecV2.Marshal(r.message)
	}
	return mem.BufferSlice{mem.SliceBuffer(r.wire)}, nil
}

// Name implements encoding.CodecV2.
func (c codec) Name() string { return proto.Name }
