package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/scan"
)

// detect checks the detectors. Expressions are compiled by package compile.
func (c *checker) detect(s *subject) {
	d := &s.Value.Spec.Detect
	c.nonFinite(s, d.NonFinite)
	c.chat(s, d)
	if d.Broken != nil {
		c.statuses("spec.detect.broken.statuses", d.Broken.Statuses)
	}
	if conf := d.Confidence; conf != nil {
		if s.protocol != v1alpha1.OpenAI {
			c.documentPath("spec.detect.confidence.value", "response", conf.Value)
		}
		if conf.Min == nil {
			c.fail("spec.detect.confidence.min", "is missing; want the least confidence, 0 to 1")
		} else if !(*conf.Min >= 0 && *conf.Min <= 1) {
			c.fail("spec.detect.confidence.min", "is %v; want 0 to 1", *conf.Min)
		}
	}
	c.outputs(s, d.Outputs)
	c.contract(s, d)
	c.constant(d.Constant)
	seen := map[string]bool{}
	for i := range d.CEL {
		field := fmt.Sprintf("spec.detect.cel[%d]", i)
		c.named(field, d.CEL[i].Name, seen)
		c.expression(field+".expression", d.CEL[i].Expression)
	}
	seen = map[string]bool{}
	for i := range d.Dependencies {
		field := fmt.Sprintf("spec.detect.dependencies[%d]", i)
		c.named(field, d.Dependencies[i].Name, seen)
		c.expression(field+".expression", d.Dependencies[i].Expression)
		c.breaker(field+".breaker", d.Dependencies[i].Breaker)
		if b := d.Dependencies[i].Breaker; b != nil && b.Disabled {
			c.fail(field+".breaker.disabled", "is set, and a dependency is nothing without its breaker; want detect.cel for a mere condition")
		}
	}
	for i := range d.Request {
		c.requestCheck(fmt.Sprintf("spec.detect.request[%d]", i), &d.Request[i])
	}
}

func (c *checker) named(field, name string, seen map[string]bool) {
	switch {
	case name == "":
		c.fail(field+".name", "is missing; want a name for the reason that callers see")
	case !reason(name):
		c.fail(field+".name", "is %s; want letters, digits, -, _ and ., 63 at most", quote(name))
	case seen[name]:
		c.fail(field+".name", "is %s, which stands there already; want one name each", quote(name))
	}
	seen[name] = true
}

func (c *checker) expression(field, text string) {
	if strings.TrimSpace(text) == "" {
		c.fail(field, "is missing; want a CEL condition, such as status == 503")
	}
}

// documentPath checks a path into a request or a response.
func (c *checker) documentPath(field, document, path string) {
	example := map[string]string{"request": "request.inputs[0].data", "response": "response.outputs[0].data"}[document]
	rest, ok := strings.CutPrefix(path, document)
	switch {
	case path == "":
		c.fail(field, "is missing; want a path such as %s", example)
		return
	case !ok || rest != "" && rest[0] != '.' && rest[0] != '[':
		c.fail(field, "is %s; want a path that starts with %s, such as %s", quote(path), document, example)
		return
	case rest == "":
		return // the document itself
	}
	if _, err := scan.ParsePath(strings.TrimPrefix(rest, ".")); err != nil || rest == "." {
		c.fail(field, "is %s, which is no path; want names, [0], [*] and ['a.b'], such as %s", quote(path), example)
	}
}

func (c *checker) nonFinite(s *subject, n *v1alpha1.NonFinite) {
	const field = "spec.detect.nonFinite"
	if n != nil && n.Mode == v1alpha1.Disabled {
		return
	}
	if n != nil {
		for i, p := range n.Paths {
			c.documentPath(fmt.Sprintf("%s.paths[%d]", field, i), "response", p)
		}
	}
	switch {
	case s.protocol == "":
	case s.protocol != v1alpha1.JSON:
		if n != nil && len(n.Paths) > 0 {
			c.fail(field+".paths", "is set, and %s says by itself where its numbers are; remove it", s.protocol)
		}
	case n == nil:
		c.warn(field, "is missing, and nothing of a JSON answer is looked at for NaN; want paths, or mode: Disabled")
	case len(n.Paths) == 0:
		c.fail(field+".paths", "is missing; protocol JSON does not say where its numbers are: want paths such as response.predictions[*].score")
	}
}

func (c *checker) statuses(field string, statuses []int32) {
	for i, status := range statuses {
		at := fmt.Sprintf("%s[%d]", field, i)
		if status < 400 || status > 499 {
			c.fail(at, "is %d; want 400 to 499, since every 5xx fails by itself", status)
		} else if slices.Contains(statuses[:i], status) {
			c.fail(at, "is %d, which stands there already; want each once", status)
		}
	}
}

// hasNamedOutputs: an output needs a name to be found.
func hasNamedOutputs(p v1alpha1.Protocol) bool {
	return p == v1alpha1.OpenInferenceV2 || p == v1alpha1.JSON
}

func (c *checker) outputs(s *subject, outputs []v1alpha1.Output) {
	seen := map[string]bool{}
	for i := range outputs {
		o := &outputs[i]
		field := fmt.Sprintf("spec.detect.outputs[%d]", i)
		switch {
		case o.Name == "" && hasNamedOutputs(s.protocol):
			c.fail(field+".name", "is missing; want the output's name")
		case o.Name != "" && s.protocol == v1alpha1.JSON:
			c.documentPath(field+".name", "response", o.Name)
		}
		if seen[o.Name] {
			c.fail(field+".name", "is %s, which stands there already; want one name each", quote(o.Name))
		}
		seen[o.Name] = true
		c.output(field, o)
	}
}

func (c *checker) output(field string, o *v1alpha1.Output) {
	for i, extent := range o.Shape {
		if extent < -1 {
			c.fail(fmt.Sprintf("%s.shape[%d]", field, i), "is %d; want an extent from 0, or -1 for any", extent)
		}
	}
	c.bounds(field, o.Min, o.Max)
	texts := o.Datatype == "BYTES" || o.Datatype == "BOOL"
	if texts && (o.Min != nil || o.Max != nil) {
		c.fail(field+".min", "and max bound numbers, and the datatype is %s; remove them", o.Datatype)
	}
	if len(o.Labels) > 0 && (strings.Contains(string(o.Datatype), "FP") || strings.HasPrefix(string(o.Datatype), "BF")) {
		c.fail(field+".labels", "is set, and the datatype is %s; want BYTES or a whole number's, or min and max", o.Datatype)
	}
	if len(o.Labels) > 0 && strings.Contains(string(o.Datatype), "INT") {
		for i, l := range o.Labels {
			if !decimal.MatchString(l) {
				c.fail(fmt.Sprintf("%s.labels[%d]", field, i), "is %s, and the datatype is %s; want a whole number", quote(l), o.Datatype)
			}
		}
	}
}

func (c *checker) bounds(field string, least, most *float64) {
	if least != nil && most != nil && *least > *most {
		c.fail(field+".min", "is %v, over max, %v; want at most that", *least, *most)
	}
}

func (c *checker) contract(s *subject, d *v1alpha1.Detect) {
	const field = "spec.detect.contract"
	k := d.Contract
	if k == nil || k.Mode == v1alpha1.Disabled {
		return
	}
	if k.RefuseUnknownOutputs && len(d.Outputs) == 0 && s.protocol != v1alpha1.OpenAI {
		c.fail(field+".refuseUnknownOutputs", "is set, and detect.outputs names none; want the outputs that are known")
	}
	if len(d.Outputs) == 0 && !k.RefuseUnknownOutputs && !k.IDEcho && !k.ModelName && !k.ModelVersion && s.protocol != v1alpha1.OpenAI {
		c.warn(field, "holds answers to nothing; want detect.outputs, idEcho, modelName or modelVersion")
	}
	if s.protocol == "" {
		return
	}
	onlyV2 := []string{string(v1alpha1.OpenInferenceV2)}
	for _, check := range []struct {
		name string
		set  bool
		with []string
	}{
		{"idEcho", k.IDEcho, onlyV2},
		{"modelName", k.ModelName, append(onlyV2, string(v1alpha1.OpenAI))},
		{"modelVersion", k.ModelVersion, onlyV2},
	} {
		if check.set && !slices.Contains(check.with, string(s.protocol)) {
			c.fail(field+"."+check.name, "is set, and answers of %s have no such field; want it with %s only", s.protocol, allOf(check.with))
		}
	}
	if k.ModelVersion && s.protocol == v1alpha1.OpenInferenceV2 && !reportsVersions(s.models) {
		c.fail(field+".modelVersion", "is set, and no version of the model has a reportedVersion; want it in the Model")
	}
}

func reportsVersions(models []*Object[v1alpha1.Model]) bool {
	for _, m := range models {
		for i := range m.Value.Spec.Versions {
			if m.Value.Spec.Versions[i].ReportedVersion != "" {
				return true
			}
		}
	}
	return len(models) == 0
}

func (c *checker) constant(k *v1alpha1.Constant) {
	const field = "spec.detect.constant"
	if k == nil {
		return
	}
	c.within(field+".window", k.Window, time.Second, time.Hour)
	c.count(field+".minRequests", k.MinRequests, 2, mostConstantRequests)
	c.count(field+".minInputs", k.MinInputs, 2, mostConstantInputs)
	requests, inputs := int32(DefaultConstantRequests), int32(DefaultConstantInputs)
	if k.MinRequests != nil {
		requests = *k.MinRequests
	}
	if k.MinInputs != nil {
		inputs = *k.MinInputs
	}
	if inputs > requests {
		c.fail(field+".minInputs", "is %d, over minRequests, %d; want at most that", inputs, requests)
	}
}

// What the constant detector remembers of each version, at the most; package
// detect has the same bounds.
const (
	mostConstantRequests = 1 << 16
	mostConstantInputs   = 1 << 12
)

// Defaults of the constant detector, in answers and different requests.
const (
	DefaultConstantRequests = 50
	DefaultConstantInputs   = 10
)

func (c *checker) requestCheck(field string, r *v1alpha1.RequestCheck) {
	c.documentPath(field+".field", "request", r.Field)
	c.bounds(field, r.Min, r.Max)
	if (r.Min != nil || r.Max != nil) && slices.Contains([]v1alpha1.FieldType{v1alpha1.String, v1alpha1.Boolean, v1alpha1.Object}, r.Type) {
		c.fail(field+".min", "and max bound numbers, and the type is %s; remove them", r.Type)
	}
	if len(r.Values) > 0 && r.Type != "" && r.Type != v1alpha1.String {
		c.fail(field+".values", "is a set of texts, and the type is %s; want String", r.Type)
	}
}
