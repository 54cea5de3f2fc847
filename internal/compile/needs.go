package compile

import (
	"regexp"
	"slices"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/rules"
)

// requestWord finds the variable request in an expression, and not
// request_headers. In a text inside the expression it is found too, which
// costs a message and nothing else.
var requestWord = regexp.MustCompile(`\brequest\b`)

// readsRequest reports whether anything in a policy looks at a request's body,
// so that routes that need not send it to the processor do not.
func readsRequest(spec *v1alpha1.FailSafePolicySpec) bool {
	return detectReadsRequest(&spec.Detect) ||
		spec.Mode == v1alpha1.PolicyEnforce && slices.ContainsFunc(spec.Ladder, rungReadsRequest)
}

func detectReadsRequest(d *v1alpha1.Detect) bool {
	if k := d.Contract; k != nil && k.IDEcho && k.Mode != v1alpha1.Disabled {
		return true
	}
	if k := d.Constant; k != nil && k.Mode != v1alpha1.Disabled {
		return true // it counts different requests
	}
	return slices.ContainsFunc(d.Request, func(r v1alpha1.RequestCheck) bool { return r.Mode != v1alpha1.Disabled }) ||
		slices.ContainsFunc(d.CEL, func(e v1alpha1.Expression) bool {
			return e.Mode != v1alpha1.Disabled && requestWord.MatchString(e.Expression)
		}) ||
		slices.ContainsFunc(d.Dependencies, func(e v1alpha1.Dependency) bool {
			return e.Mode != v1alpha1.Disabled && requestWord.MatchString(e.Expression)
		})
}

// rungReadsRequest: a cache needs the request for its key, a fallback to send
// it on.
func rungReadsRequest(r v1alpha1.Rung) bool {
	switch {
	case r.Cache != nil, r.Fallback != nil:
		return true
	case r.Rules != nil:
		return templateReadsRequest(r.Rules.Template) ||
			slices.ContainsFunc(r.Rules.Score, func(s v1alpha1.ScoreRule) bool { return requestWord.MatchString(s.When) })
	case r.SafeDefault != nil:
		return templateReadsRequest(r.SafeDefault.Template)
	}
	return false
}

func templateReadsRequest(text string) bool {
	t, err := rules.CompileTemplate(text)
	return err == nil && t.NeedsRequest() // what is wrong with it is reported where it is compiled
}
