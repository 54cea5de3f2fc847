package compile

import (
	"fmt"
	"strings"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/celc"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/policy"
)

// mode reads a detector's mode; false: it is off.
func mode(m v1alpha1.Mode) (policy.Mode, bool) {
	switch m {
	case v1alpha1.Disabled:
		return "", false
	case v1alpha1.Observe:
		return policy.Observe, true
	}
	return policy.Enforce, true
}

func (c *compiler) detect(p *config.Object[v1alpha1.FailSafePolicy]) policy.Detect {
	d := &p.Value.Spec.Detect
	out := policy.Detect{
		NonFinite:  nonFinite(d.NonFinite),
		Broken:     broken(d.Broken),
		Late:       late(d.Late),
		Confidence: confidence(d.Confidence),
		Contract:   contract(d),
		Constant:   constant(d.Constant),
	}
	for i := range d.CEL {
		e := &d.CEL[i]
		program := c.expression(p.Source, fmt.Sprintf("spec.detect.cel[%d].expression", i), e.Expression)
		if m, on := mode(e.Mode); on {
			out.CEL = append(out.CEL, policy.Expression{Mode: m, Name: e.Name, Program: program})
		}
	}
	for i := range d.Dependencies {
		e := &d.Dependencies[i]
		program := c.expression(p.Source, fmt.Sprintf("spec.detect.dependencies[%d].expression", i), e.Expression)
		if m, on := mode(e.Mode); on {
			out.Dependencies = append(out.Dependencies, dependency(e, m, program))
		}
	}
	for i := range d.Request {
		if m, on := mode(d.Request[i].Mode); on {
			out.Request = append(out.Request, requestCheck(&d.Request[i], m))
		}
	}
	return out
}

// expression compiles a CEL condition; nil: it was wrong, and said so.
func (c *compiler) expression(source *config.Source, field, text string) policy.Program {
	if strings.TrimSpace(text) == "" {
		return nil // reported by validation
	}
	wire, err := celc.Compile(text)
	if err != nil {
		// what the grammar would have taken is a list of its tokens: of no use
		text, _, _ := strings.Cut(err.Error(), " expecting {")
		c.fail(source, field, "at %s", text)
		return nil
	}
	return policy.Program(wire)
}

func dependency(e *v1alpha1.Dependency, m policy.Mode, program policy.Program) policy.Dependency {
	out := policy.Dependency{Mode: m, Name: e.Name, Program: program}
	if b := breaker(e.Breaker); b != nil {
		out.Breaker = *b
	}
	return out
}

func nonFinite(n *v1alpha1.NonFinite) *policy.NonFinite {
	if n == nil {
		n = &v1alpha1.NonFinite{}
	}
	m, on := mode(n.Mode)
	if !on {
		return nil
	}
	return &policy.NonFinite{Mode: m, Paths: n.Paths}
}

func broken(b *v1alpha1.Broken) *policy.Broken {
	if b == nil {
		b = &v1alpha1.Broken{}
	}
	m, on := mode(b.Mode)
	if !on {
		return nil
	}
	out := &policy.Broken{Mode: m}
	for _, status := range b.Statuses {
		out.Statuses = append(out.Statuses, int(status))
	}
	return out
}

func late(l *v1alpha1.Late) *policy.Late {
	if l == nil {
		l = &v1alpha1.Late{}
	}
	m, on := mode(l.Mode)
	if !on {
		return nil
	}
	return &policy.Late{Mode: m}
}

func confidence(k *v1alpha1.Confidence) []policy.Confidence {
	if k == nil {
		return nil
	}
	m, on := mode(k.Mode)
	if !on {
		return nil
	}
	aggregate := policy.AggregateMin
	if k.Aggregate != "" {
		aggregate = policy.Aggregate(strings.ToLower(string(k.Aggregate)))
	}
	return []policy.Confidence{{Mode: m, Value: k.Value, Aggregate: aggregate, Min: or(k.Min, 0)}}
}

// contract is on where it has something to hold answers to.
func contract(d *v1alpha1.Detect) *policy.Contract {
	k := d.Contract
	if k == nil {
		k = &v1alpha1.Contract{}
	}
	m, on := mode(k.Mode)
	if !on || len(d.Outputs) == 0 && !k.IDEcho && !k.ModelName && !k.ModelVersion {
		return nil
	}
	out := &policy.Contract{
		Mode:           m,
		UnknownOutputs: k.RefuseUnknownOutputs,
		IDEcho:         k.IDEcho,
		ModelName:      k.ModelName,
		ModelVersion:   k.ModelVersion,
	}
	for i := range d.Outputs {
		o := &d.Outputs[i]
		out.Outputs = append(out.Outputs, policy.Output{
			Name:     o.Name,
			Datatype: string(o.Datatype),
			Shape:    o.Shape,
			Min:      o.Min,
			Max:      o.Max,
			Labels:   o.Labels,
			Optional: o.Optional,
		})
	}
	return out
}

func constant(k *v1alpha1.Constant) *policy.Constant {
	if k == nil {
		return nil
	}
	m, on := mode(k.Mode)
	if !on {
		return nil
	}
	return &policy.Constant{
		Mode:        m,
		Window:      policy.Duration(config.Interval(k.Window, defaultConstantWindow)),
		MinRequests: int(or(k.MinRequests, config.DefaultConstantRequests)),
		MinInputs:   int(or(k.MinInputs, config.DefaultConstantInputs)),
	}
}

func requestCheck(r *v1alpha1.RequestCheck, m policy.Mode) policy.RequestCheck {
	return policy.RequestCheck{
		Mode:     m,
		Field:    r.Field,
		Required: r.Required,
		Type:     strings.ToLower(string(r.Type)),
		Nullable: r.Nullable,
		Min:      r.Min,
		Max:      r.Max,
		Values:   r.Values,
		OnFail:   act(r.OnFail),
	}
}
