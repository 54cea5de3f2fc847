package detect

import (
	"slices"
	"testing"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

// unreadPolicy has a dependency that is told by the status and one that is told
// by the body, and a condition on the status.
func unreadPolicy(over policy.Over, change func(*policy.Detect)) *policy.Policy {
	p := &policy.Policy{
		Protocol: policy.OpenInferenceV2, Limits: policy.Limits{BodyBytes: 100, ResponseOver: over},
		Detect: policy.Detect{
			Broken: &policy.Broken{Mode: policy.Enforce, Statuses: []int{429}},
			Late:   &policy.Late{Mode: policy.Enforce},
			Dependencies: []policy.Dependency{
				{Mode: policy.Enforce, Name: "by-body", Program: policy.Program(`["contains",[".",["response"],"error"],"store"]`)},
				{Name: "by-status", Program: policy.Program(`["==",["status"],503]`)}, // no mode: Enforce
			},
		},
	}
	if change != nil {
		change(&p.Detect)
	}
	return p
}

// What is said of an answer that nobody reads, whatever its size: an error
// stays one, and only an answer that claims to be one is judged by its size.
func TestUnread(t *testing.T) {
	observe := func(d *policy.Detect) { d.Broken.Mode = policy.Observe }
	off := func(d *policy.Detect) { d.Broken = nil }
	strict := func(d *policy.Detect) { d.Broken, d.NonFinite = nil, &policy.NonFinite{Mode: policy.Enforce} }
	condition := func(d *policy.Detect) {
		observe(d)
		d.CEL = []policy.Expression{
			{Mode: policy.Enforce, Name: "by-body", Program: policy.Program(`["contains",[".",["response"],"error"],"store"]`)},
			{Mode: policy.Enforce, Name: "by-status", Program: policy.Program(`["==",["status"],502]`)},
		}
	}
	for name, c := range map[string]struct {
		over     policy.Over
		change   func(*policy.Detect)
		status   int
		details  string
		length   string
		want     string
		observed []string
	}{
		"200, passed":                        {over: policy.OverPass, status: 200, want: "pass response_over_limit"},
		"200, answered":                      {status: 200, want: "broken_too_large limit 100"},
		"200, answered, declared":            {status: 200, length: "5000", want: "broken_too_large 5000 > 100"},
		"200, not over but unread":           {status: 200, length: "50", want: "broken_too_large limit 100"},
		"200, observed":                      {change: observe, status: 200, want: "clean", observed: []string{"broken_too_large limit 100"}},
		"200, broken off":                    {change: off, status: 200, want: "pass response_over_limit"},
		"200, broken off, nonFinite on":      {change: strict, status: 200, want: "broken_too_large limit 100"},
		"500, passed":                        {over: policy.OverPass, status: 500, want: "broken_status 500"},
		"500, passed, declared":              {over: policy.OverPass, status: 500, length: "5000", want: "broken_status 500"},
		"500, observed":                      {over: policy.OverPass, change: observe, status: 500, want: "clean", observed: []string{"broken_status 500"}},
		"503 is the dependency's":            {over: policy.OverPass, status: 503, want: "dependency by-status", observed: []string{"broken_status 503"}},
		"503, observed, is the dependency's": {over: policy.OverPass, change: observe, status: 503, want: "dependency by-status", observed: []string{"broken_status 503"}},
		"502 that a condition wants":         {over: policy.OverPass, change: condition, status: 502, want: "cel by-status", observed: []string{"broken_status 502"}},
		"429 that is listed":                 {over: policy.OverPass, status: 429, want: "broken_status 429"},
		"400":                                {status: 400, want: "pass caller_error"},
		"302":                                {over: policy.OverPass, status: 302, want: "broken_status 302"},
		"another filter's":                   {status: 500, details: "ext_authz_denied", want: "pass foreign"},
		"late":                               {over: policy.OverPass, status: 504, details: "response_timeout", want: "late response_timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			d := compiled(t, unreadPolicy(c.over, c.change))
			h := fields{"content-type": "application/json"}
			if c.length != "" {
				h["content-length"] = c.length
			}
			x := Exchange{Status: c.status, CodeDetails: c.details, ResponseHeaders: h}
			for range 2 { // saying it once changes nothing
				v := d.Unread(&x)
				if got := said(v); got != c.want || !slices.Equal(reasons(v.Observed), c.observed) {
					t.Fatalf("got %q and %q, want %q and %q", got, reasons(v.Observed), c.want, c.observed)
				}
			}
		})
	}
}

// Headers decides what nobody will read, and leaves to the body what it may
// explain.
func TestHeadersOfAnErrorOverTheLimit(t *testing.T) {
	d := compiled(t, unreadPolicy(policy.OverPass, nil))
	for length, want := range map[string]struct {
		decided bool
		said    string
	}{"101": {true, "broken_status 500"}, "100": {false, "clean"}, "": {false, "clean"}} {
		h := fields{"content-type": "application/json"}
		if length != "" {
			h["content-length"] = length
		}
		v, decided := d.Headers(&Exchange{Status: 500, ResponseHeaders: h})
		if decided != want.decided || said(v) != want.said || v.Pass != verdict.Judged {
			t.Errorf("length %q: decided %v, %s", length, decided, said(v))
		}
	}
}
