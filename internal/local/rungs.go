package local

import (
	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/rules"
)

// Table answers from a policy's decision table over the request. It is immutable
// and safe for concurrent use.
type Table struct {
	table    *rules.Table
	detector *detect.Detector
	status   int
}

// NewTable compiles the decision table of a rung.
func NewTable(cfg *policy.Rules, d *detect.Detector) (*Table, error) {
	table, err := rules.Compile(cfg)
	if err != nil {
		return nil, err
	}
	return &Table{table: table, detector: d, status: orOK(cfg.Status)}, nil
}

// Answer answers x's request. ok is false where an expression cannot be evaluated
// on it: a score that some conditions did not see is a guess.
func (t *Table) Answer(x *detect.Exchange) (a Answer, ok bool) {
	body, err := t.table.Answer(nil, t.detector.Env(x))
	if err != nil {
		return Answer{}, false
	}
	return Answer{Source: Rules, Status: t.status, ContentType: TypeJSON, Body: echoed(t.detector, x, body)}, true
}

// Default answers every request with a policy's safe default. It is immutable and
// safe for concurrent use.
type Default struct {
	static   Answer
	template *rules.Template  // nil: none
	detector *detect.Detector // reads the request for the template
}

// NewDefault compiles a safe default. What it refreshes from elsewhere is the
// caller's matter.
func NewDefault(cfg *policy.SafeDefault, d *detect.Detector) (*Default, error) {
	out := &Default{detector: d, static: Answer{
		Source: SafeDefault, Status: orOK(cfg.Status), ContentType: cfg.ContentType, Body: []byte(cfg.Body),
	}}
	if out.static.ContentType == "" {
		out.static.ContentType = TypeJSON
	}
	if cfg.Template == "" {
		return out, nil
	}
	t, err := rules.CompileTemplate(cfg.Template)
	if err != nil {
		return nil, err
	}
	out.template = t
	return out, nil
}

// Answer answers x's request with the filled template, or with the static body
// where there is no template or it cannot be filled.
func (d *Default) Answer(x *detect.Exchange) Answer {
	if d.template != nil {
		if body, err := d.template.Fill(nil, &rules.Values{Request: d.detector.Env(x).Request}); err == nil {
			return d.With(x, body)
		}
	}
	return d.With(x, d.static.Body)
}

// With answers x's request with a body that was made elsewhere.
func (d *Default) With(x *detect.Exchange, body []byte) Answer {
	a := d.static
	a.Body = echoed(d.detector, x, body)
	return a
}

// echoed returns a body with the request's id in it, where the protocol echoes
// ids and the request was read and has one: a caller that matches answers to
// requests by it would drop the answer otherwise. Else, and where the body
// cannot carry one, it is the body as it is.
func echoed(d *detect.Detector, x *detect.Exchange, body []byte) []byte {
	if d.RequestID(x) == nil {
		return body
	}
	return d.EchoID(x, body)
}
