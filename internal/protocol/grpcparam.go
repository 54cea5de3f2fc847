//go:build !wasip1

package protocol

import (
	"bytes"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// writeParameters writes the members of a map of InferParameter, which is field
// num of the message that w walks. shared reports that a tensor's values are in
// shared memory.
func (r *grpcReader) writeParameters(w fieldsOfWire, num protowire.Number, ofTensor bool) (shared bool, p Problem) {
	keys := r.keys[:0]
	for f := (wireField{}); w.next(&f); {
		if f.num != num {
			continue
		}
		if r.budget--; r.budget < 0 {
			return shared, problem(Form, "parameters")
		}
		var key, value span
		if p = readEntry(w.inside(&f), &key, &value); p.Found() {
			return shared, p
		}
		for _, k := range keys {
			if bytes.Equal(r.bytes(k), r.bytes(key)) {
				return shared, problem(Duplicate, "parameters")
			}
		}
		keys = append(keys, key)
		if ofTensor && bytes.EqualFold(r.bytes(key), []byte(sizeParameter)) {
			continue
		}
		if r.json[len(r.json)-1] != '{' {
			r.json = append(r.json, ',')
		}
		r.json = appendText(r.json, r.bytes(key))
		r.json = append(r.json, ':')
		set, p := r.writeParameter(value)
		if p.Found() {
			return shared, p
		}
		shared = shared || ofTensor && set && string(r.bytes(key)) == sharedParameter
	}
	return shared, w.problem
}

func readEntry(w fieldsOfWire, key, value *span) Problem {
	for f := (wireField{}); w.next(&f); {
		p := Problem{}
		switch f.num {
		case grpcEntryKey:
			p = w.one(&f, key, "parameters")
		case grpcEntryValue:
			p = w.one(&f, value, "parameters")
		}
		if p.Found() {
			return p
		}
	}
	if w.problem.Found() {
		return w.problem
	}
	return w.validText(*key)
}

// writeParameter writes one value, null where none is set. A double is written
// with an exponent, which tells it from an integer, and is a bare token where
// it is not finite.
func (r *grpcReader) writeParameter(s span) (set bool, p Problem) {
	w := fieldsOfWire{b: r.b, at: s.from, end: s.to, nested: true}
	for f := (wireField{}); w.next(&f); {
		if f.num < grpcParamBool || f.num > grpcParamUint64 {
			continue
		}
		want := protowire.VarintType
		switch f.num {
		case grpcParamString:
			want = protowire.BytesType
		case grpcParamDouble:
			want = protowire.Fixed64Type
		}
		if f.typ != want {
			return set, malformed(f.begin)
		}
		if set {
			return set, problem(Duplicate, "parameters")
		}
		set = true
		switch f.num {
		case grpcParamBool:
			r.json = strconv.AppendBool(r.json, f.value != 0)
		case grpcParamInt64:
			r.json = strconv.AppendInt(r.json, int64(f.value), 10)
		case grpcParamUint64:
			r.json = strconv.AppendUint(r.json, f.value, 10)
		case grpcParamDouble:
			r.json = appendDouble(r.json, math.Float64frombits(f.value))
		default:
			text := span{from: f.from, to: f.to}
			if p := w.validText(text); p.Found() {
				return set, p
			}
			r.json = appendText(r.json, r.bytes(text))
		}
	}
	if !set && !w.problem.Found() {
		r.json = append(r.json, "null"...)
	}
	return set, w.problem
}

func appendDouble(dst []byte, v float64) []byte {
	switch {
	case math.IsNaN(v):
		return append(dst, "NaN"...)
	case math.IsInf(v, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(v, -1):
		return append(dst, "-Infinity"...)
	}
	return strconv.AppendFloat(dst, v, 'e', -1, 64)
}
