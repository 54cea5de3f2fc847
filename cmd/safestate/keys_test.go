package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/signing"
)

// TestKeysOffline: a key is made once, and what it renders is the same each time
// and verifies by its public half.
func TestKeysOffline(t *testing.T) {
	path := filepath.Join(t.TempDir(), "signing.pem")
	made := run(t, "keys", "generate", path)
	if made.exit != 0 || made.stdout != run(t, "keys", "public", path).stdout {
		t.Fatalf("%+v", made)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	public, err := signing.ParsePublic([]byte(made.stdout))
	if err != nil || len(public) != 1 {
		t.Fatalf("it printed %q: %v", made.stdout, err)
	}
	if again := run(t, "keys", "generate", path); again.exit != 1 || run(t, "keys", "public", path).stdout != made.stdout {
		t.Errorf("a key that is there: %+v", again)
	}
	dir := folder(t, "a.yaml", good)
	signed := run(t, "render", "envoy", dir, "--signing-key", path)
	if signed.exit != 0 || signed.stdout != run(t, "render", "envoy", dir, "--signing-key", path).stdout {
		t.Error("two renderings differ")
	}
	if want := "policy_signature: '1:" + public[0].ID; !strings.Contains(signed.stdout, want) && !strings.Contains(signed.stdout, strings.ReplaceAll(want, "'", "")) {
		t.Errorf("no %s in it", want)
	}
	if plain := run(t, "render", "envoy", dir); strings.Contains(plain.stdout, "policy_signature:") {
		t.Error("without a key it is signed")
	}
	if err := os.WriteFile(path+".public", []byte(made.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{path + ".public", path + ".gone", dir} {
		if got := run(t, "render", "envoy", dir, "--signing-key", bad); got.exit != 1 || !strings.Contains(got.stderr, "--signing-key") {
			t.Errorf("%s: %+v", bad, got)
		}
	}
}
