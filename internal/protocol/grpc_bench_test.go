package protocol

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// benchAnswer is an answer with n FP32 values, raw or typed, and benchInts one
// with n INT64 values, whose typed form is a varint each.
func benchAnswer(b *testing.B, datatype string, size, n int, raw bool) (text, tail, message []byte) {
	b.Helper()
	text = fmt.Appendf(nil, `{"model_name":"fraud","model_version":"1","id":"7","outputs":[{"name":"score","datatype":"%s","shape":[%d],"parameters":{"binary_data_size":%d}}]}`, datatype, n, n*size)
	tail = make([]byte, n*size)
	for i := range n {
		tail[i*size], tail[i*size+1] = byte(i), byte(i>>8)
	}
	message, err := ToGRPC(nil, text, tail, Options{Raw: raw})
	if err != nil {
		b.Fatal(err)
	}
	return text, tail, message
}

func eachAnswer(b *testing.B, run func(b *testing.B, text, tail, message []byte, raw bool)) {
	for _, bytes := range []int{1 << 10, 1 << 20} {
		for _, form := range []string{"raw/FP32", "typed/FP32", "typed/INT64"} {
			b.Run(fmt.Sprintf("%dKiB/%s", bytes>>10, form), func(b *testing.B) {
				datatype, size, raw := "FP32", 4, form == "raw/FP32"
				if form == "typed/INT64" {
					datatype, size = "INT64", 8
				}
				text, tail, message := benchAnswer(b, datatype, size, bytes/size, raw)
				b.ReportAllocs()
				b.SetBytes(int64(len(message)))
				run(b, text, tail, message, raw)
			})
		}
	}
}

func BenchmarkFromGRPC(b *testing.B) {
	eachAnswer(b, func(b *testing.B, text, tail, message []byte, _ bool) {
		var json, values []byte
		var p Problem
		for b.Loop() {
			if json, values, p = FromGRPC(json[:0], values[:0], message, false); p.Found() {
				b.Fatalf("%+v", p)
			}
		}
		if string(json) != string(text) || string(values) != string(tail) {
			b.Fatal("not what was written")
		}
	})
}

func BenchmarkToGRPC(b *testing.B) {
	eachAnswer(b, func(b *testing.B, text, tail, message []byte, raw bool) {
		var out []byte
		var err error
		for b.Loop() {
			if out, err = ToGRPC(out[:0], text, tail, Options{Raw: raw}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Reading a message into buffers with room costs no allocation.
func TestFromGRPCAllocatesNothing(t *testing.T) {
	s := newSchema(t, true)
	b := made(t, s.response, `model_name:"m" id:"7" parameters{key:"b" value{bool_param:true}} outputs{name:"p" datatype:"FP32" shape:2 contents{fp32_contents:[0.5,1]}} outputs{name:"s" datatype:"BYTES" shape:1 parameters{key:"d" value{double_param:1.5}} contents{bytes_contents:"abc"}}`)
	b = protowire.AppendVarint(protowire.AppendTag(b, 99, protowire.VarintType), 1)
	text, tail := make([]byte, 0, 1024), make([]byte, 0, 1024)
	var p Problem
	if n := testing.AllocsPerRun(100, func() {
		_, _, p = FromGRPC(text, tail, b, false)
	}); n != 0 || p.Found() {
		t.Fatalf("%v allocations, %+v", n, p)
	}
}
