package faultmodel

import (
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// about answers the calls that ask about the server and its models, and
// gRPC's own health check.
func (s *Server) about(c *call, path string) {
	message, err := readFrame(c.r.Body)
	if err != nil {
		c.status(codeInvalidArgument, errMessage.Error())
		return
	}
	var out []byte
	switch method, _ := strings.CutPrefix(path, grpcService); method {
	case "ServerLive", "ServerReady", "ModelReady", "/grpc.health.v1.Health/Check":
		out = appendTrue(nil, 1) // live, ready; SERVING is 1 too
	case "ServerMetadata":
		out = appendString(nil, 1, "samplemodel")
		out = appendString(out, 2, s.opts.Version)
	case "ModelMetadata":
		out = s.metadata(message)
	default:
		c.status(codeUnimplemented, "unknown method "+path)
		return
	}
	c.frame(out, len(out))
	c.status(codeOK, "")
}

// metadata is a ModelMetadataResponse: the name that was asked for, the
// version, and the tensors.
func (s *Server) metadata(message []byte) []byte {
	name := ""
	if fields(message, func(n protowire.Number, _ uint64, b []byte) error {
		if n == 1 {
			name = string(b)
		}
		return nil
	}) != nil {
		name = "" // answered all the same: nothing is judged here
	}
	out := appendString(nil, 1, name)
	out = appendString(out, 2, s.opts.Version)
	out = appendString(out, 3, "samplemodel")
	out = appendBytes(out, 4, tensorMetadata("features", "FP32", -1, inputWidth))
	for _, t := range newAnswer(s.opts.Version, make([]Features, 1), true).outputs {
		shape := append([]int{-1}, t.shape[1:]...)
		out = appendBytes(out, 5, tensorMetadata(t.name, t.datatype, shape...))
	}
	return out
}

func tensorMetadata(name, datatype string, shape ...int) []byte {
	b := appendString(nil, tensorName, name)
	b = appendString(b, tensorDatatype, datatype)
	var packed []byte
	for _, n := range shape {
		packed = protowire.AppendVarint(packed, uint64(n))
	}
	return appendBytes(b, tensorShape, packed)
}
