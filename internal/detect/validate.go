package detect

import (
	"errors"

	"github.com/safestate/safestate/internal/policy"
)

// ValidDefault says what is wrong with a body as a fallback of this policy: nil
// where it has the protocol's form, holds no non-finite value and keeps what
// the policy promises of outputs and names. The error is a reason as answers
// have it, such as "contract_output_missing score". The body's confidence is
// not looked at: a default must not invent one.
func (d *Detector) ValidDefault(body []byte) error {
	return ValidateDefault(d.policy, body)
}

// ValidateDefault is ValidDefault for a policy that is still being made: only
// Protocol, ServedName and Detect.Contract of p are looked at. The error may
// also be one of Compile.
func ValidateDefault(p *policy.Policy, body []byte) error {
	strict := &policy.Policy{
		Protocol:   p.Protocol,
		ServedName: p.ServedName,
		Limits:     policy.Limits{BodyBytes: int64(len(body)) + 1},
		Detect: policy.Detect{
			Broken:    &policy.Broken{Mode: policy.Enforce},
			NonFinite: &policy.NonFinite{Mode: policy.Enforce},
			Contract:  &policy.Contract{Mode: policy.Enforce},
		},
	}
	if n := p.Detect.NonFinite; n != nil {
		strict.Detect.NonFinite.Paths = n.Paths
	}
	if c := p.Detect.Contract; c != nil {
		promised := *c
		promised.Mode, promised.IDEcho, promised.ModelVersion = policy.Enforce, false, false
		strict.Detect.Contract = &promised
	}
	d, err := Compile(strict)
	if err != nil {
		return err
	}
	v := d.Answer(&Exchange{Status: 200, ResponseBody: body})
	if v.Clean() {
		return nil
	}
	return errors.New(v.Failed.Reason())
}
