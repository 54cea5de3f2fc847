package feed

import (
	"bytes"
	"fmt"

	"github.com/safestate/safestate/internal/signing"
)

// TrustedFile is the name, in the data folder, of the keys by the control plane's
// last word.
const TrustedFile = "policy-keys.pem"

// Trusted are the keys of policies that the control plane has named.
type Trusted struct {
	keys   *signing.Keys
	source string
	kept   kept
}

// OpenTrusted has keys trust, as one source of theirs, what the data folder has, as
// OpenEnforced.
func OpenTrusted(dir string, keys *signing.Keys, source string, problem func(error)) (*Trusted, error) {
	t := &Trusted{keys: keys, source: source}
	text, ok, err := t.kept.open(dir, TrustedFile, problem)
	if err != nil || !ok {
		return t, err
	}
	if err := t.trust(text); err != nil {
		return nil, t.kept.unreadable(err)
	}
	return t, nil
}

// Take has the host trust what a control plane names. Keys that cannot be read
// change nothing.
func (t *Trusted) Take(text string) error {
	if err := t.trust(text); err != nil {
		return fmt.Errorf("the keys of policies cannot be read, and those before are trusted still: %w", err)
	}
	t.kept.put(text)
	return nil
}

func (t *Trusted) trust(text string) error {
	if text == "" {
		t.keys.Set(t.source)
		return nil
	}
	public, err := signing.ParsePublic([]byte(text))
	if err == nil {
		t.keys.Set(t.source, public...)
	}
	return err
}

// Close ends tries to write.
func (t *Trusted) Close() { t.kept.close() }

// KeysText is the text of PolicyKeys.
func KeysText(keys []signing.Public) string {
	var b bytes.Buffer
	for _, k := range keys {
		b.Write(k.PEM())
	}
	return b.String()
}
