package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/admin"
)

func TestTokensAreMadeAndChecked(t *testing.T) {
	dir := t.TempDir()
	made := run(t, "access", "token", "ann", "--expires", "24h")
	token := strings.TrimSpace(made.stdout)
	if made.exit != 0 || !access.IsToken(token) || strings.Contains(made.stderr, token) || !strings.Contains(made.stderr, "expires: ") {
		t.Fatalf("%+v", made)
	}
	hash := exec.CommandContext(t.Context(), binary, "access", "hash", "ann")
	hash.Stdin = strings.NewReader(token + "\n")
	row, err := hash.Output()
	if err != nil || !strings.HasPrefix(made.stderr, string(bytes.TrimSpace(row))) {
		t.Errorf("%v: %s, and at first %s", err, row, made.stderr)
	}
	file := filepath.Join(dir, "access.yaml")
	put(t, file, "tokens:\n"+made.stderr+"grants:\n- {to: [token:ann], roles: [viewer, responder], models: [\"*\"]}\n", 0o600)
	if got := run(t, "access", "check", file); got.exit != 0 || got.stdout != "warning: nobody may revive: want an approver\n"+file+": valid\n" {
		t.Errorf("%+v", got)
	}
	put(t, file, "tokens:\n- {name: ann, sha256: "+token+"}\n", 0o600)
	if got := run(t, "access", "check", file); got.exit != 1 || !strings.Contains(got.stderr, file+":2: tokens[0].sha256: is no SHA-256") || strings.Contains(got.stderr, token) {
		t.Errorf("%+v", got)
	}
	for _, c := range []struct{ args, want string }{
		{"access token a:b", "is no name"},
		{"access token ann --expires -1h", "want more than 0"},
		{"access hash ann", "no token on standard input"},
		{"access check /none", "no such file"},
		{"status --token-file /none", "--token-file: stat /none"},
		{"status --cert x", "--cert and --key belong together"},
		{"status --ca /none", "--ca: open /none"},
		{"status --server http://192.0.2.1:1 --ca " + file, "has no certificate in PEM"},
	} {
		if got := run(t, strings.Fields(c.args)...); got.exit != 1 || !strings.Contains(got.stderr, c.want) || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("%s: %+v", c.args, got)
		}
	}
	open := filepath.Join(dir, "open")
	put(t, open, token, 0o644)
	if got := run(t, "status", "--token-file", open); got.exit != 1 || !strings.Contains(got.stderr, "everybody may read it") {
		t.Errorf("%+v", got)
	}
	put(t, open, token, 0o600)
	if got := run(t, "status", "--token-file", open, "--server", "http://192.0.2.1:1"); got.exit != 1 || !strings.Contains(got.stderr, "a token would travel readably: want https") {
		t.Errorf("%+v", got)
	}
}

func put(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	_ = os.Remove(path)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// A command shows its token and its certificate to a server over TLS.
func TestCommandsShowWhoTheyAre(t *testing.T) {
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ann"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	put(t, file("ann.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o600)
	put(t, file("ann.key"), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})), 0o600)
	token := access.NewToken()
	digest, err := access.Digest(token)
	if err != nil {
		t.Fatal(err)
	}
	put(t, file("token"), token+"\n", 0o600)
	put(t, file("access.yaml"), "tokens:\n- {name: bot, sha256: \""+digest+"\"}\nclientCA: ann.pem\ncertificates:\n- {name: ann, commonName: ann}\n"+
		"grants:\n- {to: [token:bot], roles: [viewer], models: [\"*\"]}\n- {to: [cert:ann], roles: [operator], models: [\"*\"]}\n", 0o600)
	gate, err := access.Open(file("access.yaml"), access.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := &control{models: []admin.Model{{Model: "default/fraud"}}}
	s := httptest.NewUnstartedServer(admin.New(admin.Options{Control: c, Access: gate}))
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	defer s.Close()
	put(t, file("ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})), 0o600)

	to := []string{"--server", s.URL, "--ca", file("ca.pem")}
	with := func(args ...string) ran { return run(t, append(args, to...)...) }
	abort := []string{"rollout", "abort", "fraud", "--reason", "x"}
	if got := with("status"); got.exit != 1 || !strings.Contains(got.stderr, "nobody knows who asks") {
		t.Errorf("as nobody: %+v", got)
	}
	if got := with("status", "--token-file", file("token")); !strings.Contains(got.stdout, "default/fraud") {
		t.Errorf("with a token: %+v", got)
	}
	if got := with(append(abort, "--token-file", file("token"))...); got.exit != 1 || !strings.Contains(got.stderr, "token:bot has no role operator") || len(c.asked()) > 0 {
		t.Errorf("a viewer's abort: %+v", got)
	}
	got := with(append(abort, "--cert", file("ann.pem"), "--key", file("ann.key"))...)
	if asked := c.asked(); len(asked) != 1 || asked[0].By != "cert:ann" {
		t.Errorf("an operator's abort: %+v, %+v", got, asked)
	}
	if got := run(t, "status", "--server", s.URL); got.exit != 1 || !strings.Contains(got.stderr, "certificate") {
		t.Errorf("an authority that is not known: %+v", got)
	}
}
