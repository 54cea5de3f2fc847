package config

import (
	"slices"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

// Logprobs is the only confidence that a completion has.
const Logprobs = "logprobs"

// chat checks the detectors of completions, and refuses for them what only
// other answers have.
func (c *checker) chat(s *subject, d *v1alpha1.Detect) {
	const field = "spec.detect"
	if d.Chat != nil && s.protocol != "" && s.protocol != v1alpha1.OpenAI {
		c.fail(field+".chat", "is set, and answers of %s are no completions; want it with OpenAI only", s.protocol)
	}
	if s.protocol != v1alpha1.OpenAI {
		return
	}
	if len(d.Outputs) > 0 {
		c.fail(field+".outputs", "is set, and a completion has no named outputs; want chat.format, which holds content to the request's response_format")
	}
	if k := d.Constant; k != nil && k.Mode != v1alpha1.Disabled {
		c.fail(field+".constant", "is set, and a completion is no prediction that could repeat itself; remove it")
	}
	if k := d.Contract; k != nil && k.Mode != v1alpha1.Disabled && k.RefuseUnknownOutputs {
		c.fail(field+".contract.refuseUnknownOutputs", "is set, and a completion has no named outputs; remove it")
	}
	if slices.ContainsFunc(d.CEL, func(e v1alpha1.Expression) bool { return e.Mode != v1alpha1.Disabled }) {
		c.warn(field+".cel", "is over whole answers, and no stream is held to it; want chat, confidence or contract for what streams have to keep")
	}
	k := d.Confidence
	if k == nil {
		return
	}
	if k.Value != Logprobs {
		c.fail(field+".confidence.value", "is %s; want %s, the only confidence that a completion has", quote(k.Value), Logprobs)
	}
	if k.Aggregate != "" && !slices.Contains([]v1alpha1.Aggregate{v1alpha1.Min, v1alpha1.Mean}, k.Aggregate) {
		c.fail(field+".confidence.aggregate", "is %s; want Min or Mean of the tokens' probabilities", k.Aggregate)
	}
}
