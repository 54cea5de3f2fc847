package protocol

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/scan"
)

func read(t *testing.T, json, tail string) (*Message, *scan.Document) {
	t.Helper()
	d := new(scan.Document)
	if err := d.Parse([]byte(json), scan.Limits{}); err != nil {
		t.Fatal(err)
	}
	m := new(Message)
	if p := m.ReadAnswer(policy.OpenInferenceV2, d.Root(), []byte(tail)); p.Found() {
		t.Fatalf("%+v", p)
	}
	return m, d
}

func le(v any) string {
	b, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// The written-out form is what the server would have sent as JSON.
func TestAppendJSON(t *testing.T) {
	for name, c := range map[string]struct{ datatype, raw, want string }{
		"FP32":       {"FP32", le([]float32{0.5, 1e30, float32(math.NaN()), float32(math.Inf(-1))}), `[0.5,1.0000000150474662e+30,NaN,-Infinity]`},
		"FP64":       {"FP64", le([]float64{0.1, math.Inf(1)}), `[0.1,Infinity]`},
		"FP16":       {"FP16", le([]uint16{0x3800}), `[0.5]`},
		"BF16":       {"BF16", le([]uint16{0x3f00}), `[0.5]`},
		"INT8":       {"INT8", le([]int8{-1, 2}), `[-1,2]`},
		"INT64":      {"INT64", le([]int64{1234567890123}), `[1234567890123]`},
		"INT64 odd":  {"INT64", le([]int64{math.MinInt64, 1<<53 + 1}), `[-9223372036854775808,9007199254740993]`},
		"UINT64":     {"UINT64", le([]uint64{math.MaxUint64}), `[18446744073709551615]`},
		"UINT32":     {"UINT32", le([]uint32{math.MaxUint32}), `[4294967295]`},
		"BOOL":       {"BOOL", "\x01\x00", `[true,false]`},
		"BYTES":      {"BYTES", le(uint32(4)) + "a\"\\\n" + le(uint32(0)) + le(uint32(3)) + "\xffé", `["a\"\\\u000a","","` + "\ufffd" + `é"]`},
		"no element": {"FP32", "", `[]`},
	} {
		t.Run(name, func(t *testing.T) {
			size := strconv.Itoa(len(c.raw))
			json := `{"outputs":[{"name":"a","datatype":"INT8","shape":[1],"data":[7]},{"parameters":{"binary_data_size":` + size + `},"datatype":"` + c.datatype + `","shape":[]},{"datatype":"INT8","data":null,"parameters":{"binary_data_size":1},"name":"z"}],"id":"x"}`
			m, _ := read(t, json, c.raw+"\x05")
			got := string(AppendJSON([]byte("kept"), []byte(json), m))
			want := `kept{"outputs":[{"name":"a","datatype":"INT8","shape":[1],"data":[7]},{"parameters":{"binary_data_size":` + size + `},"datatype":"` + c.datatype + `","shape":[],"data":` + c.want + `},{"datatype":"INT8","data":[5],"parameters":{"binary_data_size":1},"name":"z"}],"id":"x"}`
			if got != want {
				t.Fatalf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestAppendJSONIsBounded(t *testing.T) {
	raw := strings.Repeat("\x11\x22\x33\x44\x55\x66\x77\x08", 1<<20)
	json := `{"outputs":[{"datatype":"FP64","parameters":{"binary_data_size":` + strconv.Itoa(len(raw)) + `}}]}`
	m, _ := read(t, json, raw)
	got := AppendJSON(nil, []byte(json), m)
	if len(got) > maxText+64 {
		t.Fatalf("%d bytes", len(got))
	}
	var d scan.Document
	if err := d.Parse(got, scan.Limits{}); err == nil {
		t.Fatal("what was cut short is JSON all the same")
	}
}

// A message's room is reused, and nothing of the last one shows.
func TestMessageIsReusable(t *testing.T) {
	m, d := read(t, `{"model_name":"m","id":"x","outputs":[{"datatype":"FP32","shape":[2,3],"data":[1,2,3,4,5,6]}]}`, "")
	if len(m.Tensors) != 1 || len(m.Tensors[0].Shape) != 2 || !m.ID.EqualText("x") {
		t.Fatalf("%+v", m)
	}
	if err := d.Parse([]byte(`{"predictions":[1]}`), scan.Limits{}); err != nil {
		t.Fatal(err)
	}
	if p := m.ReadAnswer(policy.OpenInferenceV1, d.Root(), nil); p.Found() {
		t.Fatalf("%+v", p)
	}
	if len(m.Tensors) != 0 || m.ID.Exists() || m.RowsKey != "predictions" || m.List != "" {
		t.Fatalf("%+v", m)
	}
}

func TestReadRequest(t *testing.T) {
	for _, c := range []struct {
		protocol  policy.Protocol
		body, key string
	}{
		{policy.OpenInferenceV1, `{"instances":[1]}`, "instances"},
		{policy.TensorFlowServing, `{"inputs":{"x":[1]}}`, "inputs"},
		{policy.MLflow, `{"dataframe_split":{"data":[[1]]}}`, "dataframe_split"},
		{policy.MLflow, `{"dataframe_records":[{}]}`, "dataframe_records"},
		{policy.TensorFlowServing, `{"examples":[{}]}`, "examples"},
		{policy.MLflow, `[1]`, ""},
		{policy.JSON, `{"inputs":1}`, ""},
	} {
		var d scan.Document
		if err := d.Parse([]byte(c.body), scan.Limits{}); err != nil {
			t.Fatal(err)
		}
		var m Message
		if p := m.ReadRequest(c.protocol, d.Root(), nil); p.Found() || m.RowsKey != c.key || !m.Rows.Exists() {
			t.Errorf("%s %s: %+v, rows under %q", c.protocol, c.body, p, m.RowsKey)
		}
	}
}
