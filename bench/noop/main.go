// Command noop is an external processor that answers every message with an
// empty reply: the floor under any processor that asks for the same messages.
package main

import (
	"flag"
	"log"
	"net"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
)

type server struct {
	extprocv3.UnimplementedExternalProcessorServer
}

var replies = map[string]*extprocv3.ProcessingResponse{
	"request_headers":  {Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{}}},
	"request_body":     {Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{}}},
	"response_headers": {Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{}}},
	"response_body":    {Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{}}},
}

func (server) Process(s grpc.BidiStreamingServer[extprocv3.ProcessingRequest, extprocv3.ProcessingResponse]) error {
	for {
		m, err := s.Recv()
		if err != nil {
			return nil //nolint:nilerr // the proxy has ended the stream
		}
		var r *extprocv3.ProcessingResponse
		switch m.Request.(type) {
		case *extprocv3.ProcessingRequest_RequestHeaders:
			r = replies["request_headers"]
		case *extprocv3.ProcessingRequest_RequestBody:
			r = replies["request_body"]
		case *extprocv3.ProcessingRequest_ResponseHeaders:
			r = replies["response_headers"]
		default:
			r = replies["response_body"]
		}
		if err := s.Send(r); err != nil {
			return err
		}
	}
}

func main() {
	listen := flag.String("listen", "127.0.0.1:18100", "address of the gRPC server")
	flag.Parse()
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	g := grpc.NewServer()
	extprocv3.RegisterExternalProcessorServer(g, server{})
	log.Fatal(g.Serve(l))
}
