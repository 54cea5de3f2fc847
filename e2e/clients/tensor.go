package clients

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// read fills a reply from a ModelInferResponse.
func (r *Reply) read(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	get := func(name protoreflect.Name) protoreflect.Value { return m.Get(fields.ByName(name)) }
	r.ID, r.Model, r.Version = get("id").String(), get("model_name").String(), get("model_version").String()
	outputs, raws := get("outputs").List(), get("raw_output_contents").List()
	r.Raw = raws.Len() > 0
	for i := range outputs.Len() {
		t := readTensor(outputs.Get(i).Message())
		if i < raws.Len() {
			t.Values = decode(t.Datatype, raws.Get(i).Bytes())
		}
		want := int64(1)
		for _, n := range t.Shape {
			want *= n
		}
		if int64(len(t.Values)) != want {
			t.Values = nil
		}
		r.Outputs = append(r.Outputs, t)
	}
}

// readTensor reads an InferOutputTensor with its typed contents, of whatever
// type they are.
func readTensor(m protoreflect.Message) (t Tensor) {
	fields := m.Descriptor().Fields()
	t.Name = m.Get(fields.ByName("name")).String()
	t.Datatype = m.Get(fields.ByName("datatype")).String()
	shape := m.Get(fields.ByName("shape")).List()
	for i := range shape.Len() {
		t.Shape = append(t.Shape, shape.Get(i).Int())
	}
	m.Get(fields.ByName("contents")).Message().Range(func(_ protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		for i := range v.List().Len() {
			switch e := v.List().Get(i).Interface().(type) {
			case float32:
				t.Values = append(t.Values, float64(e))
			case []byte:
				t.Values = append(t.Values, string(e))
			case int32:
				t.Values = append(t.Values, int64(e))
			case uint32:
				t.Values = append(t.Values, int64(e))
			case uint64:
				t.Values = append(t.Values, int64(e))
			default: // float64, int64, bool
				t.Values = append(t.Values, e)
			}
		}
		return true
	})
	return t
}

// decode reads little-endian elements; nil where the bytes are not whole
// elements or the datatype is not known.
func decode(datatype string, b []byte) (out []any) {
	size := map[string]int{"BOOL": 1, "INT8": 1, "UINT8": 1, "FP16": 2, "BF16": 2, "FP32": 4, "INT32": 4, "UINT32": 4, "FP64": 8, "INT64": 8, "UINT64": 8}[datatype]
	if datatype == "BYTES" {
		return decodeBytes(b)
	}
	if size == 0 || len(b)%size != 0 {
		return nil
	}
	for ; len(b) > 0; b = b[size:] {
		var v any
		switch datatype {
		case "FP32":
			v = float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
		case "FP64":
			v = math.Float64frombits(binary.LittleEndian.Uint64(b))
		case "BF16":
			v = float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16))
		case "FP16":
			v = half(binary.LittleEndian.Uint16(b))
		case "INT32":
			v = int64(int32(binary.LittleEndian.Uint32(b)))
		case "UINT32":
			v = int64(binary.LittleEndian.Uint32(b))
		case "INT64", "UINT64":
			v = int64(binary.LittleEndian.Uint64(b))
		case "INT8":
			v = int64(int8(b[0]))
		case "UINT8":
			v = int64(b[0])
		case "BOOL":
			v = b[0] != 0
		}
		out = append(out, v)
	}
	return out
}

// decodeBytes reads elements that each have their length in front.
func decodeBytes(b []byte) (out []any) {
	for len(b) > 0 {
		if len(b) < 4 {
			return nil
		}
		n := int(binary.LittleEndian.Uint32(b))
		if n > len(b)-4 {
			return nil
		}
		out, b = append(out, string(b[4:4+n])), b[4+n:]
	}
	return out
}

// half is the value of IEEE 754 binary16 bits.
func half(h uint16) float64 {
	sign, exp, mantissa := 1.0, int(h>>10&0x1f), float64(h&0x3ff)
	if h&0x8000 != 0 {
		sign = -1
	}
	switch exp {
	case 0:
		return sign * math.Ldexp(mantissa, -24)
	case 31:
		if mantissa != 0 {
			return math.NaN()
		}
		return sign * math.Inf(1)
	default:
		return sign * math.Ldexp(1024+mantissa, exp-25)
	}
}
