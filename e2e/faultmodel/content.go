package faultmodel

import (
	"encoding/binary"
	"math"
	"strconv"
)

var (
	nan = math.NaN()
	inf = math.Inf(1)
)

// scoreToken puts text where the first score is.
func scoreToken(text string) func(Protocol, *answer) {
	return func(_ Protocol, a *answer) { a.output("score").text[0] = text }
}

// bits puts raw IEEE bits into the first element of a float output. Over gRPC
// the answer is raw then, whatever was asked.
func bits(name string, v uint64) func(Protocol, *answer) {
	return func(_ Protocol, a *answer) {
		a.typed = false
		t := a.output(name)
		var le [8]byte
		binary.LittleEndian.PutUint64(le[:], v)
		copy(t.raw[:elementSize(t.datatype)], le[:])
	}
}

// typed puts a value into the first element of a float output, and the answer
// into typed contents, whatever was asked.
func typed(name string, v float64) func(Protocol, *answer) {
	return func(_ Protocol, a *answer) {
		a.typed = true
		a.output(name).set(0, v)
	}
}

// oneRow spoils the score of the third row and no other.
func oneRow(text string, v float64) func(Protocol, *answer) {
	return func(_ Protocol, a *answer) {
		if t := a.output("score"); len(t.text) > 2 {
			t.setToken(2, text, v)
		}
	}
}

// inside spoils the last element of the nested output.
func inside(text string, v float64) func(Protocol, *answer) {
	return func(_ Protocol, a *answer) {
		t := a.output("embedding")
		t.setToken(len(t.text)-1, text, v)
	}
}

// overflow writes a number past the range of the declared datatype: FP32 where
// the protocol declares one, any float64 elsewhere.
func overflow(p Protocol, a *answer) {
	if p == V2 {
		a.output("score").text[0] = "1e39"
		return
	}
	a.output("score").text[0] = "1e400"
}

func score(v float64) func(Protocol, *answer) {
	return func(_ Protocol, a *answer) { a.output("score").set(0, v) }
}

func confidence(v float64) func(Protocol, *answer) {
	return func(_ Protocol, a *answer) { a.output("confidence").set(0, v) }
}

// confidenceNull writes null, which raw bytes cannot say: in a binary answer
// this one output is JSON, as the extension allows.
func confidenceNull(_ Protocol, a *answer) {
	t := a.output("confidence")
	t.text[0] = "null"
	t.asJSON = true
}

func probabilities(ps ...float64) func(Protocol, *answer) {
	return func(_ Protocol, a *answer) {
		t := a.output("probs")
		for i, p := range ps {
			t.set(i, p)
		}
	}
}

func label(s string) func(Protocol, *answer) {
	return func(_ Protocol, a *answer) { a.output("label").setText(s) }
}

func without(name string) func(Protocol, *answer) {
	return func(_ Protocol, a *answer) { a.drop(name) }
}

// wrongShape claims one element more than there is where shapes are written,
// and gives a row one probability more where they are not.
func wrongShape(p Protocol, a *answer) {
	t := a.output("probs")
	if p == V2 || p == V2B || p == G {
		t.shape = []int{a.rows, 4}
		return
	}
	t.shape = []int{a.rows, 4}
	var text []string
	for i, s := range t.text {
		text = append(text, s)
		if i%3 == 2 {
			text = append(text, "0")
		}
	}
	t.text = text
}

// wrongDatatype gives whole numbers, declared as such, where a float was
// promised; text where datatypes are not written.
func wrongDatatype(p Protocol, a *answer) {
	t := a.output("score")
	if p == V2 || p == V2B || p == G {
		t.datatype = "INT32"
		for i := range t.text {
			t.text[i] = "1"
			binary.LittleEndian.PutUint32(t.raw[i*4:], 1)
		}
		return
	}
	for i := range t.text {
		t.text[i] = `"high"`
	}
}

// duplicated gives the score twice, with two values.
func duplicated(_ Protocol, a *answer) {
	twin := *a.output("score")
	twin.text, twin.raw = append([]string(nil), twin.text...), append([]byte(nil), twin.raw...)
	twin.set(0, 0.5)
	a.outputs = append(a.outputs, twin)
}

func unknownOutput(_ Protocol, a *answer) {
	t := tensor{name: "surprise", datatype: "FP32", shape: []int{a.rows}}
	for range a.rows {
		t.push(0.5)
	}
	a.outputs = append(a.outputs, t)
}

// constant forgets the input: every prediction is that of an empty request.
func constant(_ Protocol, a *answer) {
	fresh := newAnswer(a.version, make([]Features, a.rows), a.output("half") != nil)
	a.outputs = fresh.outputs
}

// longNumber is a score of 10,000 digits; in a binary answer this one output is
// JSON, as the extension allows.
func longNumber(_ Protocol, a *answer) {
	t := a.output("score")
	t.text[0] = digits(longDigits)
	t.asJSON = true
}

// digits is a number of n digits, under 1.
func digits(n int) string {
	b := make([]byte, 0, n+2)
	b = append(b, "0."...)
	for i := range n {
		b = strconv.AppendInt(b, int64(1+i%9), 10)
	}
	return string(b)
}
