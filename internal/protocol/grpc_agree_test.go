package protocol

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// maker makes random messages that a server or a client could send.
type maker struct {
	*rand.Rand
	s schema
}

var datatypes = []string{"BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP16", "BF16", "FP32", "FP64", "BYTES"}

func (m maker) text() string {
	return []string{"", "a", "fraud", "prüfung", "a\"b\\c\n", "\u2028 \U0001F600", "shape"}[m.IntN(7)]
}

func (m maker) parameters(of protoreflect.Message) {
	field := fieldOf(of, "parameters")
	for range m.IntN(4) {
		value := of.NewField(field).Map().NewValue()
		p := value.Message()
		set := func(name string, v any) { p.Set(fieldOf(p, name), protoreflect.ValueOf(v)) }
		switch m.IntN(6) {
		case 0:
			set("bool_param", m.IntN(2) == 0)
		case 1:
			set("int64_param", int64(m.Uint64()))
		case 2:
			set("string_param", m.text())
		case 3:
			set("double_param", m.NormFloat64()*1e100)
		case 4:
			set("uint64_param", m.Uint64())
		}
		key := fmt.Sprint(m.text(), m.IntN(3))
		of.Mutable(field).Map().Set(protoreflect.ValueOfString(key).MapKey(), value)
	}
}

// integer is often an extreme one.
func (m maker) integer() uint64 {
	if m.IntN(2) == 0 {
		return []uint64{0, 1, 127, 128, math.MaxUint64, math.MaxInt64, 1 << 63, 1<<53 + 1}[m.IntN(8)]
	}
	return m.Uint64() >> m.IntN(64)
}

// typed fills the list that a datatype's values stand in.
func (m maker) typed(contents protoreflect.Message, datatype string, n int) {
	add := func(list string, v any) {
		contents.Mutable(fieldOf(contents, list)).List().Append(protoreflect.ValueOf(v))
	}
	for range n {
		v := m.integer()
		switch datatype {
		case "BOOL":
			add("bool_contents", v&1 == 0)
		case "INT8":
			add("int_contents", int32(int8(v)))
		case "INT16":
			add("int_contents", int32(int16(v)))
		case "INT32":
			add("int_contents", int32(v))
		case "INT64":
			add("int64_contents", int64(v))
		case "UINT8":
			add("uint_contents", uint32(uint8(v)))
		case "UINT16":
			add("uint_contents", uint32(uint16(v)))
		case "UINT32":
			add("uint_contents", uint32(v))
		case "UINT64":
			add("uint64_contents", v)
		case "FP32":
			add("fp32_contents", float32(m.NormFloat64()))
		case "FP64":
			add("fp64_contents", m.NormFloat64())
		case "BYTES":
			add("bytes_contents", []byte(m.text()))
		}
	}
}

// message makes a request or an answer; an answer is all raw or all typed.
func (m maker) message(request bool) *dynamicpb.Message {
	d, list, rawList := m.s.response, "outputs", "raw_output_contents"
	if request {
		d, list, rawList = m.s.request, "inputs", "raw_input_contents"
	}
	msg := dynamicpb.NewMessage(d)
	for _, name := range []string{"model_name", "model_version", "id"} {
		msg.Set(fieldOf(msg, name), protoreflect.ValueOfString(m.text()))
	}
	m.parameters(msg)
	raw := m.IntN(2) == 0
	tensors := msg.Mutable(fieldOf(msg, list)).List()
	for range m.IntN(5) {
		t := tensors.AppendMutable().Message()
		datatype := datatypes[m.IntN(len(datatypes))]
		n := m.IntN(20)
		t.Set(fieldOf(t, "name"), protoreflect.ValueOfString(m.text()))
		t.Set(fieldOf(t, "datatype"), protoreflect.ValueOfString(datatype))
		for range m.IntN(4) {
			t.Mutable(fieldOf(t, "shape")).List().Append(protoreflect.ValueOfInt64(int64(m.integer())))
		}
		m.parameters(t)
		mixed := request && m.IntN(3) == 0
		switch {
		case raw && !mixed:
			bytes := make([]byte, m.IntN(40))
			msg.Mutable(fieldOf(msg, rawList)).List().Append(protoreflect.ValueOfBytes(bytes))
		default:
			if raw {
				n++ // an input without values would take raw contents
				if datatype == "FP16" || datatype == "BF16" {
					t.Set(fieldOf(t, "datatype"), protoreflect.ValueOfString("INT64"))
					datatype = "INT64"
				}
			}
			m.typed(t.Mutable(fieldOf(t, "contents")).Message(), datatype, n)
		}
	}
	for request && m.IntN(2) == 0 {
		o := msg.Mutable(fieldOf(msg, "outputs")).List().AppendMutable().Message()
		o.Set(fieldOf(o, "name"), protoreflect.ValueOfString(m.text()))
		m.parameters(o)
	}
	return msg
}

// shuffle puts the fields of a message into another order that means the same:
// fields of one number stay in theirs. It adds unknown ones. Tensors are
// shuffled too.
func (m maker) shuffle(b []byte, inside bool) []byte {
	queues := map[protowire.Number][][]byte{}
	left := 0
	w := fieldsOfWire{b: b, end: len(b)}
	for f := (wireField{}); w.next(&f); left++ {
		field := b[f.begin:w.at]
		if f.num == grpcTensors && !inside {
			field = protowire.AppendTag(nil, f.num, f.typ)
			field = protowire.AppendBytes(field, m.shuffle(b[f.from:f.to], true))
		}
		queues[f.num] = append(queues[f.num], field)
	}
	var out []byte
	for left > 0 {
		if m.IntN(4) == 0 {
			out = protowire.AppendTag(out, protowire.Number(100+m.IntN(1000)), protowire.BytesType)
			out = protowire.AppendString(out, m.text())
		}
		for num, q := range queues { // in the map's random order
			if len(q) > 0 {
				out, queues[num] = append(out, q[0]...), q[1:]
				left--
				break
			}
		}
	}
	return out
}

// Whatever a server or a client sends, FromGRPC reads what protobuf's own
// decoder reads.
func TestAgreesWithProtobuf(t *testing.T) {
	packed, unpacked := newSchema(t, true), newSchema(t, false)
	var text, tail []byte
	values := 0
	for seed := range uint64(3000) {
		m := maker{rand.New(rand.NewPCG(seed, 1)), packed}
		if seed%2 == 1 {
			m.s = unpacked
		}
		request := seed%4 >= 2
		b, err := proto.Marshal(m.message(request))
		if err != nil {
			t.Fatal(err)
		}
		b = m.shuffle(b, false)
		var p Problem
		text, tail, p = FromGRPC(text[:0], tail[:0], b, request)
		if p.Found() {
			t.Fatalf("seed %d: %+v", seed, p)
		}
		agree(t, packed, b, text, tail, request)
		values += len(tail)
	}
	if values < 100_000 {
		t.Fatalf("only %d bytes of values compared", values)
	}
}

// A message that is cut anywhere is refused, or is one that protobuf reads
// alike: a cut between two fields leaves a message.
func TestCutMessages(t *testing.T) {
	s := newSchema(t, true)
	refused := 0
	for seed := range uint64(60) {
		m := maker{rand.New(rand.NewPCG(seed, 2)), s}
		request := seed%2 == 1
		b, err := proto.Marshal(m.message(request))
		if err != nil {
			t.Fatal(err)
		}
		for n := range b {
			text, tail, p := FromGRPC(nil, nil, b[:n], request)
			if p.Found() {
				refused++
				if _, err := s.read(b[:n], request); (err != nil) != (p.Kind == Truncated) || err != nil && p.Offset != n {
					t.Fatalf("seed %d cut at %d: %+v, protobuf says %v", seed, n, p, err)
				}
				continue
			}
			agree(t, s, b[:n], text, tail, request)
		}
	}
	if refused == 0 {
		t.Fatal("no cut was refused")
	}
}
