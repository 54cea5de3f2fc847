package killstore

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
)

// mutant is a mistake that safestate does not make: texts of one of its files with
// others in their places.
type mutant struct {
	name  string
	file  string
	edits []edit
}

type edit struct{ old, new string }

var mutants = []mutant{
	{"stale read: a revive is decided on what the replica last heard", "internal/control/kills.go", []edit{
		{
			"if err := c.kills.reread(ctx, t); err != nil {\n\t\t\treturn c.kills.get(t).state,",
			"if err := error(nil); err != nil {\n\t\t\treturn c.kills.get(t).state,",
		},
	}},
	{"lost update: a state is written over whatever there is", "internal/control/killbook.go", []edit{{
		"entry, err := b.store.Put(ctx, killKey(next.Target), text, from.revision)",
		"there, _ := b.store.Get(ctx, killKey(next.Target))\n\tentry, err := b.store.Put(ctx, killKey(next.Target), text, there.Revision)",
	}}},
	{"reused generation: a revive has the one of the kill", "internal/kill/command.go", []edit{
		{"s.Generation++\n\ts.Killed, s.Since, s.By, s.Reason, s.Asked = false,", "s.Killed, s.Since, s.By, s.Reason, s.Asked = false,"},
	}},
	{"kill undone: of two states the newer wins, though it is alive", "internal/kill/reconcile.go", []edit{
		{"if !older.Killed || len(unseen) == 0 {", "if !older.Killed || len(unseen) == 0 || !newer.Killed {"},
	}},
	{"kill undone: the last order alone counts", "internal/kill/reconcile.go", []edit{
		{"if !older.Killed || len(unseen) == 0 {", "if !older.Killed || len(unseen) == 0 || unseen[len(unseen)-1] != older.Seen[len(older.Seen)-1] {"},
		{"s.Seen = append(slices.Clone(s.Seen), orders...)", "s.Seen = append(orders, s.Seen...)"},
	}},
}

// TestMutants makes each mistake in a binary of its own and runs episodes with it
// until something is found to be wrong. Without -mutant-seeds it only holds the
// texts against the files.
func TestMutants(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			mutated := m.mutate(t)
			if *seeds == 0 {
				return
			}
			path := m.build(t, mutated)
			for seed := *firstSeed; seed < *firstSeed+uint64(*seeds); seed++ {
				var problems []string
				t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { problems = newEpisode(t, path, seed).run() })
				if len(problems) > 0 {
					first, _, _ := strings.Cut(problems[0], "\n")
					t.Logf("found in episode %d by %d problems, the first: %s", seed-*firstSeed+1, len(problems), first)
					return
				}
			}
			t.Errorf("not found in %d episodes", *seeds)
		})
	}
}

// mutate returns the file with the mistake.
func (m mutant) mutate(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dataplane.Root(), m.file))
	if err != nil {
		t.Fatal(err)
	}
	out := string(text)
	for _, e := range m.edits {
		if n := strings.Count(out, e.old); n != 1 {
			t.Fatalf("%s has %d times, and not once:\n%s", m.file, n, e.old)
		}
		out = strings.Replace(out, e.old, e.new, 1)
	}
	return out
}

// build makes the binary. The files of the repository stay as they are.
func (m mutant) build(t *testing.T, mutated string) (path string) {
	t.Helper()
	dir := t.TempDir()
	file, overlay, path := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "safestate")
	instead, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(dataplane.Root(), m.file): file}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{file: []byte(mutated), overlay: instead} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-overlay", overlay, "-o", path, "./cmd/safestate")
	cmd.Dir = dataplane.Root()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}
