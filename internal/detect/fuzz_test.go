package detect

import (
	"slices"
	"strconv"
	"testing"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

// FuzzAnswer throws bodies at every policy of the corpus, as JSON and with a
// binary part. Nothing panics, the same exchange gives the same verdict, and no
// answer is clean that holds a bare NaN alone in a float output.
func FuzzAnswer(f *testing.F) {
	byName := detectors(f)
	var names []string
	for name, d := range byName {
		if d.constant == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, c := range cases(f) {
		body := c.ResponseBodyBase64
		if body == nil {
			body = []byte(c.ResponseBody)
		}
		if len(body) > 4096 {
			continue
		}
		length, _ := strconv.Atoi(c.ResponseHeaders["inference-header-content-length"])
		f.Add(uint8(slices.Index(names, c.Policy)), uint16(length), c.ResponseHeaders["content-encoding"], body)
	}
	f.Fuzz(func(t *testing.T, which uint8, length uint16, encoding string, body []byte) {
		d := byName[names[int(which)%len(names)]]
		h := fields{"content-type": "application/json", "content-encoding": encoding}
		if length > 0 {
			h["inference-header-content-length"] = strconv.Itoa(int(length))
		}
		x := Exchange{Status: 200, ResponseHeaders: h, ResponseBody: body, RequestHeaders: h, RequestBody: body, RequestBodySeen: true}
		first := d.Answer(&x)
		d.Request(&x)
		d.Env(&x)
		d.EchoID(&x, body)
		x.Reset()
		x.Status, x.ResponseHeaders, x.ResponseBody, x.RequestHeaders, x.RequestBody, x.RequestBodySeen = 200, h, body, h, body, true
		if second := d.Answer(&x); said(first) != said(second) {
			t.Fatalf("first %q, then %q", said(first), said(second))
		}
		if d.policy.Protocol != policy.JSON && first.Clean() && first.Pass == verdict.Judged && string(body) == `{"predictions":[NaN]}` {
			t.Fatal("clean")
		}
	})
}
