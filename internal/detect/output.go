package detect

import (
	"errors"
	"math"
	"strconv"

	"github.com/safestate/safestate/internal/fault"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/tensor"
)

// answer is yes, no, or neither.
type answer uint8

const (
	unknown answer = iota
	yes
	no
)

// output is one promised output, compiled.
type output struct {
	name     string // empty: the prediction itself
	text     string // the name in reasons
	path     scan.Path
	datatype tensor.Type // Unknown: any
	shape    []int64     // nil: any
	bounded  bool
	min, max float64
	labels   *labels // nil: any
	optional bool
	// only says that the policy names no other output. TensorFlow Serving
	// leaves the name of a single output out.
	only bool
}

// compileOutputs reads the promised outputs. For protocol JSON the name is a
// path.
func (t *plan) compileOutputs(p *policy.Policy) error {
	for i := range t.confidences {
		t.named = t.named || t.confidences[i].path.String() != ""
	}
	if t.contract == nil {
		return nil
	}
	if t.protocol == policy.OpenAI && (len(t.contract.Outputs) > 0 || t.contract.UnknownOutputs) {
		return errors.New("detect.contract.outputs: a completion has none")
	}
	for i, c := range t.contract.Outputs {
		o := output{name: c.Name, text: c.Name, shape: c.Shape, optional: c.Optional, min: math.Inf(-1), max: math.Inf(1)}
		o.only = len(t.contract.Outputs) == 1
		var err error
		if t.protocol == policy.JSON {
			if o.path, err = answerPath(c.Name); err != nil {
				return fault.Errorf("detect.contract.outputs[%d].name: %w", i, err)
			}
			o.text = pathText(o.path)
		}
		if o.text == "" {
			o.text = "prediction"
		}
		if c.Datatype != "" {
			var ok bool
			if o.datatype, ok = tensor.Parse(c.Datatype); !ok {
				return fault.Errorf("detect.contract.outputs[%d].datatype: %q is none of the Open Inference Protocol's", i, c.Datatype)
			}
		}
		if c.Min != nil {
			o.bounded, o.min = true, *c.Min
		}
		if c.Max != nil {
			o.bounded, o.max = true, *c.Max
		}
		if len(c.Labels) > 0 {
			o.labels = newLabels(c.Labels)
		}
		t.named = t.named || o.name != ""
		t.outputs = append(t.outputs, o)
	}
	return nil
}

// numeric says whether a value of the output must be a number: an integer may
// be missing, a float may not.
func (o *output) numeric() answer {
	switch {
	case o.datatype.Float():
		return yes
	case o.datatype != tensor.Unknown:
		return no
	case o.bounded:
		return yes
	case o.labels != nil:
		return no
	}
	return unknown
}

// part is one place that an output names in an answer without tensors: the
// whole column, or its value in one row.
type part struct {
	node      scan.Node // does not exist where the place is missing
	ambiguous bool
	path      *scan.Path // JSON: where, with stars
	stars     []int
	base      string // rows: the key of the predictions
	row       int    // -1: not in a row
	key       string
}

func (p part) place() string {
	if p.path != nil {
		if p.path.String() == "" {
			return "body"
		}
		return string(p.path.AppendAt(nil, p.stars))
	}
	b := []byte(p.base)
	if p.row >= 0 {
		b = appendIndex(b, p.row)
	}
	if p.key != "" {
		b = appendKey(b, []byte(p.key))
	}
	if len(b) == 0 {
		return "body"
	}
	return string(b)
}

// visit calls f with every place of the output until f returns false.
func (o *output) visit(m *protocol.Message, f func(part) bool) {
	if m.Protocol == policy.JSON {
		o.path.Visit(m.Root, func(h scan.Hit) bool {
			return f(part{node: h.Node, ambiguous: h.Ambiguous, path: &o.path, stars: h.Stars, row: -1})
		})
		return
	}
	whole := part{node: m.Rows, base: m.RowsKey, row: -1}
	rows := m.Rows.Kind() == scan.Array
	switch {
	case o.name == "" || rows && m.Columnar || rows && m.Protocol == policy.TensorFlowServing && o.only && !objects(m.Rows):
		f(whole)
	case rows:
		for it := m.Rows.Children(); it.Next(); {
			if !f(member(part{base: m.RowsKey, row: it.Index()}, it.Value(), o.name)) {
				return
			}
		}
	default:
		f(member(part{base: m.RowsKey, row: -1}, m.Rows, o.name))
	}
}

func member(p part, object scan.Node, key string) part {
	p.key = key
	p.node, _ = object.Get(key)
	p.ambiguous = object.Ambiguous(key)
	return p
}

// objects reports whether rows begin with an object.
func objects(rows scan.Node) bool {
	it := rows.Children()
	return it.Next() && it.Value().Kind() == scan.Object
}

// stacked reports whether the output's places are one per row, so that its
// shape has the number of rows in front.
func (o *output) stacked(m *protocol.Message) bool {
	if m.Protocol == policy.JSON {
		for _, s := range []byte(o.path.String()) {
			if s == '*' {
				return true
			}
		}
		return false
	}
	return m.Rows.Kind() == scan.Array && o.name != "" && !m.Columnar && objects(m.Rows)
}

// labels is a closed set of strings, integers or booleans.
type labels struct {
	words   map[string]struct{}
	numbers map[float64]struct{} // of those that read as numbers
}

func newLabels(list []string) *labels {
	l := &labels{words: make(map[string]struct{}, len(list)), numbers: map[float64]struct{}{}}
	for _, s := range list {
		l.words[s] = struct{}{}
		if v, err := strconv.ParseFloat(s, 64); err == nil {
			l.numbers[v] = struct{}{}
		}
	}
	return l
}

func (l *labels) hasNumber(v float64) bool {
	_, ok := l.numbers[v]
	return ok
}

func (l *labels) hasWord(b []byte) bool {
	_, ok := l.words[string(b)]
	return ok
}

// has decides on one JSON value. A class number that a server writes as 1.0 is
// the label 1.
func (l *labels) has(n scan.Node) bool {
	switch n.Kind() {
	case scan.String:
		var buf [64]byte
		return l.hasWord(n.Text(buf[:0]))
	case scan.Number:
		v, _ := n.Float()
		return l.hasNumber(v) || l.hasWord(n.Raw())
	case scan.True:
		return l.hasWord([]byte("true"))
	case scan.False:
		return l.hasWord([]byte("false"))
	}
	return false
}
