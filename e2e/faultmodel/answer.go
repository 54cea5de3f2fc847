package faultmodel

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"
)

// tensor is one output. Its elements are held as JSON tokens, so that a fault
// can put any text in their place, and as raw little-endian bytes for the
// binary form.
type tensor struct {
	name     string
	datatype string
	shape    []int
	text     []string
	raw      []byte
	asJSON   bool // in a binary answer: this one stays text
}

// answer is what the model found, before it is written in a protocol's shape.
type answer struct {
	id      string
	model   string
	version string
	rows    int
	outputs []tensor
	typed   bool // over gRPC: typed contents, not raw bytes
}

// newAnswer predicts every row. wide adds one output per further float type,
// for the binary form.
func newAnswer(version string, rows []Features, wide bool) *answer {
	a := &answer{rows: len(rows)}
	score := tensor{name: "score", datatype: "FP32", shape: []int{a.rows}}
	label := tensor{name: "label", datatype: "BYTES", shape: []int{a.rows}}
	probs := tensor{name: "probs", datatype: "FP32", shape: []int{a.rows, 3}}
	embed := tensor{name: "embedding", datatype: "FP32", shape: []int{a.rows, 2, 2}}
	conf := tensor{name: "confidence", datatype: "FP32", shape: []int{a.rows}}
	half := tensor{name: "half", datatype: "FP16", shape: []int{a.rows}}
	brain := tensor{name: "brain", datatype: "BF16", shape: []int{a.rows}}
	double := tensor{name: "double", datatype: "FP64", shape: []int{a.rows}}
	for _, f := range rows {
		p := predict(version, f)
		score.push(p.score)
		label.pushText(p.label)
		for _, v := range p.probs {
			probs.push(v)
		}
		for _, v := range p.embedding {
			embed.push(v)
		}
		conf.push(p.confidence)
		half.push(0.5)
		brain.push(0.5)
		double.push(p.score)
	}
	a.outputs = []tensor{score, label, probs, embed}
	if wide {
		a.outputs = append(a.outputs, half, brain, double)
	}
	// The last one: an answer without it leaves every other index as it was.
	a.outputs = append(a.outputs, conf)
	return a
}

// output returns the named output, or nil.
func (a *answer) output(name string) *tensor {
	for i := range a.outputs {
		if a.outputs[i].name == name {
			return &a.outputs[i]
		}
	}
	return nil
}

// drop removes the named output.
func (a *answer) drop(name string) {
	a.outputs = slices.DeleteFunc(a.outputs, func(t tensor) bool { return t.name == name })
}

func (t *tensor) push(v float64) {
	t.text = append(t.text, token(v))
	t.raw = appendFloat(t.raw, t.datatype, v)
}

func (t *tensor) pushText(s string) {
	t.text = append(t.text, strconv.Quote(s))
	t.raw = binary.LittleEndian.AppendUint32(t.raw, uint32(len(s)))
	t.raw = append(t.raw, s...)
}

// set replaces element i by a number, in both forms.
func (t *tensor) set(i int, v float64) {
	t.text[i] = token(v)
	size := elementSize(t.datatype)
	copy(t.raw[i*size:(i+1)*size], appendFloat(nil, t.datatype, v))
}

// setToken replaces element i by JSON text, and in the binary form by v.
func (t *tensor) setToken(i int, text string, v float64) {
	t.set(i, v)
	t.text[i] = text
}

// setText replaces every element of a BYTES tensor.
func (t *tensor) setText(s string) {
	n := len(t.text)
	t.text, t.raw = nil, nil
	for range n {
		t.pushText(s)
	}
}

func elementSize(datatype string) int {
	switch datatype {
	case "FP16", "BF16":
		return 2
	case "FP64":
		return 8
	default:
		return 4
	}
}

// appendFloat writes v little-endian as the binary tensor extension has it.
// Half precision is cut, not rounded: the values here need no more.
func appendFloat(dst []byte, datatype string, v float64) []byte {
	switch datatype {
	case "FP64":
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
	case "BF16":
		return binary.LittleEndian.AppendUint16(dst, uint16(math.Float32bits(float32(v))>>16))
	case "FP16":
		return binary.LittleEndian.AppendUint16(dst, halfBits(v))
	default:
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(v)))
	}
}

// halfBits is IEEE 754 binary16, cut; what is too small becomes 0, too large
// infinite.
func halfBits(v float64) uint16 {
	b := math.Float32bits(float32(v))
	sign := uint16(b>>16) & 0x8000
	exp := int(b>>23&0xff) - 127 + 15
	mantissa := uint16(b >> 13 & 0x3ff)
	switch {
	case v != v:
		return sign | 0x7e00
	case exp >= 31:
		return sign | 0x7c00
	case exp <= 0:
		return sign
	default:
		return sign | uint16(exp)<<10 | mantissa
	}
}
