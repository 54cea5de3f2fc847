// Command noop is an external processor that answers every message at once with
// an empty reply, and every piece of a body that comes in pieces with the piece:
// the floor under any processor that asks for the same messages.
package main

import (
	"flag"
	"log"
	"net"

	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
)

type server struct {
	extprocv3.UnimplementedExternalProcessorServer
}

type (
	request  = extprocv3.ProcessingRequest
	response = extprocv3.ProcessingResponse
)

var (
	toRequestHeaders   = &response{Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{}}}
	toRequestBody      = &response{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{}}}
	toResponseHeaders  = &response{Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{}}}
	toResponseBody     = &response{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{}}}
	toResponseTrailers = &response{Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}}}
)

func (server) Process(s grpc.BidiStreamingServer[request, response]) error {
	pieces := false // the answer's body comes in pieces
	for {
		m, err := s.Recv()
		if err != nil {
			return nil //nolint:nilerr // the proxy has ended the stream
		}
		if c := m.ProtocolConfig; c != nil {
			pieces = c.ResponseBodyMode == filterv3.ProcessingMode_FULL_DUPLEX_STREAMED
		}
		if err := s.Send(reply(m, pieces)); err != nil {
			return err
		}
	}
}

func reply(m *request, pieces bool) *response {
	switch r := m.Request.(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		return toRequestHeaders
	case *extprocv3.ProcessingRequest_RequestBody:
		return toRequestBody
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		return toResponseHeaders
	case *extprocv3.ProcessingRequest_ResponseTrailers:
		return toResponseTrailers
	case *extprocv3.ProcessingRequest_ResponseBody:
		if pieces {
			return echo(r.ResponseBody)
		}
	}
	return toResponseBody
}

// echo sends a piece on.
func echo(b *extprocv3.HttpBody) *response {
	return &response{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{
		Response: &extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_StreamedResponse{
			StreamedResponse: &extprocv3.StreamedBodyResponse{Body: b.Body, EndOfStream: b.EndOfStream},
		}}},
	}}}
}

func main() {
	listen := flag.String("listen", "127.0.0.1:18100", "address of the gRPC server")
	flag.Parse()
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	// The transport is set as safestate sets its own: what is left between the
	// two is what safestate does with the messages.
	g := grpc.NewServer(grpc.NumStreamWorkers(64), grpc.StaticStreamWindowSize(64<<10), grpc.StaticConnWindowSize(16<<20))
	extprocv3.RegisterExternalProcessorServer(g, server{})
	log.Fatal(g.Serve(l))
}
