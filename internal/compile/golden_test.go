package compile

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/policy"
)

var update = flag.Bool("update", false, "write the golden files")

// TestGolden compiles every file of testdata and compares the snapshot.
func TestGolden(t *testing.T) {
	names, err := filepath.Glob(filepath.Join("testdata", "*.yaml"))
	if err != nil || len(names) < 4 {
		t.Fatalf("found %d files, err %v", len(names), err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".yaml"), func(t *testing.T) {
			snapshot := compileFile(t, name)
			got := render(t, snapshot)
			golden := strings.TrimSuffix(name, ".yaml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s differs; got\n%s", golden, got)
			}
		})
	}
}

func compileFile(t *testing.T, name string) *Snapshot {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	snapshot, problems := Files(config.File{Name: filepath.Base(name), Data: data})
	for _, p := range problems {
		t.Error(p)
	}
	if snapshot == nil {
		t.FailNow()
	}
	return snapshot
}

// render writes a snapshot as indented JSON. The policy stands in it as an
// object, and has to be what its string says.
func render(t *testing.T, s *Snapshot) []byte {
	t.Helper()
	copied := *s
	copied.Routes = append([]Route(nil), s.Routes...)
	for i := range copied.Routes {
		r := &copied.Routes[i]
		if r.Policy == nil {
			continue
		}
		parsed, err := policy.Parse(r.PolicyJSON)
		if err != nil {
			t.Fatalf("route %s: %v", r.Name, err)
		}
		again, err := parsed.Marshal()
		if err != nil || string(again) != r.PolicyJSON {
			t.Fatalf("route %s: the string changes when it is read and written again, err %v\n%s\n%s", r.Name, err, again, r.PolicyJSON)
		}
		r.PolicyJSON = ""
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(copied); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestDeterministic: the same objects give the same bytes, in whatever order
// and from whatever files they come.
func TestDeterministic(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	documents := strings.Split(string(data), "---\n")
	want := ""
	for round := range 20 {
		var files []config.File
		for i := range documents {
			j := (i*7 + round) % len(documents) // 7 shares no factor with the count
			files = append(files, config.File{Name: string(rune('a'+i)) + ".yaml", Data: []byte(documents[j])})
		}
		snapshot, problems := Files(files...)
		if problems.Failed() {
			t.Fatal(problems)
		}
		got := ""
		for _, r := range snapshot.Routes {
			got += r.Name + " " + r.PolicyJSON + "\n"
		}
		if want == "" {
			want = got
		}
		if got != want {
			t.Fatalf("round %d gave\n%s\nthe first gave\n%s", round, got, want)
		}
	}
}
