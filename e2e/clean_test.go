package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// Members that are hard to copy: none is inspected, none may change.
var trickyMembers = map[string]string{
	"nan-in-a-string":     `"note": "NaN, Infinity and -Infinity \"NaN\""`,
	"null-optional":       `"parameters": null`,
	"huge-float":          `"scale": 1e308, "tiny": 5e-324, "negative_zero": -0.0`,
	"400-digit-integer":   `"serial": ` + strings.Repeat("1234567890", 40),
	"400-digit-string":    `"serial": "` + strings.Repeat("1234567890", 40) + `"`,
	"unicode":             `"note": "żółć 模型 🚦 \u0000 \ud83d\udea6 \u2028"`,
	"escaped-slash":       `"path": "a\/b\\c"`,
	"empty-things":        `"list": [], "object": {}, "text": ""`,
	"repeated-unread-key": `"x": {"a": 1}, "y": {"a": 2}`,
	"nested-63":           `"deep": ` + strings.Repeat("[", 60) + strings.Repeat("]", 60),
}

// trickyBodies are clean answers of a protocol, by name.
func trickyBodies(p fm.Protocol) map[string][]byte {
	row := `"score": 0.25, "label": "allow", "probs": [0.7, 0.2, 0.1], "confidence": 0.9`
	whole := map[fm.Protocol]string{
		fm.V1: `{%s, "predictions": [{` + row + `}]}`,
		fm.TF: `{%s, "predictions": [{` + row + `}]}`,
		fm.ML: `{%s, "predictions": [{` + row + `}]}`,
		fm.J:  `{%s, ` + row + `, "detail": {"nested": {"values": [[0.5, 0.5], [0.5, 0.5]]}}}`,
		fm.V2: `{%s, "model_name": "m", "outputs": [{"name": "score", "datatype": "FP32", "shape": [1], "data": [0.25]}, ` +
			`{"name": "name", "datatype": "BYTES", "shape": [2], "data": ["NaN", null]}, {"name": "n", "datatype": "INT64", "shape": [1], "data": [9007199254740993]}]}`,
	}
	out := map[string][]byte{}
	for name, member := range trickyMembers {
		body := fmt.Sprintf(whole[p], member)
		if p == fm.V2 && strings.HasPrefix(member, `"parameters"`) {
			body = strings.Replace(body, `"shape": [1], "data": [0.25]`, `"shape": [1], "parameters": null, "data": [0.25]`, 1)
		}
		out[name] = []byte(body)
	}
	spaced := strings.ReplaceAll(fmt.Sprintf(whole[p], `"note": 1`), ", ", " ,\r\n\t")
	out["blanks"] = []byte(" \n" + spaced + "\n\n")
	return out
}

// TestCleanStaysClean compares, byte for byte, every clean answer with the one
// that the same request with accept-encoding: identity gets from an Envoy
// without safestate: status, headers in their order but for the tags, body.
func TestCleanStaysClean(t *testing.T) {
	plane, primary, _ := wholePlane(t, calmly)
	plain := dataplane.Plain(t, primary.Addr())
	compared := 0
	for _, p := range fm.Protocols {
		for _, rows := range []int{1, 7} {
			if p == fm.J && rows > 1 {
				continue
			}
			compared++
			t.Run(fmt.Sprintf("%s/%d-rows", p, rows), func(t *testing.T) {
				same(t, plane, plain, inference(p, routeName(p, "main"), rows, nil))
			})
		}
		if p == fm.V2B {
			continue // its JSON is V2's; its bytes are compared above
		}
		for name, body := range trickyBodies(p) {
			compared++
			t.Run(p.String()+"/"+name, func(t *testing.T) {
				primary.Can(http.Header{
					"Content-Type": {"application/json; charset=utf-8"}, "Etag": {`W/"1"`}, "Set-Cookie": {"a=1", "b=2"},
					"Date": {"Sat, 21 Nov 2026 10:00:00 GMT"}, "X-Request-Cost": {"0.001"}, "Vary": {"accept, x-tenant"},
				}, body)
				defer primary.Can(nil, nil)
				same(t, plane, plain, inference(p, routeName(p, "main"), 1, nil))
			})
		}
	}
	fmt.Printf("figure clean_answers_compared=%d\n", compared)
}

// same sends one request both ways.
func same(t *testing.T, plane *dataplane.Plane, plain string, q dataplane.Request) {
	t.Helper()
	got := rawly(t, plane.Traffic, q)
	identity := q
	identity.Header = q.Header.Clone()
	if identity.Header == nil {
		identity.Header = http.Header{}
	}
	identity.Header.Set("Accept-Encoding", "identity")
	want := rawly(t, plain, identity)
	if !slices.ContainsFunc(got.Header, func(l string) bool { return strings.EqualFold(l, "x-safestate-source: primary") }) {
		t.Errorf("not tagged as the model's: %q", got.Header)
	}
	if got.StatusLine != want.StatusLine {
		t.Errorf("status line %q, without us %q", got.StatusLine, want.StatusLine)
	}
	if !bytes.Equal(got.Body, want.Body) {
		t.Errorf("the body differs:\n with us    %.300q\n without us %.300q", got.Body, want.Body)
	}
	// The time that the model took is another every time; the model's own Date
	// is left alone by both, and may be a second apart when it is live.
	ignored := []string{"x-safestate-", "x-envoy-upstream-service-time:"}
	if !slices.ContainsFunc(got.Header, func(l string) bool { return strings.Contains(l, "10:00:00 GMT") }) {
		ignored = append(ignored, "date:")
	}
	if g, w := got.Without(ignored...), want.Without(ignored...); !slices.Equal(g, w) {
		t.Errorf("the headers differ:\n with us    %q\n without us %q", g, w)
	}
}

// rawly is dataplane.Raw for a test that is not about time: see patiently.
func rawly(t *testing.T, address string, q dataplane.Request) dataplane.RawAnswer {
	t.Helper()
	away := func(line string) bool { return strings.EqualFold(line, "x-safestate-reason: processor_away") }
	return again(5, func() dataplane.RawAnswer {
		a, err := dataplane.Raw(address, q)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}, func(a dataplane.RawAnswer) bool { return slices.ContainsFunc(a.Header, away) })
}

// TestTagsAreOurs: no copy of our headers gets in from callers or out from
// models.
func TestTagsAreOurs(t *testing.T) {
	plane, primary, _ := wholePlane(t, calmly)
	primary.Can(http.Header{
		"Content-Type": {"application/json"}, "X-Safestate-Source": {"safe_default"}, "X-Safestate-Reason": {"forged"}, "X-Safestate-Extra": {"forged"},
	}, []byte(`{"predictions": [{"score": 0.5}]}`))
	defer primary.Can(nil, nil)
	q := inference(fm.V1, routeName(fm.V1, "main"), 1, nil)
	q.Header = http.Header{"X-Safestate-Source": {"primary"}, "X-Safestate-Version": {"v9"}}
	a := patiently(plane.Client, q)
	if a.Err != nil || a.Source() != "primary" || len(a.Header.Values("X-Safestate-Source")) != 1 {
		t.Errorf("source %q, error %v", a.Header.Values("X-Safestate-Source"), a.Err)
	}
	for name, values := range a.Header {
		if slices.Contains(values, "forged") {
			t.Errorf("the model's own %s came through: %q", name, values)
		}
	}
}

// TestCallersErrorsPass: what the caller did wrong is the caller's to see.
func TestCallersErrorsPass(t *testing.T) {
	plane, primary, _ := wholePlane(t, calmly)
	plain := dataplane.Plain(t, primary.Addr())
	for _, p := range fm.Protocols {
		t.Run(p.String(), func(t *testing.T) {
			q := inference(p, routeName(p, "value"), 1, nil)
			q.Body = []byte(`{"instances": "none", "dataframe_records": "none", "inputs": "none", "amount": "none"}`)
			got, want := rawly(t, plane.Traffic, q), rawly(t, plain, q)
			if !strings.Contains(want.StatusLine, " 400 ") || got.StatusLine != want.StatusLine || !bytes.Equal(got.Body, want.Body) {
				t.Errorf("%s %.200q, without us %s %.200q", got.StatusLine, got.Body, want.StatusLine, want.Body)
			}
		})
	}
}
