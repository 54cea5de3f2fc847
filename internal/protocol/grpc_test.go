package protocol

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/scan"
)

// made serializes a message from its text form.
func made(t testing.TB, d protoreflect.MessageDescriptor, text string) []byte {
	t.Helper()
	m := dynamicpb.NewMessage(d)
	if err := prototext.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What Triton and its client really sent.
func TestFromGRPCCaptures(t *testing.T) {
	want := map[string][2]string{
		"triton-ok-ok.resp":        {`{"model_name":"ok","model_version":"1","outputs":[{"name":"p","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}]}`, "\xcd\xcc\xcc=fff?"},
		"triton-nan-ok.resp":       {`{"model_name":"nan","model_version":"1","outputs":[{"name":"p","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}]}`, "\x00\x00\xc0\x7f\x00\x00\x80?"},
		"triton-inf-ok.resp":       {`{"model_name":"inf","model_version":"1","outputs":[{"name":"p","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}]}`, "\x00\x00\x80\x7f\x00\x00\x80\xff"},
		"triton-ok-ok.req":         {`{"model_name":"ok","inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}]}`, "\x00\x00\x00?\x00\x00\x80>"},
		"triton-ok-rawin.req":      {`{"model_name":"ok","inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}]}`, "\x00\x00\x00?\x00\x00\x80>"},
		"triton-ok-nanin.req":      {`{"model_name":"ok","inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}]}`, "\x00\x00\xc0\x7f\x00\x00\x80>"},
		"triton-ok-badshape.req":   {`{"model_name":"ok","inputs":[{"name":"x","datatype":"FP32","shape":[2,2],"parameters":{"binary_data_size":12}}]}`, "\x00\x00\x80?\x00\x00\x00@\x00\x00@@"},
		"triton-nope-noinputs.req": {`{"model_name":"nope","inputs":[]}`, ""},
	}
	for name, b := range captures(t) {
		w, ok := want[name]
		if !ok {
			t.Errorf("%s is not named here", name)
			continue
		}
		request := strings.HasSuffix(name, ".req")
		text, tail, p := FromGRPC([]byte{}, nil, b, request)
		if p.Found() || string(text) != w[0] || string(tail) != w[1] {
			t.Errorf("%s: %+v\ngot  %s %q\nwant %s %q", name, p, text, tail, w[0], w[1])
		}
		if raw := name == "triton-ok-rawin.req"; request && AskedRaw(b) != raw {
			t.Errorf("%s asked raw: %v", name, !raw)
		}
		if request {
			continue
		}
		// Triton's answer is written as Triton wrote it.
		if again, err := ToGRPC(nil, text, tail, Options{Raw: true}); name == "triton-ok-ok.resp" && (err != nil || string(again) != string(b)) {
			t.Errorf("%v\ngot  %x\nwant %x", err, again, b)
		}
	}
}

func TestFromGRPC(t *testing.T) {
	s := newSchema(t, true)
	for _, c := range []struct {
		name       string
		request    bool
		text       string
		json, tail string
	}{
		{"typed contents and parameters", false,
			`model_name:"m" id:"q\"" parameters{key:"b" value{bool_param:true}} outputs{name:"s" datatype:"BYTES" shape:2 contents{bytes_contents:["a","\xff"]}} outputs{name:"i" datatype:"INT8" shape:1 parameters{key:"n" value{double_param:5}} parameters{key:"u" value{uint64_param:18446744073709551615}} contents{int_contents:-1}}`,
			`{"model_name":"m","id":"q\"","parameters":{"b":true},"outputs":[{"name":"s","datatype":"BYTES","shape":[2],"parameters":{"binary_data_size":10}},{"name":"i","datatype":"INT8","shape":[1],"parameters":{"n":5e+00,"u":18446744073709551615,"binary_data_size":1}}]}`,
			"\x01\x00\x00\x00a\x01\x00\x00\x00\xff\xff"},
		{"an output without elements", false,
			`outputs{name:"none" datatype:"FP32" shape:0 shape:4 contents{}} outputs{name:"gone" datatype:"INT64" shape:0}`,
			`{"outputs":[{"name":"none","datatype":"FP32","shape":[0,4],"parameters":{"binary_data_size":0}},{"name":"gone","datatype":"INT64","shape":[0],"parameters":{"binary_data_size":0}}]}`, ""},
		{"shared memory has an empty raw entry in an answer", false,
			`outputs{name:"s" datatype:"FP32" shape:1 parameters{key:"shared_memory_region" value{string_param:"r"}}} outputs{name:"p" datatype:"FP16" shape:1} raw_output_contents:["","ab"]`,
			`{"outputs":[{"name":"s","datatype":"FP32","shape":[1],"parameters":{"shared_memory_region":"r"}},{"name":"p","datatype":"FP16","shape":[1],"parameters":{"binary_data_size":2}}]}`, "ab"},
		{"shared memory and typed contents have no raw entry in a request", true,
			`inputs{name:"s" datatype:"FP32" shape:1 parameters{key:"shared_memory_region" value{string_param:"r"}}} inputs{name:"t" datatype:"UINT8" shape:1 contents{uint_contents:7}} inputs{name:"p" datatype:"FP16" shape:1} raw_input_contents:"ab"
			 outputs{name:"o" parameters{key:"classification" value{int64_param:3}}} outputs{name:"q"}`,
			`{"inputs":[{"name":"s","datatype":"FP32","shape":[1],"parameters":{"shared_memory_region":"r"}},{"name":"t","datatype":"UINT8","shape":[1],"parameters":{"binary_data_size":1}},{"name":"p","datatype":"FP16","shape":[1],"parameters":{"binary_data_size":2}}],"outputs":[{"name":"o","parameters":{"classification":3}},{"name":"q"}]}`, "\x07ab"},
		{"binary_data_size is REST's", false,
			`outputs{name:"p" datatype:"INT8" shape:1 parameters{key:"Binary_Data_Size" value{int64_param:9}} parameters{key:"binary_data_size" value{int64_param:9}} parameters{key:"z" value{}} contents{int_contents:1}}`,
			`{"outputs":[{"name":"p","datatype":"INT8","shape":[1],"parameters":{"z":null,"binary_data_size":1}}]}`, "\x01"},
		{"an impossible shape is for the contract", false,
			`outputs{name:"p" datatype:"INT8" shape:-1 contents{int_contents:1}}`,
			`{"outputs":[{"name":"p","datatype":"INT8","shape":[-1],"parameters":{"binary_data_size":1}}]}`, "\x01"},
		{"nothing", false, ``, `{"outputs":[]}`, ""},
	} {
		d := s.response
		if c.request {
			d = s.request
		}
		b := made(t, d, c.text)
		text, tail, p := FromGRPC([]byte("a"), []byte("b"), b, c.request)
		if p.Found() || string(text) != "a"+c.json || string(tail) != "b"+c.tail {
			t.Errorf("%s: %+v\ngot  %s %q\nwant a%s %q", c.name, p, text, tail, c.json, "b"+c.tail)
		}
	}
}

func TestFromGRPCRefuses(t *testing.T) {
	s := newSchema(t, true)
	text := func(of string) []byte { return made(t, s.response, of) }
	field := func(num protowire.Number, content ...byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), content)
	}
	join := func(parts ...[]byte) []byte {
		var all []byte
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	inOutput := func(parts ...[]byte) []byte { return field(grpcTensors, join(parts...)...) }
	int8s := join(field(grpcTensorName, 'a'), field(grpcTensorDatatype, []byte("INT8")...))
	const first = `outputs{name:"a" datatype:"INT8" shape:1 contents{int_contents:1}}`
	for _, c := range []struct {
		name   string
		b      []byte
		kind   Kind
		where  string
		offset int
	}{
		{"typed and raw", text(first + ` raw_output_contents:"a"`), Form, "outputs[0].raw_output_contents", 0},
		{"typed, and an empty raw entry", text(first + ` raw_output_contents:""`), Form, "outputs[0].raw_output_contents", 0},
		{"fewer raw", text(first + ` outputs{name:"b" datatype:"INT8" shape:1} raw_output_contents:"a"`), Form, "raw_output_contents", 0},
		{"more raw", text(`outputs{name:"b" datatype:"INT8" shape:1} raw_output_contents:["a","b"]`), Form, "raw_output_contents", 0},
		{"raw without outputs", text(`raw_output_contents:"a"`), Form, "raw_output_contents", 0},
		{"shared and typed", text(`outputs{name:"b" datatype:"INT8" shape:1 parameters{key:"shared_memory_region" value{string_param:"r"}} contents{int_contents:1}}`), Form, "outputs[0].contents", 0},
		{"shared and raw", text(`outputs{name:"b" datatype:"INT8" shape:1 parameters{key:"shared_memory_region" value{string_param:"r"}}} raw_output_contents:"a"`), Form, "outputs[0].raw_output_contents", 0},
		{"another datatype's list", text(first + ` outputs{name:"b" datatype:"FP32" shape:1 contents{fp64_contents:1}}`), Form, "outputs[1].contents", 0},
		{"two lists", text(`outputs{name:"b" datatype:"FP32" shape:1 contents{fp32_contents:1 fp64_contents:1}}`), Form, "outputs[0].contents", 0},
		{"typed FP16", text(`outputs{name:"b" datatype:"FP16" shape:1 contents{bytes_contents:"ab"}}`), Form, "outputs[0].contents", 0},
		{"no datatype", text(`outputs{name:"b" shape:1 contents{fp32_contents:1}}`), Form, "outputs[0].contents", 0},
		{"past INT8", text(`outputs{name:"b" datatype:"INT8" shape:1 contents{int_contents:128}}`), Form, "outputs[0].contents", 0},
		{"past UINT16", text(`outputs{name:"b" datatype:"UINT16" shape:1 contents{uint_contents:65536}}`), Form, "outputs[0].contents", 0},
		{"rank", text(`outputs{name:"b" datatype:"INT8" ` + strings.Repeat("shape:1 ", maxGRPCRank+1) + `}`), Form, "outputs[0].shape", 0},
		{"outputs", text(strings.Repeat("outputs{}", maxGRPCTensors+1)), Form, "outputs", 0},

		{"model_name twice", join(field(1, 'a'), field(1, 'a')), Duplicate, "model_name", 0},
		{"id twice", join(field(3, 'a'), field(3)), Duplicate, "id", 0},
		{"datatype twice", inOutput(int8s, field(grpcTensorDatatype, 'x')), Duplicate, "outputs[0].datatype", 0},
		{"contents twice", inOutput(int8s, field(grpcTensorContents), field(grpcTensorContents)), Duplicate, "outputs[0].contents", 0},
		{"parameter twice", join(field(4, 0x0a, 1, 'k'), field(4, 0x0a, 1, 'k')), Duplicate, "parameters", 0},
		{"two choices of a parameter", field(4, 0x12, 4, 8, 1, 16, 1), Duplicate, "parameters", 0},

		{"model_name", join(field(2, 'v'), field(1, 'a', 0xff)), UTF8, "", 5},
		{"name of an output", inOutput(field(grpcTensorName, 0xc3)), UTF8, "outputs[0]", 4},
		{"key", field(4, 0x0a, 1, 0xff), UTF8, "", 4},
		{"parameter", field(4, 0x12, 3, 0x1a, 1, 0xff), UTF8, "", 6},

		{"cut in a tag", []byte{0x80}, Truncated, "", 1},
		{"cut in a length", []byte{0x0a}, Truncated, "", 1},
		{"cut in a value", []byte{0x0a, 4, 'o', 'k'}, Truncated, "", 4},
		{"bytes behind", join(field(1, 'a'), []byte("\x00")), Malformed, "", 3},
		{"HTML", []byte("<html><body>503</body></html>"), Malformed, "", 0},
		{"JSON", []byte(`{"error":"x"}`), Malformed, "", 0},
		{"a group", protowire.AppendTag(nil, 9, protowire.StartGroupType), Malformed, "", 0},
		{"an end of a group", protowire.AppendTag(nil, 9, protowire.EndGroupType), Malformed, "", 0},
		{"another wire type", []byte{1 << 3, 1}, Malformed, "", 0},
		{"a broken output", inOutput([]byte{0x0a, 9}), Malformed, "outputs[0]", 3},
		{"a broken number", inOutput(int8s, field(grpcTensorShape, 0x80)), Malformed, "outputs[0]", 13},
		{"half a float", inOutput(field(grpcTensorDatatype, []byte("FP32")...), field(grpcTensorContents, 0x32, 3, 0, 0, 0)), Malformed, "outputs[0]", 12},
	} {
		_, tail, p := FromGRPC(nil, nil, c.b, false)
		if p.Kind != c.kind || p.Where() != c.where || p.Offset != c.offset || tail == nil {
			t.Errorf("%s: kind %d %q at %d, want %d %q at %d (%x)", c.name, p.Kind, p.Where(), p.Offset, c.kind, c.where, c.offset, c.b)
		}
	}
	for name, b := range map[string][]byte{
		"more raw":  made(t, s.request, `inputs{name:"a" datatype:"INT8" contents{int_contents:1}} raw_input_contents:"a"`),
		"fewer raw": made(t, s.request, `inputs{name:"a" datatype:"INT8"} inputs{name:"b" datatype:"INT8"} raw_input_contents:"a"`),
	} {
		if _, _, p := FromGRPC(nil, nil, b, true); p.Kind != Form || !strings.HasSuffix(p.Where(), "raw_input_contents") {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// Parameters are bounded over the whole message.
func TestFromGRPCParametersAreBounded(t *testing.T) {
	var output []byte
	for i := range maxGRPCParameters/2 + 1 {
		key := string(rune('a'+i%26)) + strings.Repeat("x", i/26)
		entry := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), key)
		output = protowire.AppendBytes(protowire.AppendTag(output, grpcTensorParameters, protowire.BytesType), entry)
	}
	one := protowire.AppendBytes(protowire.AppendTag(nil, grpcTensors, protowire.BytesType), output)
	if _, _, p := FromGRPC(nil, nil, one, false); p.Found() {
		t.Fatalf("%+v", p)
	}
	if _, _, p := FromGRPC(nil, nil, append(one, one...), false); p.Kind != Form || p.Where() != "outputs[1].parameters" {
		t.Fatalf("%+v", p)
	}
}

// What FromGRPC writes is read as an answer of the binary extension is.
func TestReadGRPCAnswer(t *testing.T) {
	s := newSchema(t, true)
	read := func(of string) (Problem, *Message) {
		text, tail, p := FromGRPC(nil, nil, made(t, s.response, of), false)
		if p.Found() {
			t.Fatalf("%+v", p)
		}
		d, m := new(scan.Document), new(Message)
		if err := d.Parse(text, scan.Limits{}); err != nil {
			t.Fatal(err)
		}
		return m.ReadAnswer(policy.OpenInferenceGRPC, d.Root(), tail), m
	}
	p, m := read(`model_name:"m" id:"7" outputs{name:"p" datatype:"FP32" shape:2 contents{fp32_contents:[0.5,1]}} outputs{name:"s" datatype:"INT8" shape:9 parameters{key:"shared_memory_region" value{string_param:"r"}}}`)
	if p.Found() || len(m.Tensors) != 2 || !m.Tensors[0].Binary || string(m.Tensors[0].Raw) != le([]float32{0.5, 1}) || !m.Tensors[1].Shared || !m.ID.EqualText("7") {
		t.Fatalf("%+v %+v", p, m)
	}
	for of, want := range map[string]Problem{
		`model_name:"m"`: {Kind: Empty, Key: "outputs", Tensor: -1},
		`outputs{name:"p" datatype:"FP32" shape:2}`:                                     {Kind: Empty, Key: "data", List: "outputs"},
		`outputs{name:"p" datatype:"float" shape:2} raw_output_contents:"a"`:            {Kind: Form, Key: "datatype", List: "outputs"},
		`outputs{name:"p" datatype:"FP32" shape:2} raw_output_contents:"a"`:             {Kind: Form, Key: "data", List: "outputs"},
		`outputs{name:"p" datatype:"BYTES" shape:1} raw_output_contents:"\x05\0\0\0ab"`: {Kind: Form, Key: "data", List: "outputs"},
	} {
		if p, _ := read(of); p != want {
			t.Errorf("%s: %+v, want %+v", of, p, want)
		}
	}
}
