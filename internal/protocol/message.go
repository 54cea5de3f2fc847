package protocol

import (
	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/tensor"
)

// Message is a body read as its protocol has it. It is reusable (each Read
// starts afresh and keeps the room of its slices), not safe for concurrent use,
// and valid as long as the document and the body it was read from.
type Message struct {
	Protocol policy.Protocol
	Root     scan.Node

	// Open Inference V2, over REST or gRPC. List is "outputs" or "inputs".
	Tensors                     []Tensor
	List                        string
	ModelName, ModelVersion, ID scan.Node // not there, or null: the message has none

	// The other protocols: where the predictions are (or the instances of a
	// request), and the key they stand under; "" is the root itself.
	Rows    scan.Node
	RowsKey string
	// Columnar says that Rows is TensorFlow Serving's columnar format, one
	// tensor per key, or a single tensor.
	Columnar bool

	// OpenAI: the answer; Rows is then the root.
	Completion chat.Completion

	shapes []int64 // of all tensors, one after another
}

// Tensor is one tensor of an Open Inference V2 message.
type Tensor struct {
	Index    int
	Name     scan.Node
	Datatype tensor.Type // Unknown where the server names none, or none we know
	// DatatypeNode is the datatype as the server wrote it.
	DatatypeNode scan.Node
	// Shape is valid until the next Read. ShapeOK is false where it is missing,
	// or is no list of integers from 0 up.
	Shape   []int64
	ShapeOK bool
	// ShapeBroken: there is a shape, and it is no list of integers from 0 up.
	ShapeBroken bool
	// The values are in Data, or where Binary is set in Raw: little-endian, one
	// after another; of BYTES each with its length in 4 bytes before it. Neither
	// is there where Shared says that the values are in shared memory.
	Data   scan.Node
	Raw    []byte
	Binary bool
	Shared bool

	object scan.Node // the tensor's own JSON
}

// Tensors reports whether a protocol's messages are lists of named tensors: Open
// Inference V2, over REST or gRPC.
func Tensors(p policy.Protocol) bool {
	return p == policy.OpenInferenceV2 || p == policy.OpenInferenceGRPC
}

// ReadAnswer reads an answer. tail is what follows the JSON of a body of the
// binary tensor extension, nil without it; of a gRPC message both are what
// FromGRPC made of it.
func (m *Message) ReadAnswer(p policy.Protocol, root scan.Node, tail []byte) Problem {
	m.reset(p, root)
	switch p {
	case policy.OpenInferenceV2, policy.OpenInferenceGRPC:
		return m.readV2(root, "outputs", tail)
	case policy.JSON:
		return m.readJSON(root)
	case policy.OpenAI:
		return m.readChat(root, tail)
	default:
		return m.readRows(root)
	}
}

// ReadRequest reads a request. Only what checks need is looked at: the values
// of a request are the model's affair.
func (m *Message) ReadRequest(p policy.Protocol, root scan.Node, tail []byte) Problem {
	m.reset(p, root)
	if Tensors(p) {
		return m.readV2(root, "inputs", tail)
	}
	m.Rows = root
	if p == policy.JSON || p == policy.OpenAI || root.Kind() != scan.Object {
		return Problem{}
	}
	for _, key := range []string{"instances", "inputs", "dataframe_split", "dataframe_records", "examples"} {
		if v, _ := root.Get(key); v.Exists() {
			m.Rows, m.RowsKey = v, key
			break
		}
	}
	return Problem{}
}

func (m *Message) reset(p policy.Protocol, root scan.Node) {
	*m = Message{Protocol: p, Root: root, Tensors: m.Tensors[:0], shapes: m.shapes[:0], Completion: m.Completion}
}

// readJSON takes any JSON for an answer but one with nothing in it.
func (m *Message) readJSON(root scan.Node) Problem {
	m.Rows = root
	switch root.Kind() {
	case scan.Object, scan.Array:
		if root.Len() == 0 {
			return problem(Empty, "body")
		}
	case scan.Null:
		return problem(Empty, "body")
	case scan.String:
		if len(root.Raw()) == len(`""`) {
			return problem(Empty, "body")
		}
	}
	return Problem{}
}

// readChat reads an answer of the OpenAI API. Bytes behind its JSON are none of
// that protocol's.
func (m *Message) readChat(root scan.Node, tail []byte) Problem {
	m.Rows = root
	if tail != nil {
		return problem(Form, HeaderLength)
	}
	p := m.Completion.Read(root)
	switch p.Kind {
	case chat.OK:
		return Problem{}
	case chat.Empty:
		return problem(Empty, p.Where)
	case chat.Duplicate:
		return problem(Duplicate, p.Where)
	case chat.ErrorObject:
		return problem(ErrorObject, p.Where)
	}
	return problem(Form, p.Where)
}

// Forget lets go of the document that m was read from and keeps m's memory, up
// to a bound, for the next Read.
func (m *Message) Forget() {
	tensors, shapes := m.Tensors[:0], m.shapes[:0]
	if cap(tensors) > 256 {
		tensors = nil
	}
	if cap(shapes) > 1024 {
		shapes = nil
	}
	clear(tensors[:cap(tensors)])
	m.Completion.Forget()
	*m = Message{Tensors: tensors, shapes: shapes, Completion: m.Completion}
}
