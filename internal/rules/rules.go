// Package rules is the rung that answers without a model: a decision table of
// CEL conditions that add up to a score, and a template that turns score,
// confidence and reasons into an answer of the protocol's shape. Templates
// serve the safe default too.
package rules

import (
	"math"

	"github.com/safestate/safestate/internal/expr"
	"github.com/safestate/safestate/internal/fault"
	"github.com/safestate/safestate/internal/policy"
)

// unit is what scores are counted in, so that 0.3 + 0.25 + 0.2 + 0.15 is 0.9
// and not 0.8999999999999999.
const unit = 1e9

// maxAdd bounds what one rule adds and the cap, far from overflow in units.
const maxAdd = 1e6

// Table is a compiled decision table. It is immutable and safe for concurrent
// use.
type Table struct {
	rules      []rule
	max        int64 // in units
	confidence float64
	template   *Template
}

type rule struct {
	when   *expr.Program
	add    int64 // in units
	reason string
}

// Compile decodes the conditions and the template of a rung. Adds and the cap
// are finite and within a million, the cap is over 0, the confidence is 0 to 1.
func Compile(r *policy.Rules) (*Table, error) {
	max, ok := units(r.MaxScore)
	if !ok || max <= 0 {
		return nil, fault.Errorf("rules: maxScore is %v, want more than 0 and at most %g", r.MaxScore, maxAdd)
	}
	if !(r.Confidence >= 0 && r.Confidence <= 1) {
		return nil, fault.Errorf("rules: confidence is %v, want 0 to 1", r.Confidence)
	}
	t := &Table{max: max, confidence: r.Confidence}
	for i, s := range r.Score {
		when, err := expr.Decode(s.When)
		if err != nil {
			return nil, fault.Errorf("rules: score[%d] (%s): %w", i, s.Reason, err)
		}
		add, ok := units(s.Add)
		if !ok {
			return nil, fault.Errorf("rules: score[%d] (%s): add is %v, want a number within %g", i, s.Reason, s.Add, maxAdd)
		}
		t.rules = append(t.rules, rule{when, add, s.Reason})
	}
	var err error
	if t.template, err = CompileTemplate(r.Template); err != nil {
		return nil, fault.Errorf("rules: %w", err)
	}
	return t, nil
}

// units rounds to a whole number of units. It is not ok for NaN and for what is
// out of bounds.
func units(f float64) (int64, bool) {
	if !(math.Abs(f) <= maxAdd) {
		return 0, false
	}
	return int64(math.Round(f * unit)), true
}

// Score evaluates the conditions in their order. The score is the sum of what
// holds, at most the cap. A condition that cannot be evaluated is an error: the
// table does not guess.
func (t *Table) Score(env *expr.Env) (score float64, reasons []string, err error) {
	var sum int64
	for i := range t.rules {
		r := &t.rules[i]
		holds, err := r.when.Bool(env)
		if err != nil {
			return 0, nil, fault.Errorf("rules: score[%d] (%s): %w", i, r.reason, err)
		}
		if holds {
			sum += r.add
			reasons = append(reasons, r.reason)
		}
	}
	return float64(min(sum, t.max)) / unit, reasons, nil
}

// Answer appends the filled template to dst. An error means that this rung
// cannot answer: a condition failed, or the template asks for something that
// the request does not have. dst is then as it was.
func (t *Table) Answer(dst []byte, env *expr.Env) ([]byte, error) {
	score, reasons, err := t.Score(env)
	if err != nil {
		return dst, err
	}
	return t.template.Fill(dst, &Values{
		Score:      score,
		Confidence: t.confidence,
		Reasons:    reasons,
		Request:    env.Request,
	})
}
