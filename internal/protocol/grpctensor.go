//go:build !wasip1

package protocol

import (
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/safestate/safestate/internal/tensor"
)

// grpcTensor is one tensor before it is written.
type grpcTensor struct {
	name, datatype, contents span
	shape                    [maxGRPCRank]int64
	rank                     int
	parameters               int
}

func (r *grpcReader) writeTensors() Problem {
	// Readers of an answer find an output's raw contents by the output's index.
	if !r.request && r.raws > 0 && r.raws != r.tensors {
		return problem(Form, r.rawName())
	}
	r.key(r.list)
	r.json = append(r.json, '[')
	w := fieldsOfWire{b: r.b, end: len(r.b)}
	index := 0
	for f := (wireField{}); w.next(&f); {
		if f.num != grpcTensors {
			continue
		}
		if index > 0 {
			r.json = append(r.json, ',')
		}
		if p := r.writeTensor(w.inside(&f)); p.Found() {
			p.Tensor, p.List = index, r.list
			return p
		}
		index++
	}
	if w.problem.Found() {
		return w.problem
	}
	if _, more, p := r.nextRaw(); more || p.Found() {
		return problem(Form, r.rawName())
	}
	r.json = append(r.json, ']')
	return Problem{}
}

func (r *grpcReader) writeTensor(w fieldsOfWire) Problem {
	whole := w
	var t grpcTensor
	if p := t.read(&w); p.Found() {
		return p
	}
	r.json = append(r.json, `{"name":`...)
	r.json = appendText(r.json, r.bytes(t.name))
	r.json = append(r.json, `,"datatype":`...)
	r.json = appendText(r.json, r.bytes(t.datatype))
	r.json = append(r.json, `,"shape":[`...)
	for i, d := range t.shape[:t.rank] {
		if i > 0 {
			r.json = append(r.json, ',')
		}
		r.json = strconv.AppendInt(r.json, d, 10)
	}
	r.json = append(r.json, ']')

	r.key("parameters")
	shared := false
	if t.parameters > 0 {
		var p Problem
		if shared, p = r.writeParameters(whole, grpcTensorParameters, true); p.Found() {
			return p
		}
	}
	before := len(r.tail)
	if p := r.takeValues(&t, shared); p.Found() {
		return p
	}
	if !shared {
		r.key(sizeParameter)
		r.json = strconv.AppendInt(r.json, int64(len(r.tail)-before), 10)
	}
	r.json = append(r.json, `}}`...)
	return Problem{}
}

func (t *grpcTensor) read(w *fieldsOfWire) Problem {
	for f := (wireField{}); w.next(&f); {
		p := Problem{}
		switch f.num {
		case grpcTensorName:
			p = w.one(&f, &t.name, "name")
		case grpcTensorDatatype:
			p = w.one(&f, &t.datatype, "datatype")
		case grpcTensorShape:
			p = t.addShape(w, &f)
		case grpcTensorParameters:
			p = w.many(&f, &t.parameters, maxGRPCParameters, "parameters")
		case grpcTensorContents:
			// Protobuf merges a message that comes twice; nobody sends that.
			p = w.one(&f, &t.contents, "contents")
		}
		if p.Found() {
			return p
		}
	}
	if w.problem.Found() {
		return w.problem
	}
	if p := w.validText(t.name); p.Found() {
		return p
	}
	return w.validText(t.datatype)
}

// addShape takes one dimension, or a packed list of them.
func (t *grpcTensor) addShape(w *fieldsOfWire, f *wireField) Problem {
	if f.typ == protowire.VarintType {
		return t.addDimension(f.value)
	}
	if f.typ != protowire.BytesType {
		return malformed(f.begin)
	}
	for at := f.from; at < f.to; {
		v, n := protowire.ConsumeVarint(w.b[at:f.to])
		if n < 0 {
			return malformed(at)
		}
		at += n
		if p := t.addDimension(v); p.Found() {
			return p
		}
	}
	return Problem{}
}

func (t *grpcTensor) addDimension(v uint64) Problem {
	if t.rank == maxGRPCRank {
		return problem(Form, "shape")
	}
	t.shape[t.rank] = int64(v)
	t.rank++
	return Problem{}
}

// takeValues appends a tensor's values to the tail: its typed contents, or its
// part of the raw ones. In an answer the raw contents have an entry for every
// output, an empty one for an output in shared memory; in a request they have
// one for every input that has its values nowhere else, as the servers read it.
func (r *grpcReader) takeValues(t *grpcTensor, shared bool) Problem {
	typed, p := r.takeTyped(datatypeOfText(r.bytes(t.datatype)), t.contents)
	if p.Found() {
		return p
	}
	if typed && shared {
		return problem(Form, "contents")
	}
	if r.raws == 0 || r.request && (typed || shared) {
		return Problem{}
	}
	raw, ok, p := r.nextRaw()
	switch {
	case p.Found():
		return p
	case !ok, typed, shared && raw.from < raw.to:
		return problem(Form, r.rawName())
	}
	r.tail = append(r.tail, r.bytes(raw)...)
	return Problem{}
}

// nextRaw finds the next raw contents.
func (r *grpcReader) nextRaw() (s span, ok bool, p Problem) {
	for f := (wireField{}); r.raw.next(&f); {
		if f.num == r.rawField {
			return span{from: f.from, to: f.to, seen: true}, true, Problem{}
		}
	}
	return span{}, false, r.raw.problem
}

func datatypeOfText(b []byte) tensor.Type {
	if len(b) > longestDatatype {
		return tensor.Unknown
	}
	t, _ := tensor.Parse(string(b))
	return t
}
