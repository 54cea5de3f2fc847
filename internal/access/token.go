package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"time"
)

// tokenPrefix lets a scanner for secrets know a token of ours.
const tokenPrefix = "sst_"

// leastToken is the fewest characters of a token that somebody else made: 128
// random bits in base64 are 22.
const leastToken = 22

// NewToken makes a token of 256 random bits. It is told once: what is kept is
// its [Digest].
func NewToken() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(raw[:])
}

// Digest is what an access file keeps of a token, in hexadecimal. A plain
// SHA-256 is enough: there is nothing to guess in 128 random bits.
func Digest(token string) (string, error) {
	switch {
	case !IsToken(token):
		return "", fmt.Errorf("that is no token: want letters, digits, and any of - . _ ~ + / with = at the end")
	case len(token) < leastToken || len(token) > maxToken:
		return "", fmt.Errorf("that token has %d characters: want %d at least, of 128 random bits", len(token), leastToken)
	}
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:]), nil
}

// token is one of the file.
type token struct {
	name    string
	digest  [sha256.Size]byte
	expires time.Time // zero: never
}

// tokenOf finds the one that was presented, looking at all, so that the time
// tells nothing.
func tokenOf(tokens []token, presented string) (found token, ok bool) {
	sum := sha256.Sum256([]byte(presented))
	for _, t := range tokens {
		if subtle.ConstantTimeCompare(sum[:], t.digest[:]) == 1 {
			found, ok = t, true
		}
	}
	return found, ok
}
