//go:build !wasip1

package protocol

import (
	"errors"
	"io"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// fieldsOfWire walks the fields of one protobuf message, which may be inside
// another: b[at:end] of the whole message b, so that offsets are the whole's.
type fieldsOfWire struct {
	b       []byte
	at, end int
	nested  bool
	problem Problem // why next stopped before the end
}

// wireField is one field. Of type BytesType its value is b[from:to], of the
// others value.
type wireField struct {
	num      protowire.Number
	typ      protowire.Type
	begin    int // where its tag stands
	from, to int
	value    uint64
}

// next reads the next field; false is the end, or a problem.
func (w *fieldsOfWire) next(f *wireField) bool {
	if w.at >= w.end {
		return false
	}
	num, typ, n := protowire.ConsumeTag(w.b[w.at:w.end])
	if n < 0 {
		return w.stop(n)
	}
	if num > protowire.MaxValidNumber { // protowire leaves that to its callers
		w.problem = malformed(w.at)
		return false
	}
	f.num, f.typ, f.begin = num, typ, w.at
	w.at += n
	rest := w.b[w.at:w.end]
	switch typ {
	case protowire.VarintType:
		f.value, n = protowire.ConsumeVarint(rest)
	case protowire.Fixed32Type:
		var v uint32
		v, n = protowire.ConsumeFixed32(rest)
		f.value = uint64(v)
	case protowire.Fixed64Type:
		f.value, n = protowire.ConsumeFixed64(rest)
	case protowire.BytesType:
		var v []byte
		if v, n = protowire.ConsumeBytes(rest); n >= 0 {
			f.to = w.at + n
			f.from = f.to - len(v)
		}
	default: // groups
		w.problem = malformed(f.begin)
		return false
	}
	if n < 0 {
		return w.stop(n)
	}
	w.at += n
	return true
}

// stop says why a field cannot be read. Only the whole message can end too
// early: the length of one that is inside another is known to fit.
func (w *fieldsOfWire) stop(code int) bool {
	w.problem = malformed(w.at)
	if !w.nested && errors.Is(protowire.ParseError(code), io.ErrUnexpectedEOF) {
		w.problem = Problem{Kind: Truncated, Tensor: -1, Offset: len(w.b)}
	}
	return false
}

// inside walks the message that a field holds. Of a field of another type it
// is one that cannot be read.
func (w *fieldsOfWire) inside(f *wireField) fieldsOfWire {
	if f.typ != protowire.BytesType {
		return fieldsOfWire{problem: malformed(f.begin)}
	}
	return fieldsOfWire{b: w.b, at: f.from, end: f.to, nested: true}
}

// one takes a field that may occur once.
func (w *fieldsOfWire) one(f *wireField, s *span, name string) Problem {
	switch {
	case f.typ != protowire.BytesType:
		return malformed(f.begin)
	case s.seen:
		return problem(Duplicate, name)
	}
	*s = span{from: f.from, to: f.to, seen: true}
	return Problem{}
}

// many counts a field that may occur often.
func (w *fieldsOfWire) many(f *wireField, n *int, most int, name string) Problem {
	*n++
	switch {
	case f.typ != protowire.BytesType:
		return malformed(f.begin)
	case *n > most:
		return problem(Form, name)
	}
	return Problem{}
}

func (w *fieldsOfWire) validText(s span) Problem {
	if !utf8.Valid(w.b[s.from:s.to]) {
		return Problem{Kind: UTF8, Tensor: -1, Offset: s.from}
	}
	return Problem{}
}

func malformed(offset int) Problem { return Problem{Kind: Malformed, Tensor: -1, Offset: offset} }
