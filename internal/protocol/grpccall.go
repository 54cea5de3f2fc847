package protocol

import "strings"

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
