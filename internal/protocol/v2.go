package protocol

import (
	"slices"
	"strconv"
	"strings"

	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/tensor"
)

// SplitBinary divides a body of the binary tensor extension after its JSON;
// header is the value of HeaderLength. A header that is no number, or more
// than the body has, is a problem.
func SplitBinary(header string, body []byte) (json, tail []byte, p Problem) {
	n, err := strconv.ParseUint(strings.TrimSpace(header), 10, 31)
	if err != nil {
		return nil, nil, problem(Form, HeaderLength)
	}
	if int(n) > len(body) {
		return nil, nil, Problem{Kind: Truncated, Tensor: -1, Offset: len(body)}
	}
	return body[:n], body[n:], Problem{}
}

// readV2 reads an Open Inference V2 message. Members may stand in any order;
// nulls that KServe and MLServer write for absent members are absent.
func (m *Message) readV2(root scan.Node, list string, tail []byte) Problem {
	m.List = list
	if root.Kind() != scan.Object {
		return notAnObject(root)
	}
	fields := [...]scan.Field{{Name: list}, {Name: "model_name"}, {Name: "model_version"}, {Name: "id"}, {Name: "error"}, {Name: "detail"}}
	if dup := scan.Collect(root, fields[:]); dup != "" {
		return problem(Duplicate, dup)
	}
	tensors := fields[0].Node
	m.ModelName, m.ModelVersion, m.ID = fields[1].Node, fields[2].Node, fields[3].Node
	if list == "outputs" {
		if scan.Says(fields[4].Node) {
			return problem(ErrorObject, "error")
		}
		if scan.Says(fields[5].Node) && !scan.Present(tensors) {
			return problem(ErrorObject, "detail")
		}
	}
	if !scan.Present(tensors) {
		return problem(Empty, list)
	}
	if tensors.Kind() != scan.Array {
		return problem(Form, list)
	}
	if tensors.Len() == 0 {
		return problem(Empty, list)
	}
	return m.readTensors(tensors, tail)
}

func (m *Message) readTensors(tensors scan.Node, tail []byte) Problem {
	rest, size := tail, len(tail)
	for it := tensors.Children(); it.Next(); {
		var p Problem
		if rest, p = m.readTensor(it.Value(), rest); p.Found() {
			p.Tensor, p.List = len(m.Tensors), m.List
			if p.Kind == Truncated {
				p.Offset += size
			}
			return p
		}
	}
	if len(rest) > 0 {
		return Problem{Kind: Trailing, Tensor: -1, Offset: size - len(rest)}
	}
	return m.allEmpty()
}

// readTensor reads one tensor and takes its share of the binary data.
func (m *Message) readTensor(n scan.Node, rest []byte) ([]byte, Problem) {
	if n.Kind() != scan.Object {
		return rest, problem(Form, "")
	}
	fields := [...]scan.Field{{Name: "name"}, {Name: "datatype"}, {Name: "shape"}, {Name: "data"}, {Name: "parameters"}}
	if dup := scan.Collect(n, fields[:]); dup != "" {
		return rest, problem(Duplicate, dup)
	}
	t := Tensor{object: n, Index: len(m.Tensors), Name: fields[0].Node, DatatypeNode: fields[1].Node, Data: fields[3].Node}
	t.Datatype = datatype(t.DatatypeNode)
	t.Shape, t.ShapeOK = m.shape(fields[2].Node)
	t.ShapeBroken = !t.ShapeOK && scan.Present(fields[2].Node)

	size, shared, p := tensorSize(fields[4].Node)
	switch {
	case p.Found():
		return rest, p
	case scan.Present(t.Data) && size >= 0, t.Data.Kind() == scan.Object:
		return rest, problem(Form, "data")
	case size > int64(len(rest)):
		return rest, Problem{Kind: Truncated, Key: "data"}
	case size >= 0:
		t.Binary, t.Raw, rest = true, rest[:size:size], rest[size:]
		if t.Datatype == tensor.Unknown {
			return rest, problem(Form, "datatype") // bytes that nobody can read
		}
		if _, whole := tensor.Count(t.Datatype, t.Raw); !whole {
			return rest, problem(Form, "data")
		}
	case shared:
		t.Shared = true
	case !scan.Present(t.Data):
		return rest, problem(Empty, "data")
	}
	m.Tensors = append(m.Tensors, t)
	return rest, Problem{}
}

// tensorSize reads a tensor's parameters: binary_data_size (-1: none), and
// whether the values are in shared memory.
func tensorSize(parameters scan.Node) (size int64, shared bool, p Problem) {
	if parameters.Kind() != scan.Object {
		return -1, false, Problem{}
	}
	fields := [...]scan.Field{{Name: "binary_data_size"}, {Name: "shared_memory_region"}}
	if dup := scan.Collect(parameters, fields[:]); dup != "" {
		return -1, false, problem(Duplicate, dup)
	}
	if !scan.Present(fields[0].Node) {
		return -1, scan.Present(fields[1].Node), Problem{}
	}
	size, ok := fields[0].Node.Int()
	if !ok || size < 0 {
		return -1, false, problem(Form, "binary_data_size")
	}
	return size, false, Problem{}
}

// longestDatatype bounds what is copied to look up a datatype.
const longestDatatype = 16

func datatype(n scan.Node) tensor.Type {
	if n.Kind() != scan.String || len(n.Raw()) > longestDatatype {
		return tensor.Unknown
	}
	var buf [longestDatatype]byte
	t, _ := tensor.Parse(string(n.Text(buf[:0])))
	return t
}

// shape reads a shape into the message's room for all of them.
func (m *Message) shape(n scan.Node) ([]int64, bool) {
	if n.Kind() != scan.Array {
		return nil, false
	}
	start := len(m.shapes)
	for it := n.Children(); it.Next(); {
		v, ok := it.Value().Int()
		if !ok || v < 0 {
			m.shapes = m.shapes[:start]
			return nil, false
		}
		m.shapes = append(m.shapes, v)
	}
	return m.shapes[start:len(m.shapes):len(m.shapes)], true
}

// allEmpty finds an answer whose every output has no elements though its shape
// promises some: there is no prediction in it. An output whose shape has a 0
// says by itself that there is nothing, as that of an object detector does
// which found nothing.
func (m *Message) allEmpty() Problem {
	if m.List != "outputs" {
		return Problem{}
	}
	for i := range m.Tensors {
		t := &m.Tensors[i]
		if t.Shared || slices.Contains(t.Shape, 0) || len(t.Raw) > 0 || scan.Present(t.Data) && (t.Data.Kind() != scan.Array || t.Data.Len() > 0) {
			return Problem{}
		}
	}
	return Problem{Kind: Empty, Key: "data", List: m.List}
}

func notAnObject(root scan.Node) Problem {
	if root.Kind() == scan.Null || root.Kind() == scan.Array && root.Len() == 0 ||
		root.Kind() == scan.String && len(root.Raw()) == len(`""`) {
		return problem(Empty, "body")
	}
	return problem(Form, "body")
}
