package detect

import (
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/time"
	"github.com/safestate/safestate/internal/verdict"
)

// Headers judges what status, headers and code details alone decide: local
// replies, errors, redirects, an empty or an oversized body, a content-type or
// content-encoding that cannot be the protocol's. decided is false where the
// body is needed; v is then empty, and Answer says it all.
//
// A decided verdict may be clean: another filter's reply, a caller's own error
// (v.Pass says which), or a failure that is only observed. An error whose body
// is declared over the limit is decided as Unread has it: nobody will read why.
func (d *Detector) Headers(x *Exchange) (v verdict.Verdict, decided bool) {
	t := d.own
	length := ContentLength(x.ResponseHeaders)
	h := t.judgeHead(x.Status, x.CodeDetails, x.ResponseHeaders, length, d.mayStream(x))
	switch {
	case h.failure && length > t.bodyBytes:
		return d.Unread(x), true
	case h.failure && (len(t.dependencies) > 0 || len(t.conditions) > 0 && !h.finding.Enforced):
		return v, false // the body may say why it failed
	case h.end || h.finding.Enforced:
		v.Pass = h.pass
		v.Add(h.finding)
		return v, true
	}
	return v, false
}

// Unread judges an answer whose body is over the limit, or is not going to be
// read for another reason: by code details and status first, so that an error
// stays one whatever its size, with the dependencies and conditions that need
// no body; and an answer that claims to be one by the policy's rule for answers
// over the limit (v.Pass is then ResponseOverLimit, or the finding is
// BrokenTooLarge under the mode of unreadable bodies).
func (d *Detector) Unread(x *Exchange) (v verdict.Verdict) {
	t := d.own
	h := t.judgeStatus(x.Status, x.CodeDetails)
	if !h.end {
		h = t.over(ContentLength(x.ResponseHeaders))
	}
	switch {
	case h.pass != verdict.Judged:
		v.Pass = h.pass
	case h.failure:
		d.explain(x, t, &x.response, x.Status, x.ResponseHeaders, h.finding, &v)
	default:
		v.Add(h.finding)
	}
	return v
}

// Answer judges the whole answer of the model that was asked, and counts it as
// evidence of a constant model. Call it once for each exchange. A clean answer
// costs no allocation once x has been used before.
func (d *Detector) Answer(x *Exchange) verdict.Verdict {
	v := d.judge(x, d.own, &x.response, x.Status, x.CodeDetails, x.ResponseHeaders, x.ResponseBody)
	if learns && d.constant != nil && v.Clean() && v.Pass == verdict.Judged && x.response.read && !x.response.failure.found() {
		v.Add(d.constant.observe(x, d.own, time.Now()))
	}
	return v
}

// Fallback judges the answer that a fallback model gave to x's request: by the
// same detectors, with the fallback's protocol, served name and size limit. An
// answer that is none (any status but 2xx, unreadable, an error object) fails
// whatever the mode of the broken detector: nobody is served by passing it on.
// It is no evidence on a constant model or on a dependency. fb must be one of
// the policy's own rungs.
func (d *Detector) Fallback(x *Exchange, fb *policy.Fallback, status int, h Headers, body []byte) verdict.Verdict {
	x.fallback.reset()
	for i := range d.fallbacks {
		if f := &d.fallbacks[i]; f.of == fb || f.of.Model == fb.Model && f.of.Version == fb.Version {
			return d.judge(x, f.plan, &x.fallback, status, "", h, body)
		}
	}
	t, err := newFallbackPlan(d.policy, fb)
	if err != nil {
		return verdict.Verdict{Failed: found(policy.Enforce, verdict.BrokenForm, "protocol")}
	}
	return d.judge(x, t, &x.fallback, status, "", h, body)
}

// judge is the flow: head, body, then every detector, so that each counts what
// it finds; the first enforced finding fails the answer.
func (d *Detector) judge(x *Exchange, t *plan, s *side, status int, details string, h Headers, body []byte) (v verdict.Verdict) {
	top := t.judgeHead(status, details, h, int64(len(body)), false)
	if top.pass != verdict.Judged {
		v.Pass = top.pass
		return v
	}
	if top.end {
		if top.failure {
			d.explain(x, t, answerSide(s, t.protocol, h, body), status, h, top.finding, &v)
			return v
		}
		v.Add(top.finding)
		return v
	}
	answerSide(s, t.protocol, h, body)
	if len(t.dependencies) > 0 {
		t.blame(d.env(x, s, status, h), &v)
	}
	v.Add(top.finding)
	if s.failure.found() {
		v.Add(t.readable(s))
		return v
	}
	m := &s.message
	if t.protocol == policy.OpenAI {
		d.judgeChat(x, t, m, &v)
	} else {
		t.judgeOutputs(x, m, &v)
	}
	if len(t.conditions) > 0 {
		t.checkConditions(d.env(x, s, status, h), &v)
	}
	return v
}

// judgeOutputs looks at what an answer predicts.
func (t *plan) judgeOutputs(x *Exchange, m *protocol.Message, v *verdict.Verdict) {
	v.Add(t.errorObject(m))
	v.Add(t.findOverlong(m))
	v.Add(t.findDuplicate(m))
	v.Add(t.findNonFinite(m))
	v.Add(t.checkOutputs(x, m))
	v.Add(t.checkIdentity(x, m))
	for i := range t.confidences {
		v.Add(t.confidences[i].check(t, m))
	}
}

// explain judges an error status: by the dependencies that may have caused it,
// and where it is not enforced by the conditions over status and headers, of
// which those that want another body say nothing.
func (d *Detector) explain(x *Exchange, t *plan, s *side, status int, h Headers, finding verdict.Finding, v *verdict.Verdict) {
	if len(t.dependencies) > 0 {
		t.blame(d.env(x, s, status, h), v)
	}
	v.Add(finding)
	if finding.Enforced || len(t.conditions) == 0 {
		return
	}
	env := d.env(x, s, status, h)
	for i := range t.conditions {
		if holds, err := t.conditions[i].program.Bool(env); err == nil && holds {
			v.Add(found(t.conditions[i].mode, verdict.CELTrue, t.conditions[i].name))
		}
	}
}
