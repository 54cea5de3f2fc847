package protocol

import (
	"testing"

	"github.com/safestate/safestate/internal/policy"
)

func TestContentType(t *testing.T) {
	const v2, js = policy.OpenInferenceV2, policy.JSON
	for _, c := range []struct {
		protocol policy.Protocol
		value    string
		binary   bool
		want     bool
	}{
		{v2, "application/json", false, true},
		{v2, "APPLICATION/JSON", false, true},
		{v2, "application/json; charset=utf-8", false, true},
		{v2, `application/json;Charset="UTF-8"; x=y`, false, true},
		{v2, "application/json; charset=us-ascii", false, true},
		{v2, "application/json; charset=latin1", false, false},
		{v2, "application/octet-stream; charset=latin1", true, false},
		{v2, "application/octet-stream", true, true},
		{v2, "application/json; x=y; charset=utf-16", false, false},
		{v2, "application/json; charset=", false, false},
		{v2, "", false, true},
		{v2, "; charset=utf-8", false, false},
		{v2, "text/html", false, false},
		{v2, "text/plain", false, false},
		{v2, "application/jsonp", false, false},
		{v2, "application/json, text/html", false, false},
		{v2, "application/octet-stream", true, true},
		{v2, "application/octet-stream", false, false},
		{v2, "application/json", true, true},
		{v2, "application/hal+json", false, false},
		{js, "application/hal+json", false, true},
		{js, "application/hal+json; charset=latin1", false, false},
		{js, "application/problem+json", false, false},
		{js, "application/octet-stream", true, false},
		{policy.MLflow, "application/json", false, true},
		{policy.TensorFlowServing, "text/event-stream", false, false},
	} {
		if got := ContentType(c.protocol, c.value, c.binary); got != c.want {
			t.Errorf("%s %q (binary: %v): %v, want %v", c.protocol, c.value, c.binary, got, c.want)
		}
	}
}
