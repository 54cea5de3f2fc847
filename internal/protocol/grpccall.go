package protocol

import (
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// TypeGRPC is the content-type of gRPC calls and answers.
const TypeGRPC = "application/grpc"

// The calls that ask for a prediction; routes may add prefixes.
const (
	grpcService  = "/inference.GRPCInferenceService/"
	grpcUnary    = grpcService + "ModelInfer"
	grpcStreamed = grpcService + "ModelStreamInfer"
)

// Streams reports whether a path is that of ModelStreamInfer, whose requests
// and answers are each a sequence of messages.
func Streams(path string) bool { return strings.HasSuffix(cleanPath(path), grpcStreamed) }

func grpcInference(method, path string) bool {
	return method == "POST" && (strings.HasSuffix(path, grpcUnary) || strings.HasSuffix(path, grpcStreamed))
}

// grpcType reports whether a content-type is gRPC with messages in protobuf,
// which is what it means without a suffix.
func grpcType(kind string) bool {
	return strings.EqualFold(kind, TypeGRPC) || strings.EqualFold(kind, TypeGRPC+"+proto")
}

// HTTPStatus returns the HTTP status that says the same as a gRPC status code:
// the mapping of google.rpc.Code, with 499 for CANCELLED as proxies have it. A
// code that gRPC does not have is UNKNOWN, as every client takes it.
func HTTPStatus(code int) int {
	statuses := [...]int{
		0:  200, // OK
		1:  499, // CANCELLED
		2:  500, // UNKNOWN
		3:  400, // INVALID_ARGUMENT
		4:  504, // DEADLINE_EXCEEDED
		5:  404, // NOT_FOUND
		6:  409, // ALREADY_EXISTS
		7:  403, // PERMISSION_DENIED
		8:  429, // RESOURCE_EXHAUSTED
		9:  400, // FAILED_PRECONDITION
		10: 409, // ABORTED
		11: 400, // OUT_OF_RANGE
		12: 501, // UNIMPLEMENTED
		13: 500, // INTERNAL
		14: 503, // UNAVAILABLE
		15: 500, // DATA_LOSS
		16: 401, // UNAUTHENTICATED
	}
	if code < 0 || code >= len(statuses) {
		return 500
	}
	return statuses[code]
}

// IsFailure reports whether a gRPC status code says that the model failed, and
// not that the call was at fault: what HTTPStatus makes a 5xx.
func IsFailure(code int) bool { return HTTPStatus(code) >= 500 }

// AskedRaw reports whether the answer to a serialized ModelInferRequest should
// have its values raw: the request has raw contents itself, or keeps its inputs
// in shared memory, as only clients do that read nothing else. Of what cannot
// be read it is false.
func AskedRaw(request []byte) bool {
	w := fieldsOfWire{b: request, end: len(request)}
	shared := false
	for f := (wireField{}); w.next(&f); {
		switch f.num {
		case grpcRawInputs:
			return true
		case grpcTensors:
			shared = shared || inSharedMemory(w.inside(&f))
		}
	}
	return shared && !w.problem.Found()
}

func inSharedMemory(w fieldsOfWire) bool {
	for f := (wireField{}); w.next(&f); {
		if f.num != grpcTensorParameters {
			continue
		}
		var key, value span
		if p := readEntry(w.inside(&f), &key, &value); !p.Found() && string(w.b[key.from:key.to]) == sharedParameter {
			return true
		}
	}
	return false
}

// RewriteGRPCModel appends a serialized ModelInferRequest to dst with another
// model_name and no model_version: versions are the other model's own. All else
// stays byte for byte. The error is a *TranscodeError for what is no such
// message, and dst is then returned as it was.
func RewriteGRPCModel(dst, message []byte, name string) ([]byte, error) {
	out := protowire.AppendTag(dst, grpcModelName, protowire.BytesType)
	out = protowire.AppendString(out, name)
	w := fieldsOfWire{b: message, end: len(message)}
	for f := (wireField{}); w.next(&f); {
		if f.num != grpcModelName && f.num != grpcModelVersion {
			out = append(out, message[f.begin:w.at]...)
		}
	}
	if w.problem.Found() {
		return dst, &TranscodeError{"request", w.problem.Kind.text()}
	}
	return out, nil
}
