package extproc

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// ServerOptions are what a gRPC server needs to be given for Register: room
// for bodies, and a codec that sends replies which are serialized already.
// Other services on the same server are not concerned.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessageBytes),
		grpc.MaxSendMsgSize(MaxMessageBytes),
		grpc.ForceServerCodecV2(codec{encoding.GetCodecV2(proto.Name)}),
	}
}

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
