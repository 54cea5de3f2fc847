package detect

import (
	"errors"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
)

// ValidDefault says what is wrong with a body as a fallback of this policy: nil
// where it has the protocol's form, holds no non-finite value and keeps what
// the policy promises of outputs and names. Behind a GRPCRoute that form is the
// JSON of Open Inference V2, and a gRPC message can be made of it. A completion
// is a whole chat.completion, whatever will be made of it, and may name any model:
// a default must not claim to be the one that failed. The error is a reason as
// answers have it, such as "contract_output_missing score". The body's
// confidence is not looked at: a default must not invent one.
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
			Chat:      &policy.Chat{ContentFilter: policy.Enforce, Choices: policy.Enforce},
		},
	}
	if n := p.Detect.NonFinite; n != nil {
		strict.Detect.NonFinite.Paths = n.Paths
	}
	if c := p.Detect.Contract; c != nil {
		promised := *c
		promised.Mode, promised.IDEcho, promised.ModelVersion = policy.Enforce, false, false
		promised.ModelName = promised.ModelName && p.Protocol != policy.OpenAI
		strict.Detect.Contract = &promised
	}
	grpc := p.Protocol == policy.OpenInferenceGRPC
	if grpc {
		strict.Protocol = policy.OpenInferenceV2
	}
	d, err := Compile(strict)
	if err != nil {
		return err
	}
	v := d.Answer(&Exchange{Status: 200, ResponseBody: body})
	if !v.Clean() {
		return errors.New(v.Failed.Reason())
	}
	if grpc {
		_, err = protocol.ToGRPC(nil, body, nil, protocol.Options{})
	}
	return err
}
