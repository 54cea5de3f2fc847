package compile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/policy"
)

// samples are the ready policies of docs/samples.
var samples = []string{"ads", "chat", "fraud", "grpc", "pricing", "recommendation", "search"}

func TestSamplesAreValidAndEnforce(t *testing.T) {
	t.Chdir(filepath.Join("..", "..")) // refreshed files are named from there
	for _, name := range samples {
		t.Run(name, func(t *testing.T) {
			snapshot, problems := Dir(filepath.Join("docs", "samples", name))
			for _, p := range problems {
				t.Error(p)
			}
			if snapshot == nil {
				t.FailNow()
			}
			for _, r := range snapshot.Routes {
				if r.Policy == nil || !r.Policy.FullyEnforced() {
					t.Errorf("route %s is not enforced", r.Name)
				}
				if _, err := policy.Parse(r.PolicyJSON); err != nil {
					t.Errorf("route %s: %v", r.Name, err)
				}
			}
		})
	}
}

// TestSamplesTogether: one folder may hold them all.
func TestSamplesTogether(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	var files []config.File
	for _, name := range samples {
		found, err := filepath.Glob(filepath.Join("docs", "samples", name, "*.yaml"))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d files, err %v", name, len(found), err)
		}
		for _, f := range found {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, config.File{Name: f, Data: data})
		}
	}
	snapshot, problems := Files(files...)
	for _, p := range problems {
		t.Error(p)
	}
	if snapshot == nil || len(snapshot.Routes) != len(samples) {
		t.Fatalf("got %+v, want %d routes", snapshot, len(samples))
	}
	places := map[policy.Endpoint]string{}
	for _, c := range snapshot.Clusters {
		for _, e := range c.Endpoints {
			if other, taken := places[e]; taken {
				t.Errorf("%s and %s are both at %v", other, c.Name, e)
			}
			places[e] = c.Name
		}
	}
}

// TestPublishedExample: the example that fixes the configuration's shape is
// accepted as it stands. Its digests are dots.
func TestPublishedExample(t *testing.T) {
	snapshot, problems := Dir(filepath.Join("testdata", "example"))
	if snapshot == nil {
		t.Fatal(problems)
	}
	for _, p := range problems {
		if !p.Warning || !strings.HasSuffix(p.Field, ".artifact.digest") {
			t.Error(p)
		}
	}
	p := snapshot.Routes[0].Policy
	if p == nil || p.Name != "default/fraud" || len(p.Ladder) != 4 || p.Ladder[1].Fallback.Endpoints[0].Port != 9103 {
		t.Errorf("got %+v", p)
	}
}
