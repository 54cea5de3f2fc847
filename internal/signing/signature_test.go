package signing

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/policy"
)

// fixed is the key of a seed of one byte: tests have the same every time.
func fixed(t testing.TB, b byte) Private {
	t.Helper()
	key, err := FromSeed(bytes.Repeat([]byte{b}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var fraud = Subject{Route: "default/fraud/score", Namespace: "default", Policy: `{"format":1,"name":"default/fraud"}`}

func TestASignatureIsOfOneSubject(t *testing.T) {
	key := fixed(t, 1)
	set := NewSet(fixed(t, 2).Public(), key.Public())
	text := key.Sign(fraud)
	if err := set.Verify(fraud, text); err != nil {
		t.Fatalf("its own subject: %v", err)
	}
	change := func(f func(*Subject)) Subject {
		s := fraud
		f(&s)
		return s
	}
	for name, s := range map[string]Subject{
		"another route":     change(func(s *Subject) { s.Route = "default/fraud/explain" }),
		"another namespace": change(func(s *Subject) { s.Namespace = "payments" }),
		"another policy":    change(func(s *Subject) { s.Policy = strings.Replace(s.Policy, "fraud", "froud", 1) }),
		"a blank more":      change(func(s *Subject) { s.Policy += " " }),
		"no route":          change(func(s *Subject) { s.Route = "" }),
		// The same bytes in a row, split elsewhere.
		"a border moved": {Route: "default/fraud/scored", Namespace: "efault", Policy: fraud.Policy},
	} {
		if err := set.Verify(s, text); !errors.Is(err, ErrWrong) {
			t.Errorf("%s: %v, want ErrWrong", name, err)
		}
	}
}

func TestSignaturesThatAreRefused(t *testing.T) {
	key := fixed(t, 1)
	text := key.Sign(fraud)
	parsed, err := ParseSignature(text)
	if err != nil {
		t.Fatal(err)
	}
	other := parsed
	other.Format++
	forged := parsed
	forged.bytes[40] ^= 1
	claimed, err := ParseSignature(fixed(t, 2).Sign(fraud))
	if err != nil {
		t.Fatal(err)
	}
	claimed.KeyID = parsed.KeyID
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"none":                        {"", ErrUnsigned},
		"of another format":           {other.String(), ErrWrong},
		"a bit flipped":               {forged.String(), ErrWrong},
		"by another key, by its name": {claimed.String(), ErrWrong},
		"by a key that is not known":  {fixed(t, 2).Sign(fraud), ErrUnknownKey},
		"no fields":                   {"x", ErrMalformed},
		"two fields":                  {text[2:], ErrMalformed},
		"four fields":                 {text + ":", ErrMalformed},
		"cut":                         {text[:len(text)-1], ErrMalformed},
		"padded":                      {text + "==", ErrMalformed},
		"a line break":                {text[:60] + "\n" + text[60:], ErrMalformed},
		"a sign before the format":    {"+" + text, ErrMalformed},
		"a zero before the format":    {"0" + text, ErrMalformed},
		"format 0":                    {"0" + text[1:], ErrMalformed},
		"a key in capitals":           {strings.ToUpper(text[:18]) + text[18:], ErrMalformed},
		"too long":                    {text + strings.Repeat("A", 100), ErrMalformed},
	} {
		if err := NewSet(key.Public()).Verify(fraud, c.text); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if err := (*Set)(nil).Verify(fraud, text); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("without keys: %v", err)
	}
	if text[:2] != "1:" || policy.FormatVersion != 1 {
		t.Errorf("%s does not begin with the format", text)
	}
}

// What is signed is what proxies out there carry: it must not change without its
// domain.
func TestSignaturesStayTheSame(t *testing.T) {
	const want = "1:34750f98bd59fcfc:"
	a, b := fixed(t, 1).Sign(fraud), fixed(t, 1).Sign(fraud)
	if a != b || !strings.HasPrefix(a, want) {
		t.Errorf("got %s and %s, want both to begin with %s", a, b, want)
	}
	if a != golden {
		t.Errorf("got  %s\nwant %s", a, golden)
	}
}

const golden = "1:34750f98bd59fcfc:3usvwrswPvhpnR0i1EcHOOqGFj-lIm2wzIgatzeWn6TBn1uh20BX9n9AGXoL9eq9ptr7IvkQzg2RJNMEm5caCg"

func FuzzParseSignature(f *testing.F) {
	f.Add(fixed(f, 1).Sign(fraud))
	f.Add("1:34750f98bd59fcfc:")
	f.Add("::")
	f.Add("1:34750f98bd59fcfc:" + strings.Repeat("A", 85) + "B")
	set := NewSet(fixed(f, 1).Public())
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSignature(text)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if s.String() != text {
			t.Fatalf("%q is written as %q: two texts are one signature", text, s.String())
		}
		if set.Verify(fraud, text) == nil && text != fixed(t, 1).Sign(fraud) {
			t.Fatalf("%q verifies", text)
		}
	})
}

func FuzzParsePublic(f *testing.F) {
	f.Add(fixed(f, 1).Public().PEM())
	f.Add(fixed(f, 1).PEM())
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := ParsePublic(text)
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("%d keys, %v", len(keys), err)
		}
		for _, k := range keys {
			again, err := ParsePublic(k.PEM())
			if err != nil || len(again) != 1 || !again[0].Equal(k) || again[0].ID != k.ID {
				t.Fatalf("%v, %v", again, err)
			}
		}
	})
}
