package envoy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
)

// everyGRPC uses all that gRPC routes can say: one with a message for a last
// rung, one with a status, one that observes and one without a policy.
func everyGRPC(t *testing.T) *compile.Snapshot {
	t.Helper()
	s := grpcSnapshot(t, grpcPolicy(byMessage), version("v1", "127.0.0.1:9102"), version("v2", "127.0.0.1:9103"))
	s.Routes[0].Backends[1].Weight = 10
	s.Hosts[0].Entries[0].Match.Headers = []compile.ValueMatch{{Name: "x-tenant", Value: "a"}}
	s.Clusters[1].AuthorizationFile, s.Clusters[1].DNS, s.Clusters[1].Endpoints[0].Address = "testdata/token", true, "model.example"
	for i, edit := range []func(*policy.Policy){
		func(p *policy.Policy) { p.Detect.Broken.Statuses = []int{429} },
		observe,
		nil,
	} {
		r := compile.Route{Name: "default/fraud/other-" + string(rune('a'+i)), Namespace: "default", GRPC: true, Backends: []compile.Backend{{Cluster: v1, Weight: 1}}}
		if edit != nil {
			r.Policy = grpcPolicy(edit)
		}
		s.Routes = append(s.Routes, r)
		s.Hosts[0].Entries = append(s.Hosts[0].Entries, compile.Entry{Route: i + 1, Match: compile.Match{
			GRPC: true, PathType: compile.PathPrefix, Path: "/team" + string(rune('a'+i)),
		}})
	}
	return recorded(t, s)
}

func TestGRPCGolden(t *testing.T) {
	golden(t, "grpc.yaml", document(t, rendered(t, everyGRPC(t), Options{AccessLog: "/dev/stdout"})))
}

// TestEnvoyValidatesGRPC: Envoy itself takes it without a word.
func TestEnvoyValidatesGRPC(t *testing.T) {
	b, err := Static(everyGRPC(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := YAML(b)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "grpc.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(envoyBinary(t), "--mode", "validate", "-c", path, "-l", "warning").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, tail(string(out)))
	}
	for _, line := range strings.Split(strings.TrimSpace(tail(string(out))), "\n") {
		if line != "" && !strings.HasSuffix(line, "OK") {
			t.Errorf("Envoy says: %s", line)
		}
	}
}

// TestGRPCRefused: what cannot be expressed is an error that says what and where.
func TestGRPCRefused(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*compile.Snapshot)
		want string
	}{
		"a default that is no message": {func(s *compile.Snapshot) {
			s.Routes[0].Policy.Ladder[0].SafeDefault.Body = `{"outputs":[{"name":"score","datatype":"FP32","shape":[2],"data":[0.5]}]}`
		}, "route default/fraud/score: the default is no gRPC message"},
		"missing version": {func(s *compile.Snapshot) { s.Clusters = nil }, `names cluster "default/fraud/v1", which does not exist`},
	} {
		t.Run(name, func(t *testing.T) {
			s := grpcSnapshot(t, grpcPolicy(byMessage), version("v1", "127.0.0.1:9101"))
			c.edit(s)
			if _, err := Static(s, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
