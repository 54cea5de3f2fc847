package compile

import (
	"slices"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/policy"
)

// duplex adds what only answers have that come in pieces: those of OpenAI, and
// of gRPC. The request's body is always asked for: it says whether a stream is
// wanted, and the ladder as an upstream has nothing else to answer from.
func (c *compiler) duplex(p *config.Object[v1alpha1.FailSafePolicy], rule *config.Rule, out *policy.Policy) {
	spec := &p.Value.Spec
	switch out.Protocol {
	case policy.OpenAI:
		out.Stream = stream(spec, rule)
		out.Detect.Chat = chat(spec.Detect.Chat)
		if out.Detect.Contract == nil && spec.Detect.Contract != nil {
			if m, on := mode(spec.Detect.Contract.Mode); on {
				out.Detect.Contract = &policy.Contract{Mode: m} // the chunks of a stream belong together
			}
		}
	case policy.OpenInferenceGRPC:
		if spec.GRPCLastRung == v1alpha1.GRPCAnswer {
			out.GRPCLastRung = policy.LastRungAnswer
		}
		out.Ladder = c.overGRPC(p, out.Ladder)
	default:
		return
	}
	out.Needs = policy.Needs{RequestBody: true, Duplex: true}
}

// stream is bounded by the route's own request timeout too, so that what ends
// it is an error event and not the proxy.
func stream(spec *v1alpha1.FailSafePolicySpec, rule *config.Rule) *policy.Stream {
	b := config.Stream(spec)
	whole := least(b.MaxDuration, config.RequestTimeout(rule))
	return &policy.Stream{
		FirstToken:    policy.Duration(b.FirstToken),
		BetweenTokens: policy.Duration(min(b.BetweenTokens, whole)),
		MaxDuration:   policy.Duration(whole),
		HoldBytes:     b.HoldBytes,
	}
}

func chat(k *v1alpha1.Chat) *policy.Chat {
	if k == nil {
		k = &v1alpha1.Chat{}
	}
	choices := k.Choices
	if choices == nil {
		choices = &v1alpha1.ChatCheck{}
	}
	return &policy.Chat{
		Refusal:       chatMode(k.Refusal),
		ContentFilter: chatMode(k.ContentFilter),
		Choices:       chatMode(choices),
		Format:        chatMode(k.Format),
	}
}

// chatMode is empty, off, for a check that is not there.
func chatMode(k *v1alpha1.ChatCheck) policy.Mode {
	if k == nil {
		return ""
	}
	m, _ := mode(k.Mode)
	return m
}

// overGRPC returns the ladder with its fallback asked over gRPC: by the call's
// own method, at the port for it, and without a probe, which is a GET. The
// ladder of a policy is shared by its routes, so what changes is copied.
func (c *compiler) overGRPC(p *config.Object[v1alpha1.FailSafePolicy], ladder []policy.Rung) []policy.Rung {
	ladder = slices.Clone(ladder)
	for i := range ladder {
		if ladder[i].Fallback == nil {
			continue
		}
		own := *ladder[i].Fallback
		own.Protocol, own.Path, own.Probe = policy.OpenInferenceGRPC, "", nil
		for j := range p.Value.Spec.Ladder {
			if f := p.Value.Spec.Ladder[j].Fallback; f != nil {
				if m, v := c.fallbackVersion(p.Namespace, f); v != nil {
					own.Endpoints = endpoints(m.Namespace, v, true)
				}
			}
		}
		ladder[i].Fallback = &own
	}
	return ladder
}
