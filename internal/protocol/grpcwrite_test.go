package protocol

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/tensor"
)

// writtenJSON are answers that can be written.
var writtenJSON = []string{
	`{"model_name":"fraud","model_version":3,"id":"x","parameters":{"a":true,"b":-1,"c":"\u00e9","d":1.5,"e":18446744073709551615,"f":null},
	  "outputs":[{"name":"p","datatype":"FP32","shape":[1,2],"data":[[0.1,0.9]],"parameters":{"binary_data":true}}]}`,
	`{"outputs":[{"name":"i8","datatype":"INT8","shape":[2],"data":[-128,127]},{"name":"u64","datatype":"UINT64","shape":[1],"data":[18446744073709551615]},
	  {"name":"b","datatype":"BOOL","shape":[3],"data":[true,0,1]},{"name":"s","datatype":"BYTES","shape":[2],"data":["a",""]},
	  {"name":"i64","datatype":"INT64","shape":[3],"data":[-9223372036854775808,9007199254740993,1e3]},{"name":"none","datatype":"FP64","shape":[0],"data":[]}]}`,
	`{"outputs":[{"name":"uneven","datatype":"INT64","shape":[3],"data":[9007199254740993,[1,[2]]]}]}`,
	`{"outputs":[{"name":"h","datatype":"FP16","shape":[],"data":[0.5]},{"name":"b","datatype":"BF16","shape":[1],"data":[1]},{"name":"i","datatype":"INT32","shape":[1],"data":[-2]}]}`,
	`{"outputs":[{"name":"shm","datatype":"FP32","shape":[4],"parameters":{"shared_memory_region":"r","shared_memory_byte_size":16}}]}`,
}

func TestToGRPC(t *testing.T) {
	s := newSchema(t, true)
	for _, c := range []struct {
		text string
		raw  bool
		want string
	}{
		{writtenJSON[0], false, `model_name:"fraud" model_version:"3" id:"x"
			parameters{key:"a" value{bool_param:true}} parameters{key:"b" value{int64_param:-1}} parameters{key:"c" value{string_param:"é"}}
			parameters{key:"d" value{double_param:1.5}} parameters{key:"e" value{uint64_param:18446744073709551615}} parameters{key:"f" value{}}
			outputs{name:"p" datatype:"FP32" shape:1 shape:2 parameters{key:"binary_data" value{bool_param:true}} contents{fp32_contents:[0.1,0.9]}}`},
		{writtenJSON[0], true, `model_name:"fraud" model_version:"3" id:"x"
			parameters{key:"a" value{bool_param:true}} parameters{key:"b" value{int64_param:-1}} parameters{key:"c" value{string_param:"é"}}
			parameters{key:"d" value{double_param:1.5}} parameters{key:"e" value{uint64_param:18446744073709551615}} parameters{key:"f" value{}}
			outputs{name:"p" datatype:"FP32" shape:1 shape:2 parameters{key:"binary_data" value{bool_param:true}}}
			raw_output_contents:"\xcd\xcc\xcc\x3d\x66\x66\x66\x3f"`},
		{writtenJSON[1], false, `outputs{name:"i8" datatype:"INT8" shape:2 contents{int_contents:[-128,127]}}
			outputs{name:"u64" datatype:"UINT64" shape:1 contents{uint64_contents:18446744073709551615}}
			outputs{name:"b" datatype:"BOOL" shape:3 contents{bool_contents:[true,false,true]}}
			outputs{name:"s" datatype:"BYTES" shape:2 contents{bytes_contents:["a",""]}}
			outputs{name:"i64" datatype:"INT64" shape:3 contents{int64_contents:[-9223372036854775808,9007199254740993,1000]}}
			outputs{name:"none" datatype:"FP64" shape:0 contents{}}`},
		{writtenJSON[2], false, `outputs{name:"uneven" datatype:"INT64" shape:3 contents{int64_contents:[9007199254740993,1,2]}}`},
		// FP16 has no typed contents, and the two are not mixed.
		{writtenJSON[3], false, `outputs{name:"h" datatype:"FP16"} outputs{name:"b" datatype:"BF16" shape:1} outputs{name:"i" datatype:"INT32" shape:1}
			raw_output_contents:["\x00\x38","\x80\x3f","\xfe\xff\xff\xff"]`},
		{writtenJSON[4], false, `outputs{name:"shm" datatype:"FP32" shape:4 parameters{key:"shared_memory_byte_size" value{int64_param:16}}
			parameters{key:"shared_memory_region" value{string_param:"r"}}}`},
		{writtenJSON[4], true, `outputs{name:"shm" datatype:"FP32" shape:4 parameters{key:"shared_memory_byte_size" value{int64_param:16}}
			parameters{key:"shared_memory_region" value{string_param:"r"}}} raw_output_contents:""`},
	} {
		out, err := ToGRPC([]byte("kept"), []byte(c.text), nil, Options{Raw: c.raw})
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		got, want := dynamicpb.NewMessage(s.response), dynamicpb.NewMessage(s.response)
		if err := proto.Unmarshal(bytes.TrimPrefix(out, []byte("kept")), got); err != nil {
			t.Fatal(err)
		}
		if err := prototext.Unmarshal([]byte(c.want), want); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got, want) {
			t.Errorf("%s\ngot  %v\nwant %v", c.text, got, want)
		}
	}
}

// What a caller could not read, or would read as something else, is refused.
func TestToGRPCRefuses(t *testing.T) {
	output := func(datatype, shape, data string) string {
		return `{"outputs":[{"name":"a","datatype":"FP32","shape":[1],"data":[1]},{"name":"b","datatype":"` + datatype + `","shape":` + shape + `,"data":` + data + `}]}`
	}
	for _, c := range []struct{ text, want string }{
		{output("FP32", "[2]", "[1,null]"), "outputs[1].data[1] is no finite value of FP32"},
		{output("FP32", "[2]", "[1,NaN]"), "outputs[1].data[1] is no finite value of FP32"},
		{output("FP64", "[1,2]", `[[1],["NaN"]]`), "outputs[1].data[1] is no finite value of FP64"},
		{output("FP64", "[1]", "[1e400]"), "outputs[1].data[0] is no finite value of FP64"},
		{output("FP32", "[1]", "[1e39]"), "outputs[1].data[0] is no finite value of FP32"},
		{output("FP16", "[1]", "[65520]"), "outputs[1].data[0] is no finite value of FP16"},
		{output("BF16", "[1]", "[3.4e38]"), "outputs[1].data[0] is no finite value of BF16"},
		{output("INT8", "[3]", "[1,127,128]"), "outputs[1].data[2] is no finite value of INT8"},
		{output("INT8", "[1]", "[-129]"), "outputs[1].data[0] is no finite value of INT8"},
		{output("INT32", "[1]", "[0.5]"), "outputs[1].data[0] is no finite value of INT32"},
		{output("UINT8", "[1]", "[-1]"), "outputs[1].data[0] is no finite value of UINT8"},
		{output("INT64", "[1]", "[9223372036854775808]"), "outputs[1].data[0] is no finite value of INT64"},
		{output("UINT64", "[1]", "[18446744073709551616]"), "outputs[1].data[0] is no finite value of UINT64"},
		{output("UINT64", "[1]", "[-9007199254740993]"), "outputs[1].data[0] is no finite value of UINT64"},
		{output("INT64", "[1]", "[9007199254740993.0]"), "outputs[1].data[0] is no finite value of INT64"},
		{output("BOOL", "[1]", "[2]"), "outputs[1].data[0] is no finite value of BOOL"},
		{output("BOOL", "[1]", `["true"]`), "outputs[1].data[0] is no finite value of BOOL"},
		{output("BYTES", "[1]", "[1]"), "outputs[1].data[0] is no finite value of BYTES"},
		{output("BYTES", "[1]", "[{}]"), "outputs[1].data[0] is no finite value of BYTES"},
		{output("INT8", "[2]", "[1,true]"), "outputs[1].data[1] is no finite value of INT8"},
		{output("BYTES", "[1]", `"a"`), "outputs[1].data[0] is no finite value of BYTES"},
		{output("FP32", "[3]", "[1,2]"), "outputs[1].shape is not that of its data"},
		{output("FP32", "[-1]", "[1]"), "outputs[1].shape is none"},
		{output("FP32", "null", "[1]"), "outputs[1].shape is none"},
		{output("FP32", "["+strings.Repeat("1,", 64)+"1]", "[1]"), "outputs[1].shape has too many dimensions"},
		{output("fp32", "[1]", "[1]"), "outputs[1].datatype is none"},
		{`{"model_name":{},"outputs":[{"name":"a","datatype":"INT8","shape":[1],"data":[1]}]}`, "model_name is no text"},
		{`{"outputs":[{"name":["a"],"datatype":"INT8","shape":[1],"data":[1]}]}`, "outputs[0].name is no text"},
		{`{"outputs":[{"name":"a","datatype":"INT8","shape":[1],"data":[1],"parameters":{"x":[1]}}]}`, "outputs[0].parameters are no object of scalars"},
		{`{"outputs":[{"name":"a","datatype":"INT8","shape":[1],"data":[1],"parameters":{"x":1,"x":2}}]}`, "outputs[0].parameters are no object of scalars"},
		{`{"parameters":{"x":NaN},"outputs":[{"name":"a","datatype":"INT8","shape":[1],"data":[1]}]}`, "parameters are no object of scalars"},
		{`{"parameters":{},"parameters":{},"outputs":[{"name":"a","datatype":"INT8","shape":[1],"data":[1]}]}`, "parameters is there twice"},
		{`{"outputs":[{"name":"a","datatype":"INT8","shape":[1],"data":[1],"parameters":{"shared_memory_region":"r"}}]}`, "outputs[0].data is in shared memory as well"},
		{`{"outputs":[{"name":"a","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}]}`, "outputs[0].data ends too early"},
		{`{"error":"x"}`, "error tells of an error"},
		{`{"outputs":[]}`, "outputs is missing or empty"},
		{`{"id":"x","id":"y"}`, "id is there twice"},
		{`[1]`, "body has not the protocol's form"},
	} {
		out, err := ToGRPC([]byte("kept"), []byte(c.text), nil, Options{})
		var refused *TranscodeError
		if !errors.As(err, &refused) || err.Error() != c.want || string(out) != "kept" {
			t.Errorf("%s\ngot  %v\nwant %s", c.text, err, c.want)
		}
	}
	var syntax *scan.Error
	if _, err := ToGRPC(nil, []byte(`{"outputs":`), nil, Options{}); !errors.As(err, &syntax) {
		t.Errorf("%v", err)
	}
	raw := `{"outputs":[{"name":"a","datatype":"FP32","shape":[2],"parameters":{"binary_data_size":8}}]}`
	tail := le([]float32{1, float32(math.NaN())})
	if _, err := ToGRPC(nil, []byte(raw), []byte(tail), Options{}); err == nil || err.Error() != "outputs[0].data[1] is not finite" {
		t.Errorf("%v", err)
	}
}

// Rounding to a half is to the nearest, ties to even: every half comes back,
// and what lies between two goes to the nearer.
func TestToHalf(t *testing.T) {
	for _, datatype := range []tensor.Type{tensor.FP16, tensor.BF16} {
		value := func(b uint16) float64 { return tensor.At(datatype, []byte{byte(b), byte(b >> 8)}, 0) }
		for b := range uint32(1 << 16) {
			v := value(uint16(b))
			got, ok := toHalf(v, datatype)
			if finite := !math.IsNaN(v) && !math.IsInf(v, 0); ok != finite || finite && got != uint16(b) {
				t.Fatalf("%s %#x (%v): %#x %v", datatype, b, v, got, ok)
			}
			next := value(uint16(b + 1))
			if b&0x8000 != 0 || !ok || math.IsInf(next, 0) {
				continue
			}
			middle := v + (next-v)/2
			for _, c := range []struct {
				v    float64
				want uint32
			}{
				{middle, b + b&1},
				{math.Nextafter(middle, 0), b},
				{math.Nextafter(middle, math.Inf(1)), b + 1},
			} {
				if got, ok := toHalf(c.v, datatype); !ok || got != uint16(c.want) {
					t.Fatalf("%s %v: %#x %v, want %#x", datatype, c.v, got, ok, c.want)
				}
			}
		}
	}
	for _, c := range []struct {
		t  tensor.Type
		v  float64
		ok bool
	}{
		{tensor.FP16, 65504, true}, {tensor.FP16, 65519.99, true}, {tensor.FP16, 65520, false}, {tensor.FP16, 1e300, false},
		{tensor.BF16, 3.39e38, true}, {tensor.BF16, math.MaxFloat32, false}, {tensor.FP16, 5e-324, true},
	} {
		if _, ok := toHalf(c.v, c.t); ok != c.ok {
			t.Errorf("%s %v: %v", c.t, c.v, ok)
		}
	}
}
