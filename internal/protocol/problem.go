package protocol

import "strconv"

// Kind says how a body fails to be a message of its protocol.
type Kind uint8

// The kinds. The zero value is no problem.
const (
	OK          Kind = iota
	Empty            // there is no prediction
	Form             // JSON, but not of the protocol's form
	Duplicate        // an inspected key occurs twice, or a second time in another case
	ErrorObject      // an error stands where the answer should
	Truncated        // binary tensors end before their declared size
	Trailing         // bytes follow the last binary tensor
	UTF8             // text in a gRPC message is not UTF-8
	Malformed        // a gRPC message is not the protobuf that it should be
)

// text says what is wrong with a place.
func (k Kind) text() string {
	switch k {
	case Empty:
		return "is missing or empty"
	case Duplicate:
		return "is there twice"
	case ErrorObject:
		return "tells of an error"
	case Truncated:
		return "ends too early"
	case Trailing:
		return "is followed by more"
	case UTF8:
		return "is not UTF-8"
	case Malformed:
		return "is no message of its type"
	}
	return "has not the protocol's form"
}

// Problem is why a body is no message of its protocol. It is a value, so that
// finding none costs nothing.
type Problem struct {
	Kind Kind
	Key  string // the place's last key; may be empty
	// Tensor is the index of the tensor that Key belongs to, -1: of none.
	Tensor int
	List   string // what the tensors are called: outputs or inputs
	Offset int    // of Truncated, Trailing, UTF8 and Malformed: in the body
}

// Found reports whether there is a problem.
func (p Problem) Found() bool { return p.Kind != OK }

// Where names the place, such as outputs[0].data.
func (p Problem) Where() string {
	if p.Tensor < 0 || p.List == "" {
		return p.Key
	}
	where := p.List + "[" + strconv.Itoa(p.Tensor) + "]"
	if p.Key != "" {
		where += "." + p.Key
	}
	return where
}

func problem(kind Kind, key string) Problem { return Problem{Kind: kind, Key: key, Tensor: -1} }
