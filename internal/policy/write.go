//go:build !wasip1

package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// What only those need that make policies or tell them apart is not in the WASM
// filter: it reads policies that its own Envoy hands it with their digest.

// Marshal writes the form that the mesh carries. Equal policies give equal
// bytes.
func (p *Policy) Marshal() ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(p); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}

// MarshalJSON writes the condition as it is.
func (c Program) MarshalJSON() ([]byte, error) { return json.RawMessage(c).MarshalJSON() }

// UnmarshalJSON keeps the condition as it is written.
func (c *Program) UnmarshalJSON(text []byte) error {
	return (*json.RawMessage)(c).UnmarshalJSON(text)
}

// DigestHead is the first 8 bytes of what Digest writes, as a number.
func DigestHead(text string) uint64 {
	sum, head := sha256.Sum256([]byte(text)), uint64(0)
	for _, b := range sum[:8] {
		head = head<<8 | uint64(b)
	}
	return head
}

// Digest names a compiled policy: the sha256 of its text in lower-case hex.
func Digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
