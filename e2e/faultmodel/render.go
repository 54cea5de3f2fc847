package faultmodel

import (
	"net/http"
	"strconv"
	"strings"
)

// reply is an answer on its way to the wire.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// render writes the answer in a protocol's shape. Members are written in a
// fixed order by hand: a fault may be no JSON at all.
func render(p Protocol, a *answer) *reply {
	r := &reply{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json"}}}
	switch p {
	case V1, TF, ML:
		r.body = []byte(renderRows(a))
	case J:
		r.body = []byte(renderObject(a))
	case V2:
		r.body = []byte(renderTensors(a, false))
	case V2B:
		head := renderTensors(a, true)
		r.header.Set("Content-Type", "application/octet-stream")
		r.header.Set("Inference-Header-Content-Length", strconv.Itoa(len(head)))
		r.body = []byte(head)
		for _, t := range a.outputs {
			if !t.asJSON {
				r.body = append(r.body, t.raw...)
			}
		}
	}
	return r
}

// renderTensors writes the V2 object; in the binary form the tensors' bytes
// follow it, each as long as its binary_data_size says.
func renderTensors(a *answer, binary bool) string {
	var b strings.Builder
	b.WriteString(`{"model_name":` + strconv.Quote(a.model) + `,"model_version":` + strconv.Quote(a.version))
	if a.id != "" {
		b.WriteString(`,"id":` + strconv.Quote(a.id))
	}
	b.WriteString(`,"outputs":[`)
	for i, t := range a.outputs {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"name":` + strconv.Quote(t.name) + `,"datatype":"` + t.datatype + `","shape":` + ints(t.shape))
		if binary && !t.asJSON {
			b.WriteString(`,"parameters":{"binary_data_size":` + strconv.Itoa(len(t.raw)) + `}}`)
		} else {
			b.WriteString(`,"data":[` + strings.Join(t.text, ",") + `]}`)
		}
	}
	b.WriteString(`]}`)
	return b.String()
}

// renderRows writes one object a row, as V1, TensorFlow Serving and MLflow do.
func renderRows(a *answer) string {
	var b strings.Builder
	b.WriteString(`{"predictions":[`)
	for row := range a.rows {
		if row > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('{')
		writeRow(&b, a, row, false)
		b.WriteByte('}')
	}
	b.WriteString(`]}`)
	return b.String()
}

// renderObject writes the first row as one object, with the embedding deep
// inside.
func renderObject(a *answer) string {
	var b strings.Builder
	b.WriteString(`{"id":` + strconv.Quote(a.id) + `,`)
	writeRow(&b, a, 0, true)
	b.WriteByte('}')
	return b.String()
}

// writeRow writes the members of one row; deep puts the embedding inside
// detail.nested.values.
func writeRow(b *strings.Builder, a *answer, row int, deep bool) {
	for i, t := range a.outputs {
		if i > 0 {
			b.WriteByte(',')
		}
		width := 1
		for _, n := range t.shape[1:] {
			width *= n
		}
		from, to := min(row*width, len(t.text)), min((row+1)*width, len(t.text))
		if deep && t.name == "embedding" {
			b.WriteString(`"detail":{"nested":{"values":`)
			writeNested(b, t.text[from:to], t.shape[1:])
			b.WriteString(`}}`)
			continue
		}
		b.WriteString(strconv.Quote(t.name) + `:`)
		writeNested(b, t.text[from:to], t.shape[1:])
	}
}

// writeNested writes the elements as lists in lists, or as one value where the
// shape is empty.
func writeNested(b *strings.Builder, text []string, shape []int) {
	if len(shape) == 0 {
		b.WriteString(strings.Join(text, ","))
		return
	}
	b.WriteByte('[')
	step := len(text) / shape[0]
	for i := range shape[0] {
		if i > 0 {
			b.WriteByte(',')
		}
		writeNested(b, text[i*step:(i+1)*step], shape[1:])
	}
	b.WriteByte(']')
}

func ints(v []int) string {
	s := make([]string, len(v))
	for i, n := range v {
		s[i] = strconv.Itoa(n)
	}
	return "[" + strings.Join(s, ",") + "]"
}
