package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
)

const methodInfer = "/inference.GRPCInferenceService/ModelInfer"

// raw is a codec by which messages are their bytes.
type raw struct{}

var _ encoding.CodecV2 = raw{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// inferMessage is a ModelInferRequest (inputs in field 5, raw values in 7) or a
// ModelInferResponse (outputs in 5, raw in 6) of grpc_predict_v2.proto, with one
// FP32 tensor of raw bytes.
func inferMessage(rawField protowire.Number, tensor string, values []float32) []byte {
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	text := func(b []byte, field protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
	}
	of := text(text(nil, 1, tensor), 2, "FP32")
	of = protowire.AppendVarint(protowire.AppendTag(of, 3, protowire.VarintType), uint64(len(values)))
	b := text(nil, 1, "scoring")
	b = protowire.AppendBytes(protowire.AppendTag(b, 5, protowire.BytesType), of)
	return protowire.AppendBytes(protowire.AppendTag(b, rawField, protowire.BytesType), data)
}

var (
	inferRequest = inferMessage(7, "features", make([]float32, 256)) // a kilobyte
	inferAnswer  = inferMessage(6, "score", []float32{0.0496420711})
)

// startGRPC serves a model that answers every call with the same score.
func (m *models) startGRPC() (port int, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	m.grpc = grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		var asked []byte
		if err := s.RecvMsg(&asked); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		return s.SendMsg(&inferAnswer)
	}))
	go func() { _ = m.grpc.Serve(l) }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// inferring is a connection on which ModelInfer is called again and again.
type inferring struct {
	conn   *grpc.ClientConn
	source string
}

// dialGRPC makes the connections of a target that is asked over gRPC. source is
// what the answers' source must be; empty: none is given.
func dialGRPC(address, source string) func() (caller, error) {
	return func() (caller, error) {
		conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDisableRetry(), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{})))
		if err != nil {
			return nil, err
		}
		return &inferring{conn: conn, source: source}, nil
	}
}

func (c *inferring) call() (sample, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var answer []byte
	var headers metadata.MD
	started := time.Now()
	if err := c.conn.Invoke(ctx, methodInfer, &inferRequest, &answer, grpc.Header(&headers)); err != nil {
		return sample{}, fmt.Errorf("ModelInfer: %w", err)
	}
	out := sample{took: time.Since(started)}
	source := headers.Get("x-safestate-source")
	out.good = bytes.Equal(answer, inferAnswer) && (c.source == "" && len(source) == 0 || len(source) == 1 && source[0] == c.source)
	return out, nil
}

func (c *inferring) close() { _ = c.conn.Close() }
