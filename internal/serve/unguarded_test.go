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

// TestUnservedIsToldOnce: what clients without a proxy cannot call is said when it
// is news.
func TestUnservedIsToldOnce(t *testing.T) {
	world := func(versions ...string) *compile.Snapshot {
		s := &compile.Snapshot{Hosts: []compile.Host{{Domain: "*"}}}
		for i, version := range versions {
			name := "default/fraud/" + version
			s.Clusters = append(s.Clusters, compile.Cluster{Name: name, Version: version, TLS: &policy.TLS{}})
			s.Routes = append(s.Routes, compile.Route{Name: name, GRPC: true, Backends: []compile.Backend{{Cluster: name, Weight: 1}}})
			s.Hosts[0].Entries = append(s.Hosts[0].Entries, compile.Entry{Route: i})
		}
		return s
	}
	var out bytes.Buffer
	p := &process{log: telemetry.NewLog(&out, telemetry.LogOptions{}, nil)}
	for _, step := range []struct {
		world *compile.Snapshot
		lines int
		says  string
	}{
		{world(), 0, ""},
		{world("v1"), 1, "version v1 is behind TLS"},
		{world("v1"), 1, ""},
		{world("v1", "v2"), 2, "version v2 is behind TLS"},
		{world(), 2, ""},
		{world("v1"), 3, `"routes":1`},
	} {
		p.tellUnserved(step.world)
		if n := strings.Count(out.String(), "their own proxy"); n != step.lines || !strings.Contains(out.String(), step.says) {
			t.Fatalf("want %d lines and %q in %s", step.lines, step.says, out.String())
		}
	}
}
