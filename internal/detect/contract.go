package detect

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/tensor"
	"github.com/safestate/safestate/internal/verdict"
)

// checkOutputs holds the answer's outputs to what the policy promises, and
// finds the first breach.
func (t *plan) checkOutputs(x *Exchange, m *protocol.Message) verdict.Finding {
	if t.contract == nil {
		return t.checkCounts(m)
	}
	if protocol.Tensors(t.protocol) {
		return t.checkTensors(x, m)
	}
	for i := range t.outputs {
		if f := t.checkPlaces(&t.outputs[i], m); f.Found() {
			return f
		}
	}
	return t.unknownKeys(m)
}

// checkCounts holds each output to its own shape where nothing is promised: an
// answer that contradicts itself is a broken one.
func (t *plan) checkCounts(m *protocol.Message) verdict.Finding {
	for i := range m.Tensors {
		switch tn := &m.Tensors[i]; {
		case tn.ShapeBroken:
			return found(t.broken, verdict.ContractShape, nameOf(tn)+" is no shape")
		case tn.ShapeOK && !countFits(tn):
			return found(t.broken, verdict.ContractShape, nameOf(tn)+" "+shapeText(tn.Shape)+" is not that of its data")
		}
	}
	return verdict.Finding{}
}

func (t *plan) breach(code verdict.Code, detail string) verdict.Finding {
	return found(t.contract.Mode, code, detail)
}

// checkTensors checks the outputs of Open Inference V2 by name.
func (t *plan) checkTensors(x *Exchange, m *protocol.Message) verdict.Finding {
	x.seen = append(x.seen[:0], make([]bool, len(t.outputs))...)
	for i := range m.Tensors {
		tn := &m.Tensors[i]
		if j := sameName(m.Tensors[:i], tn); j >= 0 {
			return t.breach(verdict.ContractOutputDuplicate, nameOf(tn))
		}
		if !tn.ShapeOK {
			return t.breach(verdict.ContractShape, nameOf(tn)+" none")
		}
		if !countFits(tn) {
			return t.breach(verdict.ContractShape, nameOf(tn)+" "+shapeText(tn.Shape)+" is not that of its data")
		}
		o := t.promised(tn.Name)
		if o < 0 {
			if twin := t.twin(tn.Name); twin != "" {
				return t.breach(verdict.ContractOutputDuplicate, twin)
			}
			if t.contract.UnknownOutputs {
				return t.breach(verdict.ContractOutputUnknown, nameOf(tn))
			}
			continue
		}
		x.seen[o] = true
		if f := t.checkTensor(&t.outputs[o], tn); f.Found() {
			return f
		}
	}
	for i := range t.outputs {
		if !x.seen[i] && !t.outputs[i].optional {
			return t.breach(verdict.ContractOutputMissing, t.outputs[i].text)
		}
	}
	return verdict.Finding{}
}

// promised returns the index of the promised output of a name, -1: none.
func (t *plan) promised(name scan.Node) int {
	for i := range t.outputs {
		if name.EqualText(t.outputs[i].name) {
			return i
		}
	}
	return -1
}

// twin returns the promised output whose name differs only in case.
func (t *plan) twin(name scan.Node) string {
	var buf [64]byte
	b := name.Text(buf[:0])
	for i := range t.outputs {
		if len(b) > 0 && bytes.EqualFold(b, []byte(t.outputs[i].name)) {
			return t.outputs[i].name
		}
	}
	return ""
}

// maxNames bounds the comparison of every name with every other.
const maxNames = 512

func sameName(before []protocol.Tensor, tn *protocol.Tensor) int {
	if len(before) > maxNames {
		before = before[:maxNames]
	}
	raw := tn.Name.Raw()
	for i := range before {
		if len(raw) > 0 && bytes.Equal(before[i].Name.Raw(), raw) {
			return i
		}
	}
	return -1
}

func nameOf(tn *protocol.Tensor) string {
	if tn.Name.Kind() != scan.String {
		return outputPlace(tn.Index)
	}
	return quoted(tn.Name.Text(nil))
}

// countFits reports whether a tensor has as many values as its shape says.
func countFits(tn *protocol.Tensor) bool {
	want, ok := tensor.Elements(tn.Shape)
	switch {
	case !ok:
		return false
	case tn.Shared:
		return true
	case tn.Binary:
		n, whole := tensor.Count(tn.Datatype, tn.Raw)
		return whole && int64(n) == want
	case tn.Data.Kind() == scan.String:
		return true // BYTES in one piece: it may hold any number of values
	}
	return int64(count(tn.Data)) == want
}

// count returns the number of elements in nested arrays; an object is one.
func count(n scan.Node) int {
	if s, flat := n.Numbers(); flat {
		return s.Count
	}
	if n.Kind() != scan.Array {
		return 1
	}
	sum := 0
	for it := n.Children(); it.Next(); {
		if v := it.Value(); v.Kind() == scan.Array {
			sum += count(v) // as deep as the scanner lets pass
		} else {
			sum++
		}
	}
	return sum
}

func (t *plan) checkTensor(o *output, tn *protocol.Tensor) verdict.Finding {
	if o.datatype != tensor.Unknown && o.datatype != tn.Datatype {
		return t.breach(verdict.ContractDatatype, o.text+" "+datatypeOf(tn)+" want "+o.datatype.String())
	}
	if !fitsShape(o.shape, tn.Shape) {
		return t.breach(verdict.ContractShape, o.text+" "+shapeText(tn.Shape))
	}
	if tn.Shared {
		return verdict.Finding{}
	}
	if tn.Binary {
		return t.checkRaw(o, tn)
	}
	code, suffix := o.checkValues(tn.Data, tn.Datatype)
	if code == "" {
		return verdict.Finding{}
	}
	return t.breach(code, dataPlace(tn, -1)+suffix)
}

func datatypeOf(tn *protocol.Tensor) string {
	if tn.DatatypeNode.Kind() != scan.String {
		return "none"
	}
	return quoted(tn.DatatypeNode.Text(nil))
}

// fitsShape compares with a promised shape, of which -1 is any and nil all.
func fitsShape(want, got []int64) bool {
	if want == nil {
		return true
	}
	if len(want) != len(got) {
		return false
	}
	for i, w := range want {
		if w >= 0 && w != got[i] {
			return false
		}
	}
	return true
}

func shapeText(shape []int64) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, n := range shape {
		if i > 0 {
			b.WriteByte(',')
		}
		if b.Len() > longestKey {
			b.WriteString("...")
			break
		}
		b.WriteString(strconv.FormatInt(n, 10))
	}
	b.WriteByte(']')
	return b.String()
}

// checkRaw checks the values of a binary tensor.
func (t *plan) checkRaw(o *output, tn *protocol.Tensor) verdict.Finding {
	if tn.Datatype == tensor.BYTES {
		if o.bounded {
			return t.breach(verdict.ContractDatatype, o.text+" BYTES want a number")
		}
		return t.checkRawLabels(o, tn)
	}
	if o.bounded {
		if i, v, bad := tensor.OutOfRange(tn.Datatype, tn.Raw, o.min, o.max); bad {
			return t.breach(verdict.ContractRange, dataPlace(tn, i)+" "+number(v))
		}
	}
	if o.labels == nil {
		return verdict.Finding{}
	}
	n, _ := tensor.Count(tn.Datatype, tn.Raw)
	for i := range n {
		v := tensor.At(tn.Datatype, tn.Raw, i)
		ok := o.labels.hasNumber(v)
		if tn.Datatype == tensor.BOOL {
			ok = ok || o.labels.hasWord(strconv.AppendBool(nil, v != 0))
		}
		if !ok {
			return t.breach(verdict.ContractLabel, dataPlace(tn, i))
		}
	}
	return verdict.Finding{}
}

func (t *plan) checkRawLabels(o *output, tn *protocol.Tensor) verdict.Finding {
	rest := tn.Raw
	for i := 0; o.labels != nil && len(rest) > 0; i++ {
		var elem []byte
		elem, rest, _ = tensor.NextBytes(rest)
		if !o.labels.hasWord(elem) {
			return t.breach(verdict.ContractLabel, dataPlace(tn, i))
		}
	}
	return verdict.Finding{}
}

// checkPlaces checks one output of an answer without tensors.
func (t *plan) checkPlaces(o *output, m *protocol.Message) (f verdict.Finding) {
	var first [maxRank]int64
	var shape []int64 // of the first place
	places := 0
	o.visit(m, func(p part) bool {
		if p.ambiguous {
			f = found(t.ambiguous, verdict.BrokenDuplicate, p.place())
			return false
		}
		if !p.node.Exists() {
			if !o.optional {
				f = t.breach(verdict.ContractOutputMissing, p.place())
			}
			return !f.Found()
		}
		if code, suffix := o.checkValues(p.node, o.datatype); code != "" {
			f = t.breach(code, p.place()+suffix)
			return false
		}
		if o.shape == nil {
			places++
			return true
		}
		var buf [maxRank]int64
		got, even := dimensions(p.node, buf[:0])
		if !even || places > 0 && !equalShape(shape, got) {
			f = t.breach(verdict.ContractShape, p.place()+" is uneven")
			return false
		}
		if places == 0 {
			shape = append(first[:0], got...)
		}
		places++
		return true
	})
	switch {
	case f.Found():
		return f
	case places == 0 && !o.optional:
		return t.breach(verdict.ContractOutputMissing, o.text)
	case places == 0 || o.shape == nil:
		return verdict.Finding{}
	}
	if o.stacked(m) {
		shape = append([]int64{int64(places)}, shape...)
	}
	if !fitsShape(o.shape, shape) {
		return t.breach(verdict.ContractShape, o.text+" "+shapeText(shape))
	}
	return verdict.Finding{}
}

// unknownKeys finds an output that nobody promised: a key of a row, or of
// TensorFlow Serving's columnar format. Any JSON may have any key.
func (t *plan) unknownKeys(m *protocol.Message) verdict.Finding {
	if !t.contract.UnknownOutputs || t.protocol == policy.JSON {
		return verdict.Finding{}
	}
	check := func(object scan.Node, row int) verdict.Finding {
		for it := object.Children(); object.Kind() == scan.Object && it.Next(); {
			if key := it.Key(); !t.names(key) {
				return t.breach(verdict.ContractOutputUnknown, part{base: m.RowsKey, row: row, key: string(key)}.place())
			}
		}
		return verdict.Finding{}
	}
	if m.Rows.Kind() == scan.Object {
		return check(m.Rows, -1)
	}
	if _, flat := m.Rows.Numbers(); flat {
		return verdict.Finding{}
	}
	for it := m.Rows.Children(); it.Next(); {
		if f := check(it.Value(), it.Index()); f.Found() {
			return f
		}
	}
	return verdict.Finding{}
}

func (t *plan) names(key []byte) bool {
	for i := range t.outputs {
		if string(key) == t.outputs[i].name {
			return true
		}
	}
	return false
}
