package protocol

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/safestate/safestate/internal/tensor"
)

// reference is what FromGRPC should write, made from what the real decoder
// read: the tree of the JSON, and the tail. It knows nothing of the wire.
func reference(m protoreflect.Message, request bool) (tree map[string]any, tail []byte) {
	tree = map[string]any{}
	for _, name := range []string{"model_name", "model_version", "id"} {
		if s := m.Get(fieldOf(m, name)).String(); s != "" {
			tree[name] = s
		}
	}
	if p := parametersOf(m); len(p) > 0 {
		tree["parameters"] = p
	}
	list, rawName := "outputs", "raw_output_contents"
	if request {
		list, rawName = "inputs", "raw_input_contents"
	}
	raws := m.Get(fieldOf(m, rawName)).List()
	next := 0
	tensors := []any{}
	all := m.Get(fieldOf(m, list)).List()
	for i := range all.Len() {
		t := all.Get(i).Message()
		shape := []any{}
		dims := t.Get(fieldOf(t, "shape")).List()
		for k := range dims.Len() {
			shape = append(shape, json.Number(strconv.FormatInt(dims.Get(k).Int(), 10)))
		}
		datatype := t.Get(fieldOf(t, "datatype")).String()
		parameters := parametersOf(t)
		for key := range parameters {
			if strings.EqualFold(key, "binary_data_size") {
				delete(parameters, key)
			}
		}
		values := typedOf(datatype, t.Get(fieldOf(t, "contents")).Message())
		shared := parameters["shared_memory_region"] != nil
		if len(values) == 0 && next < raws.Len() && (!request || !shared) {
			values = raws.Get(next).Bytes()
			next++
		}
		if !shared {
			parameters["binary_data_size"] = json.Number(strconv.Itoa(len(values)))
		}
		tail = append(tail, values...)
		tensors = append(tensors, map[string]any{
			"name": t.Get(fieldOf(t, "name")).String(), "datatype": datatype, "shape": shape, "parameters": parameters,
		})
	}
	tree[list] = tensors
	if !request {
		return tree, tail
	}
	asked := m.Get(fieldOf(m, "outputs")).List()
	outputs := []any{}
	for i := range asked.Len() {
		o := asked.Get(i).Message()
		one := map[string]any{"name": o.Get(fieldOf(o, "name")).String()}
		if p := parametersOf(o); len(p) > 0 {
			one["parameters"] = p
		}
		outputs = append(outputs, one)
	}
	if len(outputs) > 0 {
		tree["outputs"] = outputs
	}
	return tree, tail
}

func fieldOf(m protoreflect.Message, name string) protoreflect.FieldDescriptor {
	return m.Descriptor().Fields().ByName(protoreflect.Name(name))
}

func parametersOf(m protoreflect.Message) map[string]any {
	out := map[string]any{}
	m.Get(fieldOf(m, "parameters")).Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		var value any
		v.Message().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			switch f.Name() {
			case "bool_param":
				value = v.Bool()
			case "string_param":
				value = v.String()
			case "double_param":
				value = json.Number(strconv.FormatFloat(v.Float(), 'e', -1, 64))
			default:
				value = json.Number(fmt.Sprint(v.Interface()))
			}
			return true
		})
		out[k.String()] = value
		return true
	})
	return out
}

// typedOf returns the typed contents, little-endian.
func typedOf(datatype string, contents protoreflect.Message) []byte {
	var out []byte
	contents.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		for i := range v.List().Len() {
			e := v.List().Get(i).Interface()
			switch v := e.(type) {
			case []byte:
				out = binary.LittleEndian.AppendUint32(out, uint32(len(v)))
				out = append(out, v...)
				continue
			case int32:
				switch datatype {
				case "INT8":
					e = int8(v)
				case "INT16":
					e = int16(v)
				}
			case uint32:
				switch datatype {
				case "UINT8":
					e = uint8(v)
				case "UINT16":
					e = uint16(v)
				}
			}
			out, _ = binary.Append(out, binary.LittleEndian, e)
		}
		return true
	})
	return out
}

// agree holds what FromGRPC wrote against the real decoder. A text with a bare
// NaN, which only a parameter can bring, is not compared.
func agree(t *testing.T, s schema, message, text, tail []byte, request bool) {
	t.Helper()
	m, err := s.read(message, request)
	if err != nil {
		t.Fatalf("protobuf refuses what was accepted: %v", err)
	}
	tree, want := reference(m, request)
	if same, where := sameValues(tree, want, tail, request); !same {
		t.Fatalf("tail differs (%s)\ngot  %x\nwant %x", where, tail, want)
	}
	if !json.Valid(text) {
		if !bytes.Contains(text, []byte("NaN")) && !bytes.Contains(text, []byte("Infinity")) {
			t.Fatalf("no JSON: %s", text)
		}
		return
	}
	var got map[string]any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, tree) {
		t.Fatalf("got  %s\nwant %v", text, tree)
	}
}

// sameValues compares tails; a NaN of an FP32 is as good as another, because
// the real decoder keeps it as a float64 on the way.
func sameValues(tree map[string]any, want, got []byte, request bool) (bool, string) {
	if len(want) != len(got) {
		return false, "length"
	}
	list := "outputs"
	if request {
		list = "inputs"
	}
	for i, one := range tree[list].([]any) {
		tensorTree := one.(map[string]any)
		size := 0
		if n, ok := tensorTree["parameters"].(map[string]any)["binary_data_size"].(json.Number); ok {
			size, _ = strconv.Atoi(n.String())
		}
		a, b := want[:size], got[:size]
		want, got = want[size:], got[size:]
		if !bytes.Equal(a, b) && (tensorTree["datatype"] != "FP32" || !sameFloats(a, b)) {
			return false, strconv.Itoa(i)
		}
	}
	return len(want) == 0, "end"
}

func sameFloats(a, b []byte) bool {
	for k := range len(a) / 4 {
		x, y := tensor.At(tensor.FP32, a, k), tensor.At(tensor.FP32, b, k)
		if x != y && !(math.IsNaN(x) && math.IsNaN(y)) {
			return false
		}
	}
	return true
}
