//go:build wasip1

package protocol

import "errors"

// GRPC says whether this build reads and writes gRPC messages. The WASM filter is
// on no route that carries gRPC, and does without this file's other side, which is
// every file that begins with "!wasip1" here, and without the protobuf module that
// reads wire forms for them: it imports package fmt. Package detect compiles no
// policy for gRPC where GRPC is false, so that nothing below is called.
const GRPC = false

// FromGRPC reads nothing.
func FromGRPC(json, tail, _ []byte, _ bool) (jsonOut, tailOut []byte, p Problem) {
	return json, tail, Problem{Kind: Malformed, Tensor: -1}
}

// Options says how ToGRPC writes values.
type Options struct{}

var errNoGRPC = errors.New("this build writes no gRPC messages")

// ToGRPC writes nothing.
func ToGRPC(dst, _, _ []byte, _ Options) ([]byte, error) { return dst, errNoGRPC }
