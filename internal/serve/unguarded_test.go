package serve

import (
	"bytes"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/telemetry"
)

func TestARouteThatLosesItsPolicyIsTold(t *testing.T) {
	var out bytes.Buffer
	p := &process{log: telemetry.NewLog(&out, telemetry.LogOptions{}, nil)}
	with := &compile.Snapshot{Routes: []compile.Route{{Name: "a", Policy: &policy.Policy{}}, {Name: "b"}}}
	p.tellUnguarded(with)
	p.tellUnguarded(with)
	if out.Len() > 0 {
		t.Fatalf("nothing was lost, and the log says %s", out.String())
	}
	p.tellUnguarded(&compile.Snapshot{Routes: []compile.Route{{Name: "a"}, {Name: "b"}}})
	if !strings.Contains(out.String(), `"route":"a"`) || strings.Contains(out.String(), `"route":"b"`) {
		t.Errorf("the log says %q, want a line on a and none on b", out.String())
	}
}
