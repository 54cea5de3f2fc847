package detect

import (
	"math"
	"strconv"

	"github.com/safestate/safestate/internal/fault"
	"github.com/safestate/safestate/internal/inflate"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/verdict"
)

// requestCheck is one check of a request's field, compiled.
type requestCheck struct {
	cfg      *policy.RequestCheck
	path     scan.Path
	text     string // the field in reasons
	min, max float64
	bounded  bool
	values   map[string]struct{}
}

func newRequestChecks(list []policy.RequestCheck) ([]requestCheck, error) {
	var checks []requestCheck
	for i := range list {
		c := requestCheck{cfg: &list[i], min: math.Inf(-1), max: math.Inf(1)}
		var err error
		if c.path, err = pathFrom("request", c.cfg.Field); err != nil {
			return nil, fault.Errorf("detect.request[%d].field: %w", i, err)
		}
		c.text = pathText(c.path)
		switch c.cfg.Type {
		case "", "number", "integer", "string", "boolean", "array", "object":
		default:
			return nil, fault.Errorf("detect.request[%d].type: %q is none of number, integer, string, boolean, array and object", i, c.cfg.Type)
		}
		if c.cfg.Min != nil {
			c.bounded, c.min = true, *c.cfg.Min
		}
		if c.cfg.Max != nil {
			c.bounded, c.max = true, *c.cfg.Max
		}
		if len(c.cfg.Values) > 0 {
			c.values = make(map[string]struct{}, len(c.cfg.Values))
			for _, v := range c.cfg.Values {
				c.values[v] = struct{}{}
			}
		}
		checks = append(checks, c)
	}
	return checks, nil
}

// Request checks a request before the model is asked. v.Failed is the first
// enforced finding whose act is to answer or to reject, and v.Failed.Act says
// which; findings that pass are among v.Observed. v.Pass is RequestOverLimit
// where the body is over the limit and the policy lets it pass unread, and
// Judged otherwise. A body that the host has not seen is not judged.
//
// A body that cannot be read fails every check that needs it; the act is the
// strictest of the checks', a refusal before an answer before a pass.
func (d *Detector) Request(x *Exchange) (v verdict.Verdict) {
	if !x.RequestBodySeen || len(d.checks) == 0 {
		return v
	}
	if f := d.requestSize(int64(len(x.RequestBody))); f.Found() {
		if f.Act == policy.ActPass {
			v.Pass = verdict.RequestOverLimit
			return v
		}
		addRequest(&v, f)
		return v
	}
	if kind := header(x.RequestHeaders, "content-type"); !protocol.Charset(kind) {
		addRequest(&v, d.requestFailure(verdict.RequestEncoding, "content-type "+quoted([]byte(kind))))
		return v
	}
	s := requestSide(x, d.policy.Protocol)
	if f := s.failure; f.found() && !f.wellFormed {
		addRequest(&v, d.unreadableRequest(x, f))
		return v
	}
	root := s.root()
	for i := range d.checks {
		c := &d.checks[i]
		if code, detail := c.check(root); code != "" {
			addRequest(&v, requestFinding(c.cfg.Mode, c.cfg.OnFail, code, detail))
		}
	}
	return v
}

// RequestHeaders judges what a request's headers alone decide: a declared
// length over the limit, and a content-encoding that cannot be read. decided
// is false where the body is needed, or nothing is checked.
func (d *Detector) RequestHeaders(x *Exchange) (v verdict.Verdict, decided bool) {
	if len(d.checks) == 0 {
		return v, false
	}
	if f := d.requestSize(ContentLength(x.RequestHeaders)); f.Found() {
		if f.Act == policy.ActPass {
			v.Pass = verdict.RequestOverLimit
			return v, true
		}
		addRequest(&v, f)
		return v, !v.Clean()
	}
	if encoding := header(x.RequestHeaders, "content-encoding"); !inflate.Known(encoding) {
		addRequest(&v, d.requestFailure(verdict.RequestEncoding, "content-encoding "+quoted([]byte(encoding))))
	}
	return v, !v.Clean()
}

// addRequest adds a finding; one that passes never fails the request.
func addRequest(v *verdict.Verdict, f verdict.Finding) {
	if f.Act == policy.ActPass && f.Found() {
		v.Observed = append(v.Observed, f)
		return
	}
	v.Add(f)
}

func requestFinding(mode policy.Mode, act policy.Act, code verdict.Code, detail string) verdict.Finding {
	f := found(mode, code, detail)
	if act == policy.ActPass {
		f.Enforced = false
	}
	f.Act = act
	return f
}

// requestFailure is a finding on the body as a whole, under the strictest mode
// and act of the checks that could not be made.
func (d *Detector) requestFailure(code verdict.Code, detail string) verdict.Finding {
	var mode policy.Mode
	act := policy.ActPass
	for i := range d.checks {
		c := d.checks[i].cfg
		switch {
		case mode != "" && mode.Enforces() && !c.Mode.Enforces():
			continue
		case mode == "" || c.Mode.Enforces() && !mode.Enforces():
			mode, act = c.Mode, c.OnFail
			continue
		}
		if c.OnFail == policy.ActReject || act == policy.ActPass {
			act = c.OnFail
		}
	}
	return requestFinding(mode, act, code, detail)
}

// requestSize finds a body over the limit; the policy's limit has its own act.
func (d *Detector) requestSize(size int64) verdict.Finding {
	limit := d.policy.Limits.BodyBytes
	if size <= limit {
		return verdict.Finding{}
	}
	f := d.requestFailure(verdict.RequestTooLarge, strconv.FormatInt(size, 10)+" > "+strconv.FormatInt(limit, 10))
	f.Act = d.policy.Limits.RequestOver
	f.Enforced = f.Enforced && f.Act != policy.ActPass
	return f
}

// unreadableRequest translates why a body could not be read.
func (d *Detector) unreadableRequest(x *Exchange, f failure) verdict.Finding {
	switch f.code {
	case verdict.BrokenEncoding:
		return d.requestFailure(verdict.RequestEncoding, "content-encoding "+quoted([]byte(header(x.RequestHeaders, "content-encoding"))))
	case verdict.BrokenInflate:
		return d.requestFailure(verdict.RequestEncoding, "content-encoding: "+f.detail)
	}
	return d.requestFailure(verdict.RequestUnreadable, f.detail)
}

// check looks at every place that the field names.
func (c *requestCheck) check(root scan.Node) (code verdict.Code, detail string) {
	places := 0
	c.path.Visit(root, func(h scan.Hit) bool {
		places++
		var where string
		switch {
		case h.Ambiguous:
			code = verdict.RequestUnreadable
		case !h.Node.Exists():
			if c.cfg.Required {
				code = verdict.RequestMissing
			}
		default:
			code, where = c.checkValue(h.Node)
		}
		if code != "" {
			detail = string(c.path.AppendAt(nil, h.Stars)) + where
		}
		return code == ""
	})
	if places == 0 && c.cfg.Required {
		return verdict.RequestMissing, c.text
	}
	return code, detail
}

// checkValue checks a value that is there; where is what follows the field's
// name in the detail.
func (c *requestCheck) checkValue(n scan.Node) (code verdict.Code, where string) {
	if n.Kind() == scan.Null {
		if c.cfg.Nullable {
			return "", ""
		}
		return verdict.RequestNull, ""
	}
	if !hasType(n, c.cfg.Type) {
		return verdict.RequestType, " " + c.cfg.Type
	}
	if c.values != nil {
		if code, where = c.checkSet(n); code != "" {
			return code, where
		}
	}
	return c.checkNumbers(n)
}

func hasType(n scan.Node, want string) bool {
	switch want {
	case "number":
		return n.Kind() == scan.Number
	case "integer":
		v, ok := n.Float()
		return ok && n.Kind() == scan.Number && v == math.Trunc(v)
	case "string":
		return n.Kind() == scan.String
	case "boolean":
		return n.Kind() == scan.True || n.Kind() == scan.False
	case "array":
		return n.Kind() == scan.Array
	case "object":
		return n.Kind() == scan.Object
	}
	return true
}

// checkSet holds a string, or every string of an array, to the closed set.
func (c *requestCheck) checkSet(n scan.Node) (code verdict.Code, where string) {
	var w walker
	w.start(n)
	for v, ok := w.next(); ok; v, ok = w.next() {
		if s, flat := v.Numbers(); flat && s.Count == 0 {
			continue
		}
		var buf [64]byte
		if _, in := c.values[string(v.Text(buf[:0]))]; !in || v.Kind() != scan.String {
			return verdict.RequestValue, below(&w, -1)
		}
	}
	return "", ""
}

// checkNumbers holds a number, or every number of an array, to the bounds. In
// an array a null is a missing feature, and a bare token or a number past every
// float is outside any bounds.
func (c *requestCheck) checkNumbers(n scan.Node) (code verdict.Code, where string) {
	if n.Kind() == scan.Object || n.Kind() == scan.String {
		if c.bounded {
			return verdict.RequestType, " number"
		}
		return "", ""
	}
	var w walker
	w.start(n)
	for v, ok := w.next(); ok; v, ok = w.next() {
		if s, flat := v.Numbers(); flat {
			if code, i := c.checkArray(v, s); code != "" {
				return code, below(&w, i)
			}
			continue
		}
		switch f, number := v.Float(); {
		case v.Kind() == scan.Null && !c.cfg.Nullable:
			return verdict.RequestNull, below(&w, -1)
		case v.Kind() == scan.NonFinite, number && c.bounded && !(f >= c.min && f <= c.max):
			return verdict.RequestRange, below(&w, -1)
		case !number && c.bounded && v.Kind() != scan.Null:
			return verdict.RequestType, below(&w, -1) + " number"
		case v.Kind() == scan.Number && len(v.Raw()) > maxNumber && c.bounded:
			return verdict.RequestRange, below(&w, -1)
		}
	}
	return "", ""
}

func (c *requestCheck) checkArray(n scan.Node, s scan.Numbers) (verdict.Code, int) {
	if s.FirstBad >= 0 {
		code, index := verdict.Code(""), 0
		n.EachFloat(func(i int, v float64, k scan.Kind) bool {
			switch {
			case k == scan.Null && !c.cfg.Nullable:
				code = verdict.RequestNull
			case k == scan.NonFinite:
				code = verdict.RequestRange
			}
			index = i
			return code == ""
		})
		if code != "" {
			return code, index
		}
	}
	if c.bounded {
		if i, bad := n.OutOfRange(c.min, c.max); bad {
			return verdict.RequestRange, i
		}
	}
	return "", 0
}
