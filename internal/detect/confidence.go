package detect

import (
	"math"
	"strconv"
	"strings"

	"github.com/safestate/safestate/internal/fault"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/tensor"
	"github.com/safestate/safestate/internal/verdict"
)

// confidence is one confidence check, compiled.
type confidence struct {
	mode      policy.Mode
	path      scan.Path
	logprobs  bool     // OpenAI: the probabilities of the tokens; path says nothing
	data      dataPath // where the path is outputs[…].data of Open Inference V2
	aggregate policy.Aggregate
	min       float64
}

func (t *plan) compileConfidence(p *policy.Policy) error {
	for i, c := range p.Detect.Confidence {
		if t.protocol == policy.OpenAI && c.Value == logprobsValue {
			conf, err := newLogprobs(c)
			if err != nil {
				return fault.Errorf("detect.confidence[%d].aggregate: %w", i, err)
			}
			t.confidences = append(t.confidences, conf)
			continue
		}
		path, err := answerPath(c.Value)
		if err != nil {
			return fault.Errorf("detect.confidence[%d].value: %w", i, err)
		}
		switch c.Aggregate {
		case "", policy.AggregateMin, policy.AggregateMean, policy.AggregateMax, policy.AggregateMargin:
		default:
			return fault.Errorf("detect.confidence[%d].aggregate: %q is none of min, mean, max and margin", i, string(c.Aggregate))
		}
		conf := confidence{mode: c.Mode, path: path, aggregate: c.Aggregate, min: c.Min}
		if conf.aggregate == "" {
			conf.aggregate = policy.AggregateMin
		}
		if protocol.Tensors(t.protocol) {
			conf.data = parseDataPath(path.String())
		}
		t.confidences = append(t.confidences, conf)
	}
	return nil
}

// dataPath is a path to a V2 output's values, which may be binary.
type dataPath struct {
	ok      bool
	tensor  int // -1: every one
	element int // -1: all
}

// parseDataPath reads outputs[T].data with nothing, [E] or [*] behind it, where
// T is an index or *.
func parseDataPath(text string) dataPath {
	rest, ok := strings.CutPrefix(text, "outputs[")
	if !ok {
		return dataPath{}
	}
	first, rest, ok := strings.Cut(rest, "].data")
	if !ok {
		return dataPath{}
	}
	d := dataPath{ok: true, tensor: -1, element: -1}
	if first != "*" {
		n, err := strconv.Atoi(first)
		if err != nil {
			return dataPath{}
		}
		d.tensor = n
	}
	if rest == "" || rest == "[*]" {
		return d
	}
	n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(rest, "["), "]"))
	if err != nil || !strings.HasPrefix(rest, "[") || !strings.HasSuffix(rest, "]") {
		return dataPath{}
	}
	d.element = n
	return d
}

// reading is one confidence being read: rows are folded one after another, and
// the worst counts.
type reading struct {
	aggregate policy.Aggregate
	floor     float64 // the minimum that the worst row is compared with
	slack     float64 // how far below 0 and above 1 rounding may lead

	n            int // values of the row so far
	sum          float64
	least, most  float64
	second       float64
	worst        float64
	rows         int
	code         verdict.Code // the first value that is no confidence
	value        float64      // that value
	ambiguousKey bool
}

// Rounding of a probability that is 0 or 1: a sum of float64 terms, the last
// bits of a float32, one bit of the half precisions. Where nothing states a
// datatype it is taken for a float32, in which most models compute.
const (
	slackFP64 = 1e-12
	slackFP32 = 0x1p-22
	slackFP16 = 0x1p-10
	slackBF16 = 0x1p-7
)

func slackOf(t tensor.Type) float64 {
	switch t {
	case tensor.FP32, tensor.Unknown:
		return slackFP32
	case tensor.FP16:
		return slackFP16
	case tensor.BF16:
		return slackBF16
	}
	return slackFP64
}

// add takes one value; false means that the reading is over. A value that is
// rounded to below 0 counts as 0.
func (r *reading) add(v float64) bool {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0) || v < -r.slack:
		r.code, r.value = verdict.ConfidenceSentinel, v
		return false
	case !(v <= 1+r.slack):
		r.code, r.value = verdict.ConfidenceOverOne, v
		return false
	}
	v = math.Max(v, 0)
	if r.n == 0 {
		r.sum, r.least, r.most, r.second = 0, v, v, 0
	} else if v > r.most {
		r.second, r.most = r.most, v
	} else if v > r.second {
		r.second = v
	}
	r.least = math.Min(r.least, v)
	r.sum += v
	r.n++
	return true
}

// addKind takes an element of a numeric array.
func (r *reading) addKind(v float64, k scan.Kind) bool {
	if k == scan.Null {
		r.code = verdict.ConfidenceNull
		return false
	}
	return r.add(v)
}

// addNode takes one JSON value. A string that reads as non-finite is a
// sentinel; any other value that is no number is none.
func (r *reading) addNode(n scan.Node) bool {
	if v, ok := n.Float(); ok {
		return r.add(v)
	}
	if n.Kind() == scan.String && specialText(n, true) {
		return r.add(math.NaN())
	}
	r.code = verdict.ConfidenceNull
	return false
}

// endRow folds the row. The margin of a single value is the value: nothing
// competes with it.
func (r *reading) endRow() {
	if r.n == 0 {
		return
	}
	var v float64
	switch r.aggregate {
	case policy.AggregateMean:
		v = r.sum / float64(r.n)
	case policy.AggregateMax:
		v = r.most
	case policy.AggregateMargin:
		v = r.most - r.second
	default:
		v = r.least
	}
	if r.rows == 0 || !(v >= r.worst) {
		r.worst = v
	}
	r.rows++
	r.n = 0
}

// check reads the confidence and compares it with the minimum.
func (c *confidence) check(t *plan, m *protocol.Message) verdict.Finding {
	r := reading{aggregate: c.aggregate, floor: c.min, slack: slackOf(tensor.Unknown)}
	if c.data.ok {
		r.readTensors(m, c.data)
	} else {
		r.readPath(m.Root, &c.path)
	}
	where := ""
	switch {
	case r.ambiguousKey:
		return found(t.ambiguous, verdict.BrokenDuplicate, pathText(c.path))
	case r.code == verdict.ConfidenceSentinel || r.code == verdict.ConfidenceOverOne:
		where = " " + number(r.value)
	case r.code != "":
	case r.rows == 0:
		r.code = verdict.ConfidenceMissing
	case !(r.worst >= c.min):
		r.code, where = verdict.ConfidenceLow, " "+number(r.worst)+" < "+number(c.min)
	default:
		return verdict.Finding{}
	}
	return found(c.mode, r.code, pathText(c.path)+where)
}

// readPath reads the places of a path: a lone number each is an element of one
// vector; an array holds a row in each of its innermost arrays, an object one
// row in its members.
func (r *reading) readPath(root scan.Node, path *scan.Path) {
	lone := *r // the vector of lone numbers, folded last
	path.Visit(root, func(h scan.Hit) bool {
		switch {
		case h.Ambiguous:
			r.ambiguousKey = true
		case !h.Node.Exists():
			r.code = verdict.ConfidenceMissing
		case h.Node.Kind() == scan.Array || h.Node.Kind() == scan.Object:
			r.readRows(h.Node)
		case !lone.addNode(h.Node):
			r.code, r.value = lone.code, lone.value
		}
		return r.code == "" && !r.ambiguousKey
	})
	if r.code != "" || lone.n == 0 {
		return
	}
	lone.endRow()
	if r.rows == 0 || !(lone.worst >= r.worst) {
		r.worst = lone.worst
	}
	r.rows++
}

// readRows folds every innermost container below n.
func (r *reading) readRows(n scan.Node) {
	if s, flat := n.Numbers(); flat {
		r.readRow(n, s.Count)
		return
	}
	var w walker
	w.start(n)
	var inside scan.Node
	for v, ok := w.next(); ok; v, ok = w.next() {
		if s, flat := v.Numbers(); flat {
			r.readRow(v, s.Count)
		} else {
			if parent := w.parent(0); parent != inside {
				r.endRow()
				inside = parent
			}
			r.addNode(v)
		}
		if r.code != "" {
			return
		}
	}
	r.endRow()
}

// readRow folds a flat array, width values a row.
func (r *reading) readRow(n scan.Node, width int) {
	r.endRow()
	if r.clearlyFine(n) {
		return
	}
	n.EachFloat(func(i int, v float64, k scan.Kind) bool {
		if i > 0 && i%width == 0 {
			r.endRow()
		}
		return r.addKind(v, k)
	})
	if r.code == "" {
		r.endRow()
	}
}

// clearlyFine settles the smallest value of an array by the statistics that the
// parse took, without reading it again: whatever the rows, none is too low.
func (r *reading) clearlyFine(n scan.Node) bool {
	s, _ := n.Numbers()
	if r.aggregate != policy.AggregateMin || s.Count == 0 || s.FirstBad >= 0 {
		return false
	}
	if _, outside := n.OutOfRange(math.Max(r.floor, 0), 1+r.slack); outside {
		return false
	}
	least := math.Max(s.Min, r.floor)
	if r.rows == 0 || !(least >= r.worst) {
		r.worst = least
	}
	r.rows++
	return true
}

// readTensors reads outputs of Open Inference V2, whatever they are sent as. A
// flat list with a shape of two dimensions or more has a row in each of its
// last one.
func (r *reading) readTensors(m *protocol.Message, d dataPath) {
	first, last := d.tensor, d.tensor
	if d.tensor < 0 {
		first, last = 0, len(m.Tensors)-1
	}
	if last >= len(m.Tensors) {
		r.code = verdict.ConfidenceMissing
		return
	}
	for i := first; i <= last && r.code == ""; i++ {
		tn := &m.Tensors[i]
		r.slack = slackOf(tn.Datatype)
		switch {
		case d.element >= 0:
			r.readElement(tn, d.element)
		case tn.Binary:
			r.readRaw(tn)
		case !tn.Data.Exists():
			r.code = verdict.ConfidenceMissing
		default:
			r.readData(tn)
		}
	}
}

func (r *reading) readData(tn *protocol.Tensor) {
	s, flat := tn.Data.Numbers()
	switch {
	case flat:
		r.readRow(tn.Data, rowWidth(tn.Shape, s.Count))
	case tn.Data.Kind() == scan.Array:
		r.readRows(tn.Data)
	default:
		r.addNode(tn.Data)
		r.endRow()
	}
}

func (r *reading) readRaw(tn *protocol.Tensor) {
	n, _ := tensor.Count(tn.Datatype, tn.Raw)
	if tn.Datatype == tensor.BYTES {
		r.code = verdict.ConfidenceNull
		return
	}
	width := rowWidth(tn.Shape, n)
	for i := range n {
		if i > 0 && i%width == 0 {
			r.endRow()
		}
		if !r.add(tensor.At(tn.Datatype, tn.Raw, i)) {
			return
		}
	}
	r.endRow()
}

// readElement reads one element as a row of its own.
func (r *reading) readElement(tn *protocol.Tensor, element int) {
	if tn.Binary {
		n, _ := tensor.Count(tn.Datatype, tn.Raw)
		switch {
		case element >= n:
			r.code = verdict.ConfidenceMissing
		case tn.Datatype == tensor.BYTES:
			r.code = verdict.ConfidenceNull
		default:
			r.add(tensor.At(tn.Datatype, tn.Raw, element))
		}
	} else if v := tn.Data.At(element); !v.Exists() {
		r.code = verdict.ConfidenceMissing
	} else if v.Kind() == scan.Array {
		r.readRows(v)
	} else {
		r.addNode(v)
	}
	r.endRow()
}

// rowWidth returns the length of the rows of n values: the last dimension of a
// shape that has several and fits, else all of them.
func rowWidth(shape []int64, n int) int {
	if len(shape) >= 2 {
		if last := shape[len(shape)-1]; last > 0 && last < int64(n) && int64(n)%last == 0 {
			return int(last)
		}
	}
	return max(n, 1)
}
