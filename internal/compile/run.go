package compile

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/rules"
)

// run makes of every compiled policy what a host makes of it, so that no
// configuration is valid here and refused there. It is for worlds without any
// other mistake: what is wrong in the objects is said better by what found it.
func (c *compiler) run(s *Snapshot) {
	rules := c.world.Rules()
	for i := range rules {
		attached := c.world.PoliciesFor(&rules[i])
		if len(attached) == 0 {
			continue
		}
		if p := policyOf(s.Routes, rules[i].Label()); p != nil {
			c.runPolicy(attached[0], p)
		}
	}
	c.runInbound(s)
}

func policyOf(routes []Route, name string) *policy.Policy {
	for i := range routes {
		if routes[i].Name == name {
			return routes[i].Policy
		}
	}
	return nil
}

func (c *compiler) runPolicy(object *config.Object[v1alpha1.FailSafePolicy], p *policy.Policy) {
	if _, err := detect.Compile(p); err != nil {
		field, text := fieldOf(&object.Value.Spec, err.Error())
		c.fail(object.Source, field, "cannot be run: %s", text)
	}
	for i := range p.Ladder {
		field := fmt.Sprintf("spec.ladder[%d]", i)
		if r := p.Ladder[i].Rules; r != nil {
			if _, err := rules.Compile(r); err != nil {
				c.fail(object.Source, field+".rules", "cannot be run: %s", strings.TrimPrefix(err.Error(), "rules: "))
			}
		}
		if d := p.Ladder[i].SafeDefault; d != nil && p.Needs.Duplex {
			c.runDefault(object.Source, field+".safeDefault.body", p, d)
		}
		if d := p.Ladder[i].SafeDefault; d != nil && d.Template != "" {
			if _, err := rules.CompileTemplate(d.Template); err != nil {
				c.fail(object.Source, field+".safeDefault.template", "cannot be run: %s", strings.TrimPrefix(err.Error(), "template: "))
			}
		}
	}
}

// runDefault holds a default to its policy's own detection, and for gRPC makes
// a message of it. A default is of no model, so it has no served name.
func (c *compiler) runDefault(source *config.Source, field string, p *policy.Policy, d *policy.SafeDefault) {
	own := *p
	if k := p.Detect.Contract; k != nil {
		unnamed := *k
		unnamed.ModelName = false
		own.Detect.Contract = &unnamed
	}
	if err := detect.ValidateDefault(&own, []byte(d.Body)); err != nil {
		c.fail(source, field, "cannot be answered with: %v; want a body that passes the policy's own detection", err)
	}
}

// fieldOf splits an error of package detect after the field that it begins
// with, and finds that field in the object. An error without one is the whole
// detect's.
func fieldOf(spec *v1alpha1.FailSafePolicySpec, text string) (field, rest string) {
	named, rest, ok := strings.Cut(text, ": ")
	switch {
	case !ok:
		return "spec.detect", text
	case strings.HasPrefix(named, "ladder["):
		return "spec." + named, rest
	case !strings.HasPrefix(named, "detect."):
		return "spec.detect", text
	}
	named, name, _ := strings.Cut(named, " ") // a condition's name
	if name != "" {
		rest = name + ": " + rest
	}
	list, tail, ok := strings.Cut(strings.TrimPrefix(named, "detect."), "[")
	if !ok {
		return "spec." + named, rest
	}
	digits, below, _ := strings.Cut(tail, "]")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return "spec.detect", text
	}
	switch list {
	case "confidence": // the object has one
		return "spec.detect.confidence" + below, rest
	case "contract.outputs":
		list = "outputs"
	default:
		n = written(spec, list, n)
	}
	return fmt.Sprintf("spec.detect.%s[%d]%s", list, n, below), rest
}

// written returns the place in the object of the n-th item of a list of
// detectors: what is disabled is not in the policy.
func written(spec *v1alpha1.FailSafePolicySpec, list string, n int) int {
	var modes []v1alpha1.Mode
	switch list {
	case "cel":
		for i := range spec.Detect.CEL {
			modes = append(modes, spec.Detect.CEL[i].Mode)
		}
	case "dependencies":
		for i := range spec.Detect.Dependencies {
			modes = append(modes, spec.Detect.Dependencies[i].Mode)
		}
	case "request":
		for i := range spec.Detect.Request {
			modes = append(modes, spec.Detect.Request[i].Mode)
		}
	}
	for i, m := range modes {
		if m == v1alpha1.Disabled {
			continue
		}
		if n == 0 {
			return i
		}
		n--
	}
	return n
}
