package detect

import (
	"errors"

	"github.com/safestate/safestate/internal/expr"
	"github.com/safestate/safestate/internal/fault"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/verdict"
)

// Detector judges the exchanges of one policy. It is safe for concurrent use;
// the Exchanges are not. All its state that changes is the window of the
// constant-answer detector.
type Detector struct {
	policy    *policy.Policy
	own       *plan
	fallbacks []fallbackPlan
	checks    []requestCheck
	constant  *constant // nil: off
}

type fallbackPlan struct {
	of   *policy.Fallback
	plan *plan
}

// ErrProtocol is wrapped by Compile for a protocol that this build does not
// read.
var ErrProtocol = errors.New("detect: a protocol this build does not read")

// Compile makes a policy's detector. p must not change afterwards. The error
// names the field of the policy that cannot be used.
func Compile(p *policy.Policy) (*Detector, error) {
	own, err := newPlan(p, p.Protocol, p.ServedName)
	if err != nil {
		return nil, err
	}
	d := &Detector{policy: p, own: own}
	for i := range p.Ladder {
		fb := p.Ladder[i].Fallback
		if fb == nil {
			continue
		}
		plan, err := newFallbackPlan(p, fb)
		if err != nil {
			return nil, fault.Errorf("ladder[%d].fallback: %w", i, err)
		}
		d.fallbacks = append(d.fallbacks, fallbackPlan{of: fb, plan: plan})
	}
	if d.checks, err = newRequestChecks(p.Detect.Request); err != nil {
		return nil, err
	}
	if p.Detect.Constant != nil && learns {
		if d.constant, err = newConstant(p.Detect.Constant); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Inference reports whether a request is an inference call of the policy's
// protocol. Others (metadata, health, readiness, a CORS preflight) are to be
// left alone, untagged and uncounted.
func (d *Detector) Inference(method, path string) bool {
	return protocol.Inference(d.policy.Protocol, method, path)
}

// Env returns what expressions and templates see of the exchange, each body
// parsed on first use. A body that has not been seen, or is no JSON, does not
// exist in it. It is valid until x is Reset or asked for again.
func (d *Detector) Env(x *Exchange) *expr.Env {
	response := &x.response
	if response.read || len(x.ResponseBody) > 0 {
		response = answerSide(response, d.own.protocol, x.ResponseHeaders, x.ResponseBody)
	}
	return d.env(x, response, x.Status, x.ResponseHeaders)
}

func (d *Detector) env(x *Exchange, response *side, status int, h Headers) *expr.Env {
	x.env = expr.Env{
		Request:  requestSide(x, d.policy.Protocol).root(),
		Response: response.root(),
		Status:   status,
	}
	if x.RequestHeaders != nil {
		x.env.RequestHeaders = x.RequestHeaders
	}
	if h != nil {
		x.env.ResponseHeaders = h
	}
	return &x.env
}

// found is a finding under a mode; the zero mode means that the detector is
// off, and gives none.
//
//go:noinline // it is rare, and at ninety places
func found(mode policy.Mode, code verdict.Code, detail string) verdict.Finding {
	if mode == "" {
		return verdict.Finding{}
	}
	return verdict.Finding{Code: code, Detail: detail, Enforced: mode.Enforces()}
}
