package access

import (
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/certtest"
)

const (
	aliceToken = "sst_alice-alice-alice-alice-alice-alice-al"
	bobToken   = "sst_bob-bob-bob-bob-bob-bob-bob-bob-bob-bo"
)

// digestOf is a token's digest for a file.
func digestOf(t testing.TB, token string) string {
	t.Helper()
	d, err := Digest(token)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// good is a file of tokens only.
func good(t testing.TB) string {
	return `tokens:
- name: alice
  sha256: ` + digestOf(t, aliceToken) + `
- name: bob
  sha256: ` + digestOf(t, bobToken) + `
  expires: 2027-01-01T00:00:00Z
people:
- name: alice
  is: [token:alice]
grants:
- to: [person:alice]
  roles: [viewer, responder]
  models: ["*"]
- to: [token:bob, local]
  roles: [operator]
  models: ["shop/*"]
  routes: ["shop/web"]
- to: [anonymous]
  roles: [viewer]
  models: ["*"]
revive:
- approvals: 1
  models: ["payments/*"]
  routes: ["shop/web/0"]
`
}

func TestAFileIsReadWhole(t *testing.T) {
	p, err := parse("access.yaml", []byte(good(t)), func() time.Time { return time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC) })
	if err != nil {
		t.Fatal(err)
	}
	alice, err := p.authenticate(t.Context(), Credentials{Authorization: []string{"Bearer " + aliceToken}})
	if err != nil || alice.ID != "token:alice" || alice.Person != "person:alice" || Authorize(alice, Kill, Everything()) != nil {
		t.Errorf("%+v, %v", alice, err)
	}
	bob, err := p.authenticate(t.Context(), Credentials{Authorization: []string{"Bearer " + bobToken}, User: "alice"})
	if err != nil || bob.Name != "token:bob" || bob.Person != "token:bob" || Authorize(bob, Rollout, Model("shop/rank")) != nil || Authorize(bob, Kill, Model("shop/rank")) == nil {
		t.Errorf("%+v, %v", bob, err)
	}
	here, err := p.authenticate(t.Context(), Credentials{Local: true, User: "carol"})
	if err != nil || here.Name != "local:carol (claimed)" || here.Person != "local" || Authorize(here, Kill, Model("shop/rank")) == nil {
		t.Errorf("%+v, %v", here, err)
	}
	stranger, err := p.authenticate(t.Context(), Credentials{Peer: "10.0.0.5"})
	if err != nil || stranger.Name != "remote:10.0.0.5" || stranger.Person != "" || Authorize(stranger, Read, Everything()) != nil {
		t.Errorf("%+v, %v", stranger, err)
	}
}

// Whoever is on this machine may be somebody who has a token as well.
func TestLocalMayBeAPerson(t *testing.T) {
	text := strings.Replace(good(t), "is: [token:alice]", "is: [token:alice, local]", 1)
	p, err := parse("access.yaml", []byte(text), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	here, err := p.authenticate(t.Context(), Credentials{Local: true, User: "carol"})
	if err != nil || here.Person != "person:alice" || Authorize(here, Kill, Everything()) != nil || Authorize(here, Rollout, Model("shop/rank")) != nil {
		t.Errorf("%+v, %v", here, err)
	}
	local := "grants:\n- {to: [local], roles: [viewer, responder, approver], models: [\"*\"]}\nrevive:\n- {approvals: 1, models: [\"*\"]}\n"
	for text, warned := range map[string]bool{
		local: true,
		strings.Replace(local, "approvals: 1", "approvals: 0", 1):                                                                   false,
		"tokens:\n- {name: ann, sha256: " + digestOf(t, aliceToken) + "}\npeople:\n- {name: ann, is: [local, token:ann]}\n" + local: false,
	} {
		p, err := parse("access.yaml", []byte(text), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.Join(p.warnings(), "|"), "local is a person of its own"); got != warned {
			t.Errorf("%s: warned of %q", text, p.warnings())
		}
	}
}

// A credential that is not accepted never makes its bearer somebody who needs none.
func TestAWrongTokenIsNobody(t *testing.T) {
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	p, err := parse("access.yaml", []byte(good(t)), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]string{
		"Bearer " + strings.ToUpper(aliceToken): "not known",
		"Bearer " + aliceToken + "a":            "not known",
		"Bearer " + digestOf(t, aliceToken):     "not known",
		"Bearer a.b.c":                          "not known",
		"Bearer " + bobToken:                    "the token bob ended at 2027-01-01T00:00:00Z",
		"Basic YWxpY2U6YQ==":                    "another kind",
	} {
		who, err := p.authenticate(t.Context(), Credentials{Authorization: []string{header}, Local: true})
		if err == nil || !strings.Contains(err.Error(), want) || who.ID != "" {
			t.Errorf("%s: %+v, %v", header, who, err)
		}
	}
	now = now.Add(-time.Nanosecond)
	if _, err := p.authenticate(t.Context(), Credentials{Authorization: []string{"Bearer " + bobToken}}); err != nil {
		t.Errorf("before its end: %v", err)
	}
	empty, err := parse("access.yaml", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []Credentials{{}, {Local: true}, {Authorization: []string{"Bearer " + aliceToken}}} {
		if who, err := empty.authenticate(t.Context(), c); err == nil {
			t.Errorf("an empty file lets %+v be %+v", c, who)
		}
	}
}

func TestApprovals(t *testing.T) {
	p, err := parse("access.yaml", []byte(good(t)), nil)
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[Target]int{
		Model("payments/fraud"): 1, Model("shop/rank"): 0, Everything(): 1,
		Route("shop/web/0"): 1, Route("shop/web/1"): 0, Route("shop/web"): 1, Route("shop/webx"): 0, Route("shop/we"): 0,
	} {
		if got := p.approvals(target); got != want {
			t.Errorf("%s: %d, want %d", target, got, want)
		}
	}
}

func TestEachMistakeOfAFile(t *testing.T) {
	ca := certtest.New(t, "authority")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "ca.pem"), string(ca.PEM))
	a, b := digestOf(t, aliceToken), digestOf(t, bobToken)
	token := "tokens:\n- {name: a, sha256: " + a + "}\n"
	for text, want := range map[string]string{
		"token: []":                                                             "access.yaml:1: token: is no field; want one of tokens, clientCA",
		"tokens:\n- {sha256: " + a + "}":                                        "access.yaml:2: tokens[0].name: is missing",
		"tokens:\n- {name: a b, sha256: " + a + "}":                             `tokens[0].name: is "a b"; want at most 64`,
		"tokens:\n- {name: \"a:b\", sha256: " + a + "}":                         `tokens[0].name: is "a:b"`,
		token + "- {name: a, sha256: " + b + "}":                                `access.yaml:3: tokens[1].name: is "a", which is there already`,
		token + "- {name: b, sha256: " + a + "}":                                "access.yaml:3: tokens[1].sha256: is there already",
		"tokens:\n- name: a":                                                    "access.yaml:2: tokens[0].sha256: is missing",
		"tokens:\n- {name: a, sha256: " + aliceToken + "}":                      "tokens[0].sha256: is no SHA-256 in hexadecimal",
		"tokens:\n- {name: a, sha256: abcd}":                                    "is no SHA-256",
		token + "  \nx":                                                         "is no YAML",
		"tokens:\n- {name: a, sha256: " + a + ", expires: soon}":                `tokens[0].expires: is "soon"; want a time`,
		"certificates:\n- {name: c, uri: \"spiffe://x/y\"}":                     "access.yaml:1: certificates: need clientCA",
		"clientCA: none.pem":                                                    "access.yaml:1: clientCA: " + dir + "/none.pem: no such file",
		"clientCA: access.yaml":                                                 "has no certificate in PEM",
		"clientCA: ca.pem\ncertificates:\n- {name: c}":                          "access.yaml:3: certificates[0]: has 0 of uri, dns",
		"clientCA: ca.pem\ncertificates:\n- {name: c, dns: a.b, commonName: x}": "has 2 of uri, dns",
		"clientCA: ca.pem\ncertificates:\n- {name: c, email: \"*@x.org\"}\npeople:\n- {name: p, is: [\"cert:c\"]}":                          `people[0].is[0]: is "cert:c", whose pattern is for many; want cert:NAME:VALUE`,
		"clientCA: ca.pem\ncertificates:\n- {name: c, commonName: \"*\"}":                                                                   `certificates[0].commonName: is "*", which is everybody`,
		"clientCA: ca.pem\ncertificates:\n- {name: c, email: \"*@*\"}":                                                                      "which is everybody",
		"clientCA: ca.pem\ncertificates:\n- {name: c, dns: \"*.*\"}":                                                                        "which is everybody",
		"clientCA: ca.pem\ncertificates:\n- {name: c, dns: \"**.a\"}":                                                                       "want one * for one part",
		"clientCA: ca.pem\ncertificates:\n- {name: c, uri: \"spiffe://*/x\"}":                                                               "want such as spiffe://",
		"clientCA: ca.pem\ncertificates:\n- {name: c, uri: \"*\"}":                                                                          "want such as spiffe://",
		"oidc:\n- {name: i, audience: x}":                                                                                                   `access.yaml:2: oidc[0].issuer: is ""; want https`,
		"oidc:\n- {name: i, audience: x, issuer: \"http://id.example.org\"}":                                                                "want https (http is for this machine alone)",
		"oidc:\n- {name: i, audience: x, issuer: \"https://u:p@id.example.org\"}":                                                           "want https://HOST/PATH",
		"oidc:\n- {name: i, issuer: \"https://id.example.org\"}":                                                                            "oidc[0].audience: is missing; without it a token for any other service would do",
		"oidc:\n- {name: i, audience: x, issuer: \"https://id.example.org\", algorithms: [RS256, none]}":                                    `access.yaml:2: oidc[0].algorithms[1]: is "none"; want one of [RS256`,
		"oidc:\n- {name: i, audience: x, issuer: \"https://id.example.org\", algorithms: [HS256]}":                                          `is "HS256"`,
		"oidc:\n- {name: i, audience: x, issuer: \"https://id.example.org\", algorithms: []}":                                               "algorithms: is empty",
		"oidc:\n- {name: i, audience: x, issuer: \"https://id.example.org\", clockSkew: 10m}":                                               "clockSkew: is 10m0s; want 0s to 5m0s",
		"oidc:\n- {name: i, audience: x, issuer: \"https://id.example.org\"}\n- {name: j, audience: x, issuer: \"https://id.example.org\"}": "oidc[1].issuer: is there already",
		token + "people:\n- {name: p}":                                                                                                      "people[0].is: is missing",
		token + "people:\n- {name: p, is: [anonymous]}":                                                                                     `people[0].is[0]: is "anonymous"; want token:NAME`,
		token + "people:\n- {name: p, is: [token:b]}":                                                                                       "there is nothing in the file by that name",
		token + "people:\n- {name: p, is: [token:a]}\n- {name: q, is: [token:a]}":                                                           `people[1].is[0]: is "token:a", who is person:p already`,
		"grants:\n- {roles: [viewer], models: [\"*\"]}":                                                                                     "access.yaml:2: grants[0].to: is missing",
		"grants:\n- {to: [local], models: [\"*\"]}":                                                                                         "grants[0].roles: is missing",
		"grants:\n- {to: [local], roles: [admin], models: [\"*\"]}":                                                                         `grants[0].roles[0]: is "admin"; want viewer, operator, responder or approver`,
		"grants:\n- {to: [local], roles: [viewer]}":                                                                                         "grants[0].models: is missing",
		"grants:\n- {to: [local], roles: [viewer], models: [shop]}":                                                                         `models[0]: is "shop"; want *, NAMESPACE/*`,
		"grants:\n- {to: [local], roles: [viewer], models: [\"*/*\"]}":                                                                      `is "*/*"`,
		"grants:\n- {to: [local], roles: [viewer], models: [\"shop/r*\"]}":                                                                  `is "shop/r*"`,
		"grants:\n- {to: [local], roles: [viewer], models: [shop/a/b]}":                                                                     `grants[0].models[0]: is "shop/a/b"`,
		"grants:\n- {to: [alice], roles: [viewer], models: [\"*\"]}":                                                                        `grants[0].to[0]: is "alice"; want local, anonymous, or token:`,
		"grants:\n- {to: [token:x], roles: [viewer], models: [\"*\"]}":                                                                      `is "token:x", and there is nothing in the file by that name`,
		"grants:\n- {to: [\"group:corp:sre\"], roles: [viewer], models: [\"*\"]}":                                                           "nothing in the file by that name with a groupsClaim",
		"grants:\n- {to: [\"local:x\"], roles: [viewer], models: [\"*\"]}":                                                                  "nothing in the file",
		"grants:\n- {to: [local, anonymous], roles: [viewer, responder], models: [\"*\"]}":                                                  "grants[0].to[1]: is anonymous, which may be a viewer",
		"revive:\n- {approvals: 2, models: [\"*\"]}":                                                                                        "revive[0].approvals: is 2; want 0, or 1",
		"revive:\n- {approvals: 1}":                                                                                                         "revive[0].models: is missing",
	} {
		path := filepath.Join(dir, "access.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path, Options{})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), path) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), aliceToken) {
			t.Errorf("%q repeats a token", err)
		}
	}
}

func FuzzAccessFile(f *testing.F) {
	f.Add([]byte(good(f)))
	f.Add([]byte("oidc:\n- {name: i, audience: x, issuer: \"https://id.example.org\"}\ngrants:\n- {to: [\"oidc:i:x\"], roles: [viewer], models: [\"*\"]}"))
	f.Add([]byte("clientCA: /none\ncertificates:\n- {name: c, uri: \"spiffe://x/*\"}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parse("access.yaml", data, time.Now)
		if err != nil {
			if p != nil || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "access.yaml:") {
				t.Fatalf("no single line with a place: %q", err)
			}
			return
		}
		who, err := p.authenticate(t.Context(), Credentials{Peer: "10.0.0.5"})
		if err == nil && (Authorize(who, Kill, Everything()) == nil || Authorize(who, Rollback, Model("shop/rank")) == nil) {
			t.Fatalf("a stranger may change things: %+v", who)
		}
		if who, err := p.authenticate(t.Context(), Credentials{Authorization: []string{"Bearer x"}}); err == nil {
			t.Fatalf("one character is a token of %s", who.ID)
		}
	})
}

func TestDigestAndNewToken(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		token := NewToken()
		if !strings.HasPrefix(token, "sst_") || len(token) < 40 || !IsToken(token) || seen[token] {
			t.Fatalf("%q", token)
		}
		seen[token] = true
	}
	for token, want := range map[string]string{
		"short": "want 22 at least", "has a blank in it, and is long enough": "is no token", "": "is no token",
		strings.Repeat("a", maxToken+1): "want 22 at least",
	} {
		if _, err := Digest(token); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v", token, err)
		}
	}
	if d, err := Digest(strings.Repeat("a", 64)); err != nil || d != "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb" {
		t.Errorf("%s, %v", d, err) // by sha256sum
	}
}

// holder is what a certificate says.
type holder struct {
	common, dns, email string
	uris               []string
	ended, server      bool
}

// issue makes a certificate and its key.
func issue(t testing.TB, a *certtest.Authority, h holder) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	says := x509.Certificate{Subject: pkix.Name{CommonName: h.common}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if h.ended {
		says.NotAfter = time.Now().Add(-time.Minute)
	}
	if h.server {
		says.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		says.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	if h.dns != "" {
		says.DNSNames = []string{h.dns}
	}
	if h.email != "" {
		says.EmailAddresses = []string{h.email}
	}
	for _, text := range h.uris {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		says.URIs = append(says.URIs, u)
	}
	return a.Sign(t, says)
}

func parsed(t testing.TB, der []byte) []*x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return []*x509.Certificate{c}
}
