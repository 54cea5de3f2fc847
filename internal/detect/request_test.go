package detect

import (
	"slices"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

// requestCase is one line of requests.json.
type requestCase struct {
	Name              string
	Policy            string
	RequestHeaders    fields
	RequestBody       string
	RequestBodyBase64 []byte
	Want              string
	Act               policy.Act
	Observed          []string
}

func requestCases(t testing.TB) []requestCase {
	t.Helper()
	var list []requestCase
	readJSON(t, "requests.json", &list)
	return list
}

func TestRequestCorpus(t *testing.T) {
	byName := detectors(t)
	var x Exchange
	for _, c := range requestCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			x.Reset()
			x.RequestHeaders, x.RequestBody, x.RequestBodySeen = c.RequestHeaders, []byte(c.RequestBody), true
			if c.RequestBodyBase64 != nil {
				x.RequestBody = c.RequestBodyBase64
			}
			v := byName[c.Policy].Request(&x)
			if got := said(v); got != c.Want {
				t.Fatalf("got  %q\nwant %q", got, c.Want)
			}
			if v.Failed.Act != c.Act {
				t.Fatalf("act %q, want %q", v.Failed.Act, c.Act)
			}
			if got := reasons(v.Observed); c.Observed != nil && !slices.Equal(got, c.Observed) {
				t.Fatalf("observed %q, want %q", got, c.Observed)
			}
		})
	}
}

func TestRequestUnseen(t *testing.T) {
	d := detectors(t)["rq"]
	if v := d.Request(&Exchange{}); !v.Clean() {
		t.Fatalf("a body that was not seen was judged: %s", v.Failed.Reason())
	}
}

// What the headers alone decide of a request.
func TestRequestHeaders(t *testing.T) {
	byName := detectors(t)
	for name, c := range map[string]struct {
		policy  string
		headers fields
		want    string
		decided bool
	}{
		"nothing to say":     {"rq", fields{"content-length": "10"}, "clean", false},
		"no length":          {"rq", fields{}, "clean", false},
		"length no number":   {"rq", fields{"content-length": "ten"}, "clean", false},
		"too large":          {"rq", fields{"content-length": "5000"}, "request_too_large 5000 > 4096", true},
		"too large, passed":  {"rq-pass-over", fields{"content-length": "21"}, "pass request_over_limit", true},
		"as large as may be": {"rq", fields{"content-length": "4096"}, "clean", false},
		"unknown encoding":   {"rq", fields{"content-encoding": "zstd"}, "request_encoding content-encoding zstd", true},
		"no checks":          {"v2", fields{"content-encoding": "zstd", "content-length": "99999999"}, "clean", false},
	} {
		t.Run(name, func(t *testing.T) {
			v, decided := byName[c.policy].RequestHeaders(&Exchange{RequestHeaders: c.headers})
			if said(v) != c.want || decided != c.decided {
				t.Fatalf("got %q (decided: %v), want %q (%v)", said(v), decided, c.want, c.decided)
			}
		})
	}
}

// A body that nobody can read takes the strictest act of the enforced checks.
func TestRequestFailureAct(t *testing.T) {
	check := func(mode policy.Mode, act policy.Act) policy.RequestCheck {
		return policy.RequestCheck{Mode: mode, Field: "a", OnFail: act}
	}
	for name, c := range map[string]struct {
		checks   []policy.RequestCheck
		act      policy.Act
		enforced bool
	}{
		"one":                     {[]policy.RequestCheck{check(policy.Enforce, policy.ActAnswer)}, policy.ActAnswer, true},
		"reject is the strictest": {[]policy.RequestCheck{check(policy.Enforce, policy.ActAnswer), check(policy.Enforce, policy.ActReject), check(policy.Enforce, policy.ActPass)}, policy.ActReject, true},
		"answer before pass":      {[]policy.RequestCheck{check(policy.Enforce, policy.ActPass), check(policy.Enforce, policy.ActAnswer)}, policy.ActAnswer, true},
		"only pass":               {[]policy.RequestCheck{check(policy.Enforce, policy.ActPass)}, policy.ActPass, false},
		"observed ones say nothing beside enforced": {[]policy.RequestCheck{check(policy.Observe, policy.ActReject), check(policy.Enforce, policy.ActAnswer), check(policy.Observe, policy.ActReject)}, policy.ActAnswer, true},
		"all observed": {[]policy.RequestCheck{check(policy.Observe, policy.ActReject)}, policy.ActReject, false},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Compile(&policy.Policy{Protocol: policy.JSON, Limits: policy.Limits{BodyBytes: 100}, Detect: policy.Detect{Request: c.checks}})
			if err != nil {
				t.Fatal(err)
			}
			v := d.Request(&Exchange{RequestBody: []byte("{"), RequestBodySeen: true})
			f := v.Failed
			if v.Clean() {
				f = v.Observed[0]
			}
			if f.Code != verdict.RequestUnreadable || f.Act != c.act || f.Enforced != c.enforced || v.Clean() == c.enforced {
				t.Fatalf("%+v", v)
			}
		})
	}
}

func TestRequestRefusesBadChecks(t *testing.T) {
	for want, check := range map[string]policy.RequestCheck{
		"detect.request[0].field": {Field: "a["},
		"detect.request[0].type":  {Field: "a", Type: "float"},
	} {
		_, err := Compile(&policy.Policy{Protocol: policy.JSON, Detect: policy.Detect{Request: []policy.RequestCheck{check}}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that names %s", err, want)
		}
	}
}
