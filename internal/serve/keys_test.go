package serve

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/signing"
	"github.com/safestate/safestate/internal/telemetry"
)

func TestKeysThatDoNotFit(t *testing.T) {
	const far, near = "0.0.0.0:18000", "127.0.0.1:18000"
	for name, c := range map[string]struct {
		o    Options
		want string // "": it fits
	}{
		"near":                           {Options{Role: RoleExtProc, GRPC: near}, ""},
		"at a socket":                    {Options{Role: RoleExtProc, GRPC: "unix:/run/s.sock"}, ""},
		"far, without keys":              {Options{Role: RoleExtProc, GRPC: far}, "want --policy-keys"},
		"far, with keys":                 {Options{Role: RoleExtProc, GRPC: far, PolicyKeys: "k"}, ""},
		"far, told by certificate":       {Options{Role: RoleExtProc, GRPC: far, Control: []string{"c:1"}, TLS: TLSFiles{Cert: "a", Key: "b", ClientCA: "c"}}, ""},
		"far, told on this machine":      {Options{Role: RoleExtProc, GRPC: far, Control: []string{near, "unix:/run/c.sock"}}, ""},
		"far, told in plain text":        {Options{Role: RoleExtProc, GRPC: far, Control: []string{near, "c:1"}}, "want --policy-keys"},
		"far, all in one":                {Options{Role: RoleAll, GRPC: far}, ""},
		"far, all in one, no store":      {Options{Role: RoleAll, GRPC: far, NoReleases: true}, "want --policy-keys"},
		"far, no store, signing":         {Options{Role: RoleAll, GRPC: far, NoReleases: true, SigningKey: "k"}, ""},
		"far, a control plane":           {Options{Role: RoleControl, GRPC: far, NoReleases: true}, ""},
		"signing, with a store":          {Options{Role: RoleAll, GRPC: near, SigningKey: "k"}, "goes with --no-releases"},
		"signing, a processor":           {Options{Role: RoleExtProc, GRPC: near, SigningKey: "k"}, "leave it out"},
		"an age":                         {Options{Role: RoleAll, GRPC: near, KeyAge: 24 * time.Hour}, ""},
		"an age under that of a change":  {Options{Role: RoleAll, GRPC: near, KeyAge: time.Minute}, "at least 1h"},
		"an age before now":              {Options{Role: RoleAll, GRPC: near, KeyAge: -time.Minute}, "at least 1h"},
		"an age, and nothing to rotate":  {Options{Role: RoleAll, GRPC: near, KeyAge: time.Hour, NoReleases: true}, "leave it out"},
		"an age, and nobody who rotates": {Options{Role: RoleExtProc, GRPC: near, KeyAge: time.Hour}, "leave it out"},
	} {
		err := c.o.checkKeys()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func keyOf(t *testing.T, b byte) signing.Private {
	t.Helper()
	key, err := signing.FromSeed(bytes.Repeat([]byte{b}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// place replaces a file; each time it is of another age.
func place(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if err := os.Chtimes(path, now, now); err != nil {
		t.Fatal(err)
	}
}

// The file of --policy-keys is followed; what cannot be read is told once and
// changes nothing.
func TestPolicyKeysAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines bytes.Buffer
		one, two, path := keyOf(t, 1).Public(), keyOf(t, 2).Public(), filepath.Join(t.TempDir(), "keys.pem")
		p := &process{options: Options{PolicyKeys: path}, keys: &signing.Keys{}, log: telemetry.NewLog(&lines, telemetry.LogOptions{}, nil)}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if err := p.followKeys(ctx); err == nil || !strings.Contains(err.Error(), "--policy-keys") {
			t.Errorf("a file that is not there: %v", err)
		}
		place(t, path, keyOf(t, 1).PEM())
		if err := p.followKeys(ctx); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("a private key: %v", err)
		}
		place(t, path, one.PEM())
		if err := p.followKeys(ctx); err != nil {
			t.Fatal(err)
		}
		time.Sleep(recheckKeys / 2) // of the bubble's clock: the file is looked at in between
		after := func(text []byte) []string {
			place(t, path, text)
			time.Sleep(3 * recheckKeys)
			synctest.Wait()
			return p.keys.Current().IDs()
		}
		if got := after(slices.Concat(one.PEM(), two.PEM())); len(got) != 2 {
			t.Errorf("two keys: %v", got)
		}
		if got := after([]byte("half")); len(got) != 2 || strings.Count(lines.String(), "cannot be used") != 1 {
			t.Errorf("half a file: %v\n%s", got, lines.String())
		}
		if got := after(two.PEM()); len(got) != 1 || got[0] != two.ID {
			t.Errorf("the second: %v", got)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(path, one.PEM(), 0o600), os.Chtimes(path, info.ModTime(), info.ModTime())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * recheckKeys)
		synctest.Wait()
		if got := p.keys.Current().IDs(); len(got) != 1 || got[0] != one.ID {
			t.Errorf("another of the same size and time: %v", got)
		}
		if err := os.Chmod(path, 0o666); err != nil {
			t.Fatal(err)
		}
		if got := after(two.PEM()); got[0] != one.ID || !strings.Contains(lines.String(), "may be written by others") {
			t.Errorf("a file that everybody may write is taken: %v\n%s", got, lines.String())
		}
	})
}

// Without a store the file signs; another one in its place signs from the next
// reading of the configuration on, and the one before is still accepted.
func TestASigningKeyOfOnesOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "signing.pem")
	pl := &plane{p: &process{options: Options{SigningKey: path}, keys: &signing.Keys{}}}
	subject := signing.Subject{Route: "default/fraud/score", Namespace: "default", Policy: "{}"}
	if _, err := pl.signed(envoy.Options{}); err == nil || !strings.Contains(err.Error(), "--signing-key") {
		t.Errorf("a file that is not there: %v", err)
	}
	for i, key := range []signing.Private{keyOf(t, 1), keyOf(t, 2), keyOf(t, 3)} {
		place(t, path, key.PEM())
		for range 2 { // read again, it is the same
			o, err := pl.signed(envoy.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := signing.NewSet(key.Public()).Verify(subject, o.Sign(subject.Route, subject.Namespace, subject.Policy)); err != nil {
				t.Error(err)
			}
		}
		if got := len(pl.p.keys.Current().IDs()); got != min(i+1, 2) {
			t.Errorf("after %d keys %d are accepted", i+1, got)
		}
	}
	place(t, path, keyOf(t, 1).Public().PEM())
	if _, err := pl.signed(envoy.Options{}); err == nil {
		t.Error("a public key signs")
	}
	plain := &plane{p: &process{}}
	if o, err := plain.signed(envoy.Options{}); err != nil || o.Sign != nil {
		t.Errorf("without a file: %v", err)
	}
}
