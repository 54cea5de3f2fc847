package detect

import (
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/tensor"
)

// nonFiniteRows looks at the predictions of the protocols that carry no
// datatypes, "" for none found.
func (t *plan) nonFiniteRows(m *protocol.Message) string {
	j := rowsJudge{plan: t, exact: t.protocol == policy.OpenInferenceV1, budget: siblingBudget}
	return j.find(m.Rows, m.RowsKey)
}

// rowsJudge decides what a null or a string means where nothing states a
// datatype. A bare token is a failed number everywhere. A null or one of the
// strings NaN, Infinity and -Infinity is one
//
//   - where the policy declares a numeric output of that name;
//   - where one of its siblings (the other elements of its array, or the same
//     key of the other rows) is a number;
//   - not where a sibling is another string or a boolean: then it is a missing
//     or a strange label;
//   - a null that no sibling explains: among array elements always; under a key
//     unless the row has anything else that is not null, or the policy names
//     outputs and this is none of them: it is then an optional field, since
//     nothing tells that it would have been a number;
//   - a string that no sibling explains: in Open Inference V1 only, whose
//     servers write protobuf JSON.
type rowsJudge struct {
	plan   *plan // nil: a tensor whose datatype is unknown
	exact  bool  // a lone NaN string is a failed number
	budget int   // siblings that may still be looked at
}

// siblingBudget bounds the looks at siblings of one answer. Past it the answer
// fails: it has hundreds of thousands of nulls with nothing to explain them.
const siblingBudget = 1 << 20

func (j *rowsJudge) find(root scan.Node, base string) string {
	if s, flat := root.Numbers(); flat && s.FirstBad < 0 {
		return ""
	}
	var w walker
	w.start(root)
	for n, ok := w.next(); ok; n, ok = w.next() {
		if s, flat := n.Numbers(); flat {
			if s.FirstBad >= 0 && (s.BadKind != scan.Null || j.declared(&w) != no) {
				return string(appendIndex(w.appendPlace([]byte(base)), s.FirstBad)) + " " + formOf(n.At(s.FirstBad))
			}
			if s.FirstBad < 0 {
				continue
			}
			if i, form := bareToken(n); i >= 0 {
				return string(appendIndex(w.appendPlace([]byte(base)), i)) + " " + form
			}
			continue
		}
		if form := badScalar(n, tensor.FP64); form != "" && (n.Kind() == scan.NonFinite || n.Kind() == scan.Number || j.failed(&w, n)) {
			return string(w.appendPlace([]byte(base))) + " " + form
		}
	}
	return ""
}

// failed decides on a null, or on a string that reads as non-finite.
func (j *rowsJudge) failed(w *walker, n scan.Node) bool {
	switch j.declared(w) {
	case yes:
		return true
	case no:
		return false
	}
	around := j.siblings(w)
	switch {
	case around.numbers || j.budget <= 0:
		return true
	case around.words:
		return false
	case n.Kind() == scan.String:
		return j.exact && specialText(n, false)
	case w.key(0) == nil:
		return true
	}
	return !j.optional(w)
}

// declared says whether the policy declares what stands at the walker's leaf:
// as a number, as something else, or not.
func (j *rowsJudge) declared(w *walker) answer {
	if j.plan == nil {
		return unknown
	}
	keyed := false
	for above := 0; above < w.depth; above++ {
		key := w.key(above)
		if key == nil {
			continue
		}
		keyed = true
		for i := range j.plan.outputs {
			if o := &j.plan.outputs[i]; string(key) == o.name {
				return o.numeric()
			}
		}
	}
	if keyed {
		return unknown
	}
	for i := range j.plan.outputs {
		if o := &j.plan.outputs[i]; o.name == "" {
			return o.numeric()
		}
	}
	return unknown
}

// company is what else stands where a value stands.
type company struct {
	numbers bool // numbers, or bare tokens
	words   bool // booleans, or strings that do not read as non-finite
}

func (c *company) add(n scan.Node) {
	switch n.Kind() {
	case scan.Number, scan.NonFinite:
		c.numbers = true
	case scan.True, scan.False:
		c.words = true
	case scan.String:
		c.words = c.words || !specialText(n, true)
	case scan.Array:
		if s, flat := n.Numbers(); flat && s.Finite > 0 {
			c.numbers = true
		}
	}
}

func (c *company) decided() bool { return c.numbers }

// siblings looks at the other elements of an array, or at the same key in the
// other rows.
func (j *rowsJudge) siblings(w *walker) (c company) {
	parent := w.parent(0)
	if parent.Kind() == scan.Array {
		for it := parent.Children(); it.Next() && !c.decided() && j.spend(); {
			c.add(it.Value())
		}
		return c
	}
	rows := w.parent(1)
	if rows.Kind() != scan.Array {
		return c
	}
	key := string(w.key(0))
	for it := rows.Children(); it.Next() && !c.decided() && j.spend(); {
		row := it.Value()
		j.budget -= row.Len()
		v, _ := row.Get(key)
		c.add(v)
	}
	return c
}

func (j *rowsJudge) spend() bool {
	j.budget--
	return j.budget > 0
}

// optional decides on a null under a key, of which no row says more.
func (j *rowsJudge) optional(w *walker) bool {
	if j.plan != nil && j.plan.named {
		return true
	}
	for it := w.parent(0).Children(); it.Next() && j.spend(); {
		if v := it.Value(); v.Kind() != scan.Null && (v.Kind() != scan.String || !specialText(v, true)) {
			return true
		}
	}
	return false
}
