package signing

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	"github.com/safestate/safestate/internal/policy"
)

// Subject is what a signature is about.
type Subject struct {
	Route     string // namespace/route/rule, as Envoy's own name of the route begins
	Namespace string // of the route
	Policy    string // the text, as the route's metadata has it
}

// domain keeps these signatures from being taken for any other that a key may
// ever make. Another layout of the bytes has another domain.
const domain = "safestate policy signature 1\n"

// message is the bytes that are signed: every part with its length before it, so
// that no two subjects have the same.
func (s Subject) message(format int) []byte {
	parts := [...]string{policy.MetadataNamespace, policy.MetadataPolicy, strconv.Itoa(format), s.Route, s.Namespace, s.Policy}
	size := len(domain)
	for _, p := range parts {
		size += 4 + len(p)
	}
	out := append(make([]byte, 0, size), domain...)
	for _, p := range parts {
		out = binary.BigEndian.AppendUint32(out, uint32(len(p))) //nolint:gosec // a policy has 16 KiB at most, and a name less
		out = append(out, p...)
	}
	return out
}

// Signature is a signature and the key that it is said to be by.
type Signature struct {
	Format int    // of the policy; see policy.FormatVersion
	KeyID  string // 16 hexadecimal digits
	bytes  [ed25519.SignatureSize]byte
}

// What a policy is refused for; match with errors.Is.
var (
	ErrUnsigned   = errors.New("the policy is not signed")
	ErrMalformed  = errors.New("the policy's signature is none: want FORMAT:KEY:BASE64")
	ErrUnknownKey = errors.New("the policy is signed by a key that is not known here, or not any more")
	ErrWrong      = errors.New("the policy's signature is wrong: the policy, its route or its namespace is not what was signed")
)

// Sign makes the text that goes beside the policy. Ed25519 is deterministic:
// equal subjects have equal texts.
func (p Private) Sign(s Subject) string {
	sig := Signature{Format: policy.FormatVersion, KeyID: p.Public().ID}
	copy(sig.bytes[:], ed25519.Sign(p.key, s.message(sig.Format)))
	return sig.String()
}

const (
	idLength = 16
	maxText  = 128 // more than any signature has
)

// encoding is base64 in the one form that a signature has: strict, so that two
// texts are never one signature.
var encoding = base64.RawURLEncoding.Strict()

// String writes what ParseSignature reads.
func (s Signature) String() string {
	return strconv.Itoa(s.Format) + ":" + s.KeyID + ":" + encoding.EncodeToString(s.bytes[:])
}

// ParseSignature reads a signature's text. It is ErrMalformed in any other form
// than the one that String writes.
func ParseSignature(text string) (Signature, error) {
	var s Signature
	if len(text) > maxText {
		return s, ErrMalformed
	}
	format, rest, ok := strings.Cut(text, ":")
	id, encoded, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 || !isID(id) {
		return s, ErrMalformed
	}
	n, err := strconv.Atoi(format)
	if err != nil || n < 1 || strconv.Itoa(n) != format {
		return s, ErrMalformed
	}
	raw, err := encoding.DecodeString(encoded)
	if err != nil || len(raw) != ed25519.SignatureSize || strings.ContainsAny(encoded, "\r\n") {
		return s, ErrMalformed
	}
	s.Format, s.KeyID = n, id
	copy(s.bytes[:], raw)
	return s, nil
}

func isID(id string) bool {
	if len(id) != idLength || strings.ToLower(id) != id {
		return false
	}
	_, err := hex.DecodeString(id)
	return err == nil
}

// verify reports whether a key made the signature of a subject.
func (s *Signature) verify(by Public, about Subject) bool {
	return s.KeyID == by.ID && ed25519.Verify(by.key, about.message(s.Format), s.bytes[:])
}
