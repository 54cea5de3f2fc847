package clients

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// service is inference.GRPCInferenceService.
const service = "/inference.GRPCInferenceService/"

// quick brings the connection back at once after a fault that was about it:
// what grpc-go waits by default would be counted to the next one.
var quick = backoff.Config{BaseDelay: 5 * time.Millisecond, Multiplier: 1.5, MaxDelay: 50 * time.Millisecond}

// GRPC is a grpc-go client of the Open Inference Protocol. It never retries and
// is safe for concurrent use.
type GRPC struct {
	conn   *grpc.ClientConn
	schema schema
}

// DialGRPC makes a client of host:port, in the clear, with options beside its own.
func DialGRPC(address string, more ...grpc.DialOption) (*GRPC, error) {
	s, err := newSchema()
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("passthrough:///"+address, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: quick, MinConnectTimeout: 10 * time.Second}),
		grpc.WithDisableRetry(), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64 << 20)),
	}, more...)...)
	if err != nil {
		return nil, err
	}
	return &GRPC{conn: conn, schema: s}, nil
}

// Close drops the connection.
func (c *GRPC) Close() { _ = c.conn.Close() } // nothing is lost with it

// Message is what a ModelInferRequest asks. The zero value asks the model ""
// for one row.
type Message struct {
	Model      string
	Version    string
	ID         string
	Rows       [][]float32    // of four features; empty: one row
	Typed      bool           // inputs in typed contents, not raw bytes
	Parameters map[string]any // of bool, int64, float64 and string
}

// Reply is what a client got. Code is the call's status; the answer's fields
// are set where it is OK.
type Reply struct {
	Code    codes.Code
	Message string // of the status
	Header  metadata.MD
	Trailer metadata.MD

	ID      string
	Model   string
	Version string
	Outputs []Tensor
	Raw     bool // the outputs came as raw bytes
}

// Tensor is one output, whichever way it came. Values are float64, int64, bool
// or string; nil where the elements are not as many as the shape says or the
// datatype is not one that can be read.
type Tensor struct {
	Name     string
	Datatype string
	Shape    []int64
	Values   []any
}

// Meta is the first value of a header or trailer: a call that failed has only
// trailers.
func (r Reply) Meta(name string) string {
	for _, md := range []metadata.MD{r.Header, r.Trailer} {
		if v := md.Get(name); len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

// Output returns the named output.
func (r Reply) Output(name string) (Tensor, bool) {
	for _, t := range r.Outputs {
		if t.Name == name {
			return t, true
		}
	}
	return Tensor{}, false
}

// Infer makes one unary call; ctx bounds it and may carry outgoing metadata.
func (c *GRPC) Infer(ctx context.Context, m Message) Reply {
	var r Reply
	out := dynamicpb.NewMessage(c.schema.message("ModelInferResponse"))
	err := c.conn.Invoke(ctx, service+"ModelInfer", c.request(m), out, grpc.Header(&r.Header), grpc.Trailer(&r.Trailer))
	r.Code, r.Message = status.Code(err), status.Convert(err).Message()
	if err == nil {
		r.read(out)
	}
	return r
}

// Ready asks whether a model is ready.
func (c *GRPC) Ready(ctx context.Context, model string) (bool, error) {
	in := dynamicpb.NewMessage(c.schema.message("ModelReadyRequest"))
	set(in, "name", model)
	out := dynamicpb.NewMessage(c.schema.message("ModelReadyResponse"))
	err := c.conn.Invoke(ctx, service+"ModelReady", in, out)
	return out.Get(out.Descriptor().Fields().ByName("ready")).Bool(), err
}

// Stream sends the messages one by one over ModelStreamInfer, each after the
// answer to the one before. The last reply holds how the stream ended: its Code
// is OK, and it has no answer, where all were answered.
func (c *GRPC) Stream(ctx context.Context, messages ...Message) []Reply {
	stream, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, service+"ModelStreamInfer")
	if err != nil {
		return []Reply{{Code: status.Code(err), Message: status.Convert(err).Message()}}
	}
	var replies []Reply
	end := func(err error) []Reply {
		last := Reply{Code: status.Code(err), Message: status.Convert(err).Message(), Trailer: stream.Trailer()}
		if errors.Is(err, io.EOF) {
			last.Code, last.Message = codes.OK, ""
		}
		last.Header, _ = stream.Header() // its error is the stream's, which stands above
		return append(replies, last)
	}
	recv := func() (Reply, error) {
		out := dynamicpb.NewMessage(c.schema.message("ModelStreamInferResponse"))
		if err := stream.RecvMsg(out); err != nil {
			return Reply{}, err
		}
		fields := out.Descriptor().Fields()
		r := Reply{Message: out.Get(fields.ByName("error_message")).String()}
		if answer := fields.ByName("infer_response"); out.Has(answer) {
			r.read(out.Get(answer).Message())
		}
		return r, nil
	}
	for _, m := range messages {
		if err := stream.SendMsg(c.request(m)); err != nil && !errors.Is(err, io.EOF) {
			return end(err)
		}
		r, err := recv()
		if err != nil {
			return end(err)
		}
		replies = append(replies, r)
	}
	_ = stream.CloseSend() // what follows says how the stream ended
	for {
		r, err := recv()
		if err != nil {
			return end(err)
		}
		replies = append(replies, r)
	}
}

func set(m protoreflect.Message, name protoreflect.Name, v string) {
	m.Set(m.Descriptor().Fields().ByName(name), protoreflect.ValueOfString(v))
}

func (c *GRPC) request(m Message) *dynamicpb.Message {
	q := dynamicpb.NewMessage(c.schema.message("ModelInferRequest"))
	fields := q.Descriptor().Fields()
	set(q, "model_name", m.Model)
	set(q, "model_version", m.Version)
	set(q, "id", m.ID)
	parameters := q.Mutable(fields.ByName("parameters")).Map()
	for key, v := range m.Parameters {
		parameters.Set(protoreflect.ValueOfString(key).MapKey(), protoreflect.ValueOfMessage(c.parameter(v)))
	}
	rows := m.Rows
	if len(rows) == 0 {
		rows = [][]float32{{1200, 3, 0, 0}}
	}
	in := dynamicpb.NewMessage(c.schema.message("InferInputTensor"))
	set(in, "name", "features")
	set(in, "datatype", "FP32")
	shape := in.Mutable(in.Descriptor().Fields().ByName("shape")).List()
	shape.Append(protoreflect.ValueOfInt64(int64(len(rows))))
	shape.Append(protoreflect.ValueOfInt64(int64(len(rows[0]))))
	var bytes []byte
	contents := dynamicpb.NewMessage(c.schema.message("InferTensorContents"))
	list := contents.Mutable(contents.Descriptor().Fields().ByName("fp32_contents")).List()
	for _, row := range rows {
		for _, v := range row {
			bytes = binary.LittleEndian.AppendUint32(bytes, math.Float32bits(v))
			list.Append(protoreflect.ValueOfFloat32(v))
		}
	}
	if m.Typed {
		in.Set(in.Descriptor().Fields().ByName("contents"), protoreflect.ValueOfMessage(contents))
	} else {
		q.Mutable(fields.ByName("raw_input_contents")).List().Append(protoreflect.ValueOfBytes(bytes))
	}
	q.Mutable(fields.ByName("inputs")).List().Append(protoreflect.ValueOfMessage(in))
	return q
}

func (c *GRPC) parameter(v any) *dynamicpb.Message {
	p := dynamicpb.NewMessage(c.schema.message("InferParameter"))
	fields := p.Descriptor().Fields()
	switch v := v.(type) {
	case bool:
		p.Set(fields.ByName("bool_param"), protoreflect.ValueOfBool(v))
	case int64:
		p.Set(fields.ByName("int64_param"), protoreflect.ValueOfInt64(v))
	case float64:
		p.Set(fields.ByName("double_param"), protoreflect.ValueOfFloat64(v))
	case string:
		set(p, "string_param", v)
	}
	return p
}
