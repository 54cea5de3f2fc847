package detect

import (
	"github.com/safestate/safestate/internal/expr"
	"github.com/safestate/safestate/internal/verdict"
)

// checkConditions evaluates the policy's CEL expressions over a clean answer. A
// condition that cannot be evaluated is a finding of its own: an enforced one
// that nobody could check fails the answer.
func (t *plan) checkConditions(env *expr.Env, v *verdict.Verdict) {
	for i := range t.conditions {
		c := &t.conditions[i]
		holds, err := c.program.Bool(env)
		switch {
		case err != nil:
			v.Add(found(c.mode, verdict.CELError, c.name))
		case holds:
			v.Add(found(c.mode, verdict.CELTrue, c.name))
		}
	}
}

// blame finds the first enforced dependency whose condition holds, and the
// observed ones before it. An expression that cannot be evaluated blames
// nobody: answers that are errors have bodies of any kind.
func (t *plan) blame(env *expr.Env, v *verdict.Verdict) {
	for i := range t.dependencies {
		c := &t.dependencies[i]
		if holds, err := c.program.Bool(env); err == nil && holds {
			f := found(c.mode, verdict.DependencyFailed, c.name)
			f.Dependency = c.name
			v.Add(f)
			if f.Enforced {
				return
			}
		}
	}
}
