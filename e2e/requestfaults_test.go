package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// requestFault is one way in which a request itself is wrong.
type requestFault uint8

const (
	featureMissing requestFault = iota
	featureNull
	featureOutOfRange
	featureWrongType
	featureUnknownValue
	wrongEncoding
	unreadable
	overLimit
	numRequestFaults
)

var requestFaults = [numRequestFaults]struct {
	name   string
	reason string
	spoil  func(fm.Protocol, string) dataplane.Request
	// rejected: the model refuses it too, by a 400 of its own.
	rejected bool
}{
	featureMissing:      {name: "missing", reason: "request_missing", spoil: member("amount", "")},
	featureNull:         {name: "null", reason: "request_null", spoil: member("amount", "null")},
	featureOutOfRange:   {name: "range", reason: "request_range", spoil: member("amount", "-5")},
	featureWrongType:    {name: "type", reason: "request_type", spoil: member("amount", `"twelve"`), rejected: true},
	featureUnknownValue: {name: "value", reason: "request_value", spoil: member("merchant_category", `"space"`)},
	wrongEncoding:       {name: "encoding", reason: "request_encoding", spoil: encoded},
	unreadable:          {name: "unreadable", reason: "request_unreadable", spoil: cut, rejected: true},
	overLimit:           {name: "over-limit", reason: "request_too_large", spoil: padded},
}

func member(name, value string) func(fm.Protocol, string) dataplane.Request {
	return func(p fm.Protocol, route string) dataplane.Request {
		return inference(p, route, 1, map[string]string{name: value})
	}
}

func encoded(p fm.Protocol, route string) dataplane.Request {
	q := inference(p, route, 1, nil)
	q.Header = http.Header{"Content-Encoding": {"x-rot13"}}
	return q
}

func cut(p fm.Protocol, route string) dataplane.Request {
	q := inference(p, route, 1, nil)
	q.Body = q.Body[:len(q.Body)-3]
	return q
}

func padded(p fm.Protocol, route string) dataplane.Request {
	q := inference(p, route, 1, nil)
	q.Body = bytes.Replace(q.Body, []byte("{"), fmt.Appendf(nil, `{"padding": "%s", `, strings.Repeat("x", 8000)), 1)
	return q
}

// TestRequestFaults is every request fault on every protocol with every choice
// of what to do: the ladder answers and the model is not asked; a 400 names
// the field and the model is not asked; it passes to the model.
func TestRequestFaults(t *testing.T) {
	plane, primary, _ := wholePlane(t, calmly)
	everyRequestFault(t, plane, primary)
}

func everyRequestFault(t *testing.T, plane *dataplane.Plane, primary *fm.Server) {
	t.Helper()
	var count tally
	for i := range requestFaults {
		fault := &requestFaults[i]
		for _, p := range fm.Protocols {
			for _, act := range []string{"answer", "reject", "pass"} {
				count.run(t, fault.name+"/"+p.String()+"/"+act, func(t *testing.T) {
					var a dataplane.Answer
					asked := 0
					for range 5 {
						before := primary.Requests()
						a = plane.Client.Do(fault.spoil(p, routeName(p, "req-"+act)))
						if asked = primary.Requests() - before; a.Reason() != "processor_away" { // else see patiently
							break
						}
					}
					if a.Err != nil {
						t.Fatal(a.Err)
					}
					switch act {
					case "answer":
						if a.Status != http.StatusOK || a.Source() != "fallback" && a.Source() != "safe_default" || asked != 0 {
							t.Errorf("status %d, source %q, reason %q, the model was asked %d times", a.Status, a.Source(), a.Reason(), asked)
						}
						checkShape(t, p, a)
					case "reject":
						if a.Status != http.StatusBadRequest || asked != 0 {
							t.Errorf("status %d, source %q, reason %q, the model was asked %d times", a.Status, a.Source(), a.Reason(), asked)
						}
						checkNamesField(t, fault.name, a)
					case "pass":
						if asked != 1 || !fault.rejected && (a.Status != http.StatusOK || a.Source() != "primary") {
							t.Errorf("status %d, source %q, reason %q, the model was asked %d times", a.Status, a.Source(), a.Reason(), asked)
						}
					}
					if act != "pass" && !strings.HasPrefix(a.Reason(), fault.reason) {
						t.Errorf("reason %q, want %q first", a.Reason(), fault.reason)
					}
					if follow := patiently(plane.Client, inference(p, routeName(p, "req-"+act), 1, nil)); follow.Status != http.StatusOK || follow.Source() != "primary" {
						t.Errorf("clean does not follow: status %d, source %q, reason %q, error %v", follow.Status, follow.Source(), follow.Reason(), follow.Err)
					}
				})
			}
		}
	}
	count.done(t)
}

// checkNamesField holds the message of a refusal to the field that it is about.
func checkNamesField(t *testing.T, fault string, a dataplane.Answer) {
	t.Helper()
	field := map[string]string{"missing": "amount", "null": "amount", "range": "amount", "type": "amount", "value": "merchant_category"}[fault]
	if field != "" && !strings.Contains(string(a.Body), field) {
		t.Errorf("the message does not name %s: %.200q", field, a.Body)
	}
}
