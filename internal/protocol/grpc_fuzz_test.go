package protocol

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/tensor"
)

// captures reads the messages that Triton and its client really sent.
func captures(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/grpc/*.bin")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d captures, %v", len(files), err)
	}
	out := map[string][]byte{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(filepath.Base(f), ".bin")] = b
	}
	return out
}

// writable says whether ToGRPC must take an answer that was read.
func writable(m *Message, text []byte) bool {
	if bytes.Contains(text, []byte(":NaN")) || bytes.Contains(text, []byte("Infinity")) {
		return false // a parameter
	}
	for i := range m.Tensors {
		t := &m.Tensors[i]
		n, ok := tensor.Elements(t.Shape)
		count, _ := tensor.Count(t.Datatype, t.Raw)
		_, _, bad := tensor.FirstNonFinite(t.Datatype, t.Raw)
		if t.Datatype == tensor.Unknown || !t.ShapeOK || bad || !t.Shared && (!ok || n != int64(count)) {
			return false
		}
	}
	return true
}

// normalised is a tail whose booleans are 0 and 1.
func normalised(m *Message) (tail []byte, plain bool) {
	plain = true
	for i := range m.Tensors {
		t := &m.Tensors[i]
		raw := slices.Clone(t.Raw)
		switch t.Datatype {
		case tensor.BOOL:
			for k := range raw {
				raw[k] = min(raw[k], 1)
			}
		case tensor.BYTES:
			for rest := raw; len(rest) > 0; {
				var elem []byte
				elem, rest, _ = tensor.NextBytes(rest)
				plain = plain && utf8.Valid(elem)
			}
		}
		tail = append(tail, raw...)
	}
	return tail, plain
}

// FuzzFromGRPC: nothing panics or outgrows its bounds, what is accepted is what
// protobuf's own decoder reads, and what can be written is read again as it was,
// from raw and typed contents and from the JSON with its values written out.
func FuzzFromGRPC(f *testing.F) {
	for name, b := range captures(f) {
		f.Add(b, strings.Contains(name, ".req"))
	}
	s := newSchema(f, true)
	f.Fuzz(func(t *testing.T, message []byte, request bool) {
		text, tail, p := FromGRPC(nil, nil, message, request)
		AskedRaw(message)
		if len(tail) > 8*len(message) || len(text) > 6*len(message)+2*maxGRPCTensors*100+100 || tail == nil {
			t.Fatalf("%d bytes became %d and %d", len(message), len(text), len(tail))
		}
		if p.Found() {
			if (p.Kind == Truncated || p.Kind == Malformed || p.Kind == UTF8) && (p.Offset < 0 || p.Offset > len(message)) {
				t.Fatalf("%+v", p)
			}
			return
		}
		agree(t, s, message, text, tail, request)
		var d scan.Document
		if err := d.Parse(text, scan.Limits{Nodes: 1 << 19}); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		var m Message
		if request {
			m.ReadRequest(policy.OpenInferenceGRPC, d.Root(), tail)
			if _, err := RewriteGRPCModel(nil, message, "other"); err != nil {
				t.Fatal(err)
			}
			return
		}
		if m.ReadAnswer(policy.OpenInferenceGRPC, d.Root(), tail).Found() {
			return
		}
		want, plain := normalised(&m)
		for _, raw := range []bool{false, true} {
			out, err := ToGRPC(nil, text, tail, Options{Raw: raw})
			if (err == nil) != writable(&m, text) {
				t.Fatalf("%v: %s", err, text)
			}
			if err != nil {
				return
			}
			again, tailAgain, p := FromGRPC(nil, nil, out, false)
			if p.Found() || !bytes.Equal(again, text) || !bytes.Equal(tailAgain, want) && !bytes.Equal(tailAgain, tail) {
				t.Fatalf("%+v\ngot  %s %x\nwant %s %x", p, again, tailAgain, text, want)
			}
		}
		if plain {
			sameWrittenOut(t, text, want, &m)
		}
	})
}

var sizes = regexp.MustCompile(`([{,])"binary_data_size":[0-9]+`)

// sameWrittenOut writes the values into the JSON, as a server without the
// binary extension sends them, and holds the message of that against the one of
// the binary form.
func sameWrittenOut(t *testing.T, text, tail []byte, m *Message) {
	t.Helper()
	binary, err := ToGRPC(nil, text, tail, Options{})
	if err != nil {
		t.Fatal(err)
	}
	written := AppendJSON(nil, text, m)
	written = sizes.ReplaceAll(written, []byte("$1"))
	written = bytes.ReplaceAll(written, []byte(",}"), []byte("}"))
	if bytes.Contains(text, []byte(",}")) {
		return // in somebody's text
	}
	plain, err := ToGRPC(nil, written, nil, Options{})
	if err != nil {
		t.Fatalf("%v: %s", err, written)
	}
	if !bytes.Equal(plain, binary) {
		t.Fatalf("%s\ngot  %x\nwant %x", written, plain, binary)
	}
}

// FuzzToGRPC: nothing panics, and what is written is a message for protobuf's
// own decoder and for FromGRPC, an answer that can be written again.
func FuzzToGRPC(f *testing.F) {
	for _, text := range writtenJSON {
		f.Add([]byte(text), []byte{}, false)
	}
	f.Add([]byte(`{"outputs":[{"name":"a","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}]}`), []byte{0, 0, 0, 63}, true)
	s := newSchema(f, true)
	f.Fuzz(func(t *testing.T, text, tail []byte, raw bool) {
		if len(tail) == 0 {
			tail = nil
		}
		out, err := ToGRPC([]byte("kept"), text, tail, Options{Raw: raw})
		if err != nil {
			if string(out) != "kept" {
				t.Fatal("dst was changed")
			}
			return
		}
		out = out[len("kept"):]
		m := dynamicpb.NewMessage(s.response)
		if err := proto.Unmarshal(out, m); err != nil {
			t.Fatalf("%v: %x", err, out)
		}
		if n := len(m.GetUnknown()); n > 0 {
			t.Fatalf("%d bytes are unknown", n)
		}
		again, tailAgain, p := FromGRPC(nil, nil, out, false)
		if p.Found() {
			t.Fatalf("%+v: %x", p, out)
		}
		second, err := ToGRPC(nil, again, tailAgain, Options{Raw: raw})
		if err != nil || !bytes.Equal(second, out) {
			t.Fatalf("%v: %s\ngot  %x\nwant %x", err, again, second, out)
		}
	})
}
