package main

import (
	"strings"
	"testing"
)

// TestRenderTLS: every form takes the files by which Envoy dials safestate, and
// refuses half of them; the secret is what --tls-secret names.
func TestRenderTLS(t *testing.T) {
	files := []string{"--tls-ca", "/tls/ca.crt", "--tls-cert", "/tls/tls.crt", "--tls-key", "/tls/tls.key"}
	dir := folder(t, "a.yaml", good)
	for _, form := range [][]string{{"bootstrap"}, {"envoy", dir}, {"fragment"}, {"fragment", dir, "--ads"}} {
		args := append([]string{"render"}, form...)
		got := run(t, append(args, append(files, "--tls-server-name", "safestate.example.com")...)...)
		if got.exit != 0 || strings.Count(got.stdout, "sni: safestate.example.com") < 2 || !strings.Contains(got.stdout, "/tls/tls.key") {
			t.Errorf("%v: %+v", form, got)
		}
		if got := run(t, append(args, append(files, "--tls-secret", "/tls/secret.yaml")...)...); strings.Contains(got.stdout, "/tls/tls.key") || !strings.Contains(got.stdout, "/tls/secret.yaml") {
			t.Errorf("%v with a secret: %+v", form, got)
		}
		if got := run(t, append(args, append(files, "--tls-ca-secret", "/tls/ca.yaml")...)...); strings.Contains(got.stdout, "/tls/ca.crt") || !strings.Contains(got.stdout, "/tls/ca.yaml") {
			t.Errorf("%v with a secret of authorities: %+v", form, got)
		}
		if got := run(t, append(args, files[:4]...)...); got.exit != 1 || !strings.Contains(got.stderr, "all three or none") {
			t.Errorf("%v without a key: %+v", form, got)
		}
	}
	if got := run(t, "render", "secret", "--tls-cert", "/tls/tls.crt", "--tls-key", "/tls/tls.key"); got.exit != 0 || !strings.HasPrefix(got.stdout, "resources:\n") {
		t.Errorf("the secret: %+v", got)
	}
	if got := run(t, "render", "secret", "--tls-ca", "/tls/ca.crt"); got.exit != 0 || !strings.Contains(got.stdout, "name: safestate_ca") || !strings.Contains(got.stdout, "/tls/ca.crt") {
		t.Errorf("the secret of authorities: %+v", got)
	}
	if got := run(t, "render", "secret", "--tls-ca", "/tls/ca.crt", "--tls-key", "/tls/tls.key"); got.exit != 1 || !strings.Contains(got.stderr, "one secret from a file") {
		t.Errorf("two secrets in one: %+v", got)
	}
	if got := run(t, "render", "secret", "--tls-cert", "/tls/tls.crt"); got.exit != 1 || got.stdout != "" {
		t.Errorf("half a secret: %+v", got)
	}
}
