package signing

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestKeysAreReadAsTheyAreWritten(t *testing.T) {
	one, two := fixed(t, 1), fixed(t, 2)
	private, err := ParsePrivate(append([]byte("a remark\n"), one.PEM()...))
	if err != nil || !private.Public().Equal(one.Public()) {
		t.Errorf("private: %v", err)
	}
	public, err := ParsePublic(slices.Concat(one.Public().PEM(), []byte("\n# the next\n"), two.Public().PEM()))
	if err != nil || len(public) != 2 || !public[0].Equal(one.Public()) || public[1].ID != two.Public().ID {
		t.Errorf("public: %v, %v", public, err)
	}
	if again, err := FromSeed(one.Seed()); err != nil || !again.Public().Equal(one.Public()) {
		t.Errorf("seed: %v", err)
	}
}

func TestFilesThatAreNone(t *testing.T) {
	one := fixed(t, 1)
	for name, c := range map[string]struct{ text, want string }{
		"empty":                    {"", "there is no key"},
		"a private key":            {string(one.PEM()), `"PRIVATE KEY"`},
		"a private one among":      {string(one.Public().PEM()) + string(one.PEM()), `"PRIVATE KEY"`},
		"no key in the block":      {"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "key 1 is no Ed25519 key"},
		"an RSA key":               {rsaPublic, "key 1 is no Ed25519 key"},
		"more than there can be":   {strings.Repeat(string(one.Public().PEM()), MaxKeys+1), "more than 32 keys"},
		"a certificate by mistake": {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", `"CERTIFICATE"`},
	} {
		if _, err := ParsePublic([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for name, text := range map[string]string{
		"empty": "", "public": string(one.Public().PEM()), "two": string(one.PEM()) + string(one.PEM()),
		"no key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
	} {
		if _, err := ParsePrivate([]byte(text)); err == nil || !strings.Contains(err.Error(), "want one PEM block PRIVATE KEY") {
			t.Errorf("private, %s: %v", name, err)
		}
	}
	if _, err := Generate(bytes.NewReader(make([]byte, 5))); err == nil {
		t.Error("5 random bytes made a key")
	}
}

func TestKeysAreFedFromSeveralSides(t *testing.T) {
	a, b := fixed(t, 1), fixed(t, 2)
	var keys Keys
	if !keys.Current().Empty() || (*Keys)(nil).Current() != nil {
		t.Error("there are keys before any is set")
	}
	keys.Set("file", a.Public())
	keys.Set("store", b.Public(), a.Public())
	was := keys.Current()
	if got := was.IDs(); len(got) != 2 {
		t.Errorf("got %v", got)
	}
	keys.Set("store", b.Public(), a.Public())
	if keys.Current() != was {
		t.Error("the same keys are another set: all that is remembered would be verified again")
	}
	keys.Set("file")
	keys.Set("store", b.Public())
	if err := keys.Current().Verify(fraud, a.Sign(fraud)); err == nil {
		t.Error("a key that both sides took out still verifies")
	}
	if err := keys.Current().Verify(fraud, b.Sign(fraud)); err != nil {
		t.Error(err)
	}
}

func TestASignerSignsAsItsKey(t *testing.T) {
	s := NewSigner(fixed(t, 1))
	for range 2 {
		if got := s.Sign(fraud.Route, fraud.Namespace, fraud.Policy); got != fixed(t, 1).Sign(fraud) {
			t.Errorf("got %s", got)
		}
	}
	for i := range mostKnown + 1 {
		s.Sign(fraud.Route, fraud.Namespace, strings.Repeat("x", i%50)+string(rune(i)))
	}
	if n := len(s.known); n > mostKnown {
		t.Errorf("it remembers %d", n)
	}
	if (*Signer)(nil).KeyID() != "" || s.KeyID() != fixed(t, 1).Public().ID {
		t.Error("the ids are wrong")
	}
}

// Of openssl genrsa 1024.
const rsaPublic = `-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCdFN5o0yNqJr2h9Wd3mpaOytQD
ivMoD8EOCErkMGUymvOEqCr+bCmnM18uHHvmj27N1eAC4RY7DiU75wUTDG8/MFEE
+OyTkkJvWiUoRag/ECuvwIxfRs4HqOjzau3ZR8O1OpDxb2EgPn1/Lh4GePRNSKsO
8+9Rw/h9HA+9axoH7QIDAQAB
-----END PUBLIC KEY-----
`
