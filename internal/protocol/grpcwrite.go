//go:build !wasip1

package protocol

import (
	"strconv"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/tensor"
)

// Options says how ToGRPC writes values.
type Options struct {
	// Raw writes all values to raw_output_contents, for a caller whose request
	// has its own there. An answer with an FP16 or BF16 output is always raw:
	// they have no typed contents, and the two are not mixed.
	Raw bool
}

// TranscodeError is why an answer cannot be written as a gRPC message. It holds
// no text of the answer's.
type TranscodeError struct {
	Where string // such as outputs[0].data[3]
	Why   string
}

func (e *TranscodeError) Error() string { return e.Where + " " + e.Why }

// grpcLimits bound the JSON of an answer. Depth also bounds the recursion over
// nested data.
var grpcLimits = scan.Limits{Depth: maxDepth, Nodes: 1 << 19}

// grpcWriter holds what one message is made from.
type grpcWriter struct {
	doc     scan.Document
	message Message
	values  []byte // of all outputs, little-endian, one after another
	ends    []int  // where each output's end in values
	raw     bool
}

var grpcWriters = sync.Pool{New: func() any { return new(grpcWriter) }}

// ToGRPC appends an Open Inference V2 answer, its JSON and the bytes behind it
// (nil: none), to dst as a serialized ModelInferResponse without a gRPC frame.
// Equal answers give equal bytes.
//
// Callers parse what they are given and have no schema for excuses, so the
// answer must be whole: every value is of its output's datatype and finite, an
// output has as many values as its shape says, names are text, parameters are
// scalars. The error is a *TranscodeError or, for what is no JSON, a
// *scan.Error; dst is then returned as it was. Members that the message has no
// field for are left out. Safe for concurrent use.
func ToGRPC(dst, json, tail []byte, o Options) ([]byte, error) {
	w := grpcWriters.Get().(*grpcWriter)
	out, err := w.write(dst, json, tail, o)
	w.doc.Reset()
	w.message.Forget()
	w.ends = w.ends[:0]
	if w.values = w.values[:0]; cap(w.values) > maxKeptValues {
		w.values = nil
	}
	grpcWriters.Put(w)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// maxKeptValues is the largest room that is kept for the next answer.
const maxKeptValues = 4 << 20

func (w *grpcWriter) write(dst, json, tail []byte, o Options) ([]byte, error) {
	if err := w.doc.Parse(json, grpcLimits); err != nil {
		return nil, err
	}
	root, m := w.doc.Root(), &w.message
	if p := m.ReadAnswer(policy.OpenInferenceV2, root, tail); p.Found() {
		return nil, &TranscodeError{p.Where(), p.Kind.text()}
	}
	w.raw = o.Raw
	for i := range m.Tensors {
		if err := w.take(&m.Tensors[i]); err != nil {
			return nil, err
		}
	}
	for _, f := range []struct {
		num  protowire.Number
		name string
		node scan.Node
	}{{grpcModelName, "model_name", m.ModelName}, {grpcModelVersion, "model_version", m.ModelVersion}, {grpcID, "id", m.ID}} {
		var ok bool
		if dst, ok = appendName(dst, f.num, f.node); !ok {
			return nil, &TranscodeError{f.name, "is no text"}
		}
	}
	parameters, dup := root.Get("parameters")
	if dup {
		return nil, &TranscodeError{"parameters", Duplicate.text()}
	}
	dst, ok := appendParameters(dst, grpcParameters, parameters, false)
	if !ok {
		return nil, &TranscodeError{"parameters", "are no object of scalars"}
	}
	for i := range m.Tensors {
		var err error
		if dst, err = w.appendTensor(dst, &m.Tensors[i]); err != nil {
			return nil, err
		}
	}
	for i := 0; w.raw && i < len(m.Tensors); i++ {
		dst = protowire.AppendTag(dst, grpcRawOutputs, protowire.BytesType)
		dst = protowire.AppendBytes(dst, w.valuesOf(i))
	}
	return dst, nil
}

// valuesOf returns the values of output i, little-endian.
func (w *grpcWriter) valuesOf(i int) []byte {
	from := 0
	if i > 0 {
		from = w.ends[i-1]
	}
	return w.values[from:w.ends[i]]
}

func (w *grpcWriter) appendTensor(dst []byte, t *Tensor) ([]byte, error) {
	dst = protowire.AppendTag(dst, grpcTensors, protowire.BytesType)
	start := len(dst)
	dst, ok := appendName(dst, grpcTensorName, t.Name)
	if !ok {
		return nil, &TranscodeError{outputWhere(t, "name"), "is no text"}
	}
	dst = protowire.AppendTag(dst, grpcTensorDatatype, protowire.BytesType)
	dst = protowire.AppendString(dst, t.Datatype.String())
	if len(t.Shape) > 0 {
		dst = protowire.AppendTag(dst, grpcTensorShape, protowire.BytesType)
		inner := len(dst)
		for _, d := range t.Shape {
			dst = protowire.AppendVarint(dst, uint64(d))
		}
		dst = prefixLength(dst, inner)
	}
	parameters, dup := t.object.Get("parameters")
	if dst, ok = appendParameters(dst, grpcTensorParameters, parameters, true); dup || !ok {
		return nil, &TranscodeError{outputWhere(t, "parameters"), "are no object of scalars"}
	}
	if !w.raw && !t.Shared {
		dst = protowire.AppendTag(dst, grpcTensorContents, protowire.BytesType)
		inner := len(dst)
		dst = prefixLength(appendContents(dst, t.Datatype, w.valuesOf(t.Index)), inner)
	}
	return prefixLength(dst, start), nil
}

func outputWhere(t *Tensor, key string) string {
	return Problem{Tensor: t.Index, List: "outputs", Key: key}.Where()
}

// prefixLength puts the length of dst[start:] before it.
func prefixLength(dst []byte, start int) []byte {
	n := len(dst) - start
	size := protowire.SizeVarint(uint64(n))
	var room [10]byte
	dst = append(dst, room[:size]...)
	copy(dst[start+size:], dst[start:start+n])
	protowire.AppendVarint(dst[start:start], uint64(n))
	return dst
}

// appendName appends a text field; what is absent, null or empty has none, as
// proto3 has it. A number, which some servers write for a version, is its text.
func appendName(dst []byte, num protowire.Number, n scan.Node) ([]byte, bool) {
	switch {
	case !scan.Present(n), n.EqualText(""):
		return dst, true
	case n.Kind() == scan.Number:
		dst = protowire.AppendTag(dst, num, protowire.BytesType)
		return protowire.AppendBytes(dst, n.Raw()), true
	case n.Kind() != scan.String:
		return dst, false
	}
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	start := len(dst)
	return prefixLength(n.Text(dst), start), true
}

// appendParameters appends a map of InferParameter. binary_data_size of a
// tensor says how REST carries its values, and is left out.
func appendParameters(dst []byte, num protowire.Number, object scan.Node, ofTensor bool) ([]byte, bool) {
	if !scan.Present(object) {
		return dst, true
	}
	if object.Kind() != scan.Object || object.Len() > maxGRPCParameters {
		return dst, false
	}
	for it := object.Children(); it.Next(); {
		key := it.Key()
		if ofTensor && string(key) == sizeParameter {
			continue
		}
		if _, dup := object.Get(string(key)); dup {
			return dst, false
		}
		dst = protowire.AppendTag(dst, num, protowire.BytesType)
		entry := len(dst)
		dst = protowire.AppendTag(dst, grpcEntryKey, protowire.BytesType)
		dst = protowire.AppendBytes(dst, key)
		dst = protowire.AppendTag(dst, grpcEntryValue, protowire.BytesType)
		value := len(dst)
		var ok bool
		if dst, ok = appendParameter(dst, it.Value()); !ok {
			return dst, false
		}
		dst = prefixLength(prefixLength(dst, value), entry)
	}
	return dst, true
}

// appendParameter appends the one choice of an InferParameter; null is none.
func appendParameter(dst []byte, n scan.Node) ([]byte, bool) {
	switch n.Kind() {
	case scan.Null:
		return dst, true
	case scan.True, scan.False:
		dst = protowire.AppendTag(dst, grpcParamBool, protowire.VarintType)
		return protowire.AppendVarint(dst, protowire.EncodeBool(n.Kind() == scan.True)), true
	case scan.String:
		dst = protowire.AppendTag(dst, grpcParamString, protowire.BytesType)
		start := len(dst)
		return prefixLength(n.Text(dst), start), true
	case scan.Number:
		return appendNumberParameter(dst, n)
	}
	return dst, false
}

func appendNumberParameter(dst []byte, n scan.Node) ([]byte, bool) {
	if v, ok := n.Int(); ok {
		dst = protowire.AppendTag(dst, grpcParamInt64, protowire.VarintType)
		return protowire.AppendVarint(dst, uint64(v)), true
	}
	if v, err := strconv.ParseUint(string(n.Raw()), 10, 64); err == nil {
		dst = protowire.AppendTag(dst, grpcParamUint64, protowire.VarintType)
		return protowire.AppendVarint(dst, v), true
	}
	v, _ := n.Float()
	bits, ok := finiteBits(v)
	if !ok {
		return dst, false
	}
	dst = protowire.AppendTag(dst, grpcParamDouble, protowire.Fixed64Type)
	return protowire.AppendFixed64(dst, bits), true
}

// take appends an output's values to w.values, and holds them to its shape.
func (w *grpcWriter) take(t *Tensor) error {
	where := func(key string) string { return outputWhere(t, key) }
	var count int
	switch {
	case t.Datatype == tensor.Unknown:
		return &TranscodeError{where("datatype"), "is none"}
	case !t.ShapeOK:
		return &TranscodeError{where("shape"), "is none"}
	case len(t.Shape) > maxGRPCRank:
		return &TranscodeError{where("shape"), "has too many dimensions"}
	case t.Shared && scan.Present(t.Data):
		return &TranscodeError{where("data"), "is in shared memory as well"}
	case t.Shared:
		w.ends = append(w.ends, len(w.values))
		return nil
	case t.Binary:
		if i, _, bad := tensor.FirstNonFinite(t.Datatype, t.Raw); bad {
			return &TranscodeError{where("data[" + strconv.Itoa(i) + "]"), "is not finite"}
		}
		count, _ = tensor.Count(t.Datatype, t.Raw)
		w.values = append(w.values, t.Raw...)
	default:
		e := elements{dst: w.values, datatype: t.Datatype}
		ok := t.Data.Kind() == scan.Array && e.add(t.Data)
		if w.values = e.dst; !ok {
			return &TranscodeError{where("data[" + strconv.Itoa(e.count) + "]"), "is no finite value of " + t.Datatype.String()}
		}
		count = e.count
	}
	if n, ok := tensor.Elements(t.Shape); !ok || n != int64(count) {
		return &TranscodeError{where("shape"), "is not that of its data"}
	}
	w.ends = append(w.ends, len(w.values))
	w.raw = w.raw || contentsField(t.Datatype) == 0
	return nil
}
