package signing

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
)

// Private signs. Its zero value cannot.
type Private struct{ key ed25519.PrivateKey }

// Public verifies. Its zero value verifies nothing.
type Public struct {
	// ID names the key: the first 16 hexadecimal digits of the SHA-256 of its 32
	// bytes. It is a name and no proof: two keys of one ID are both tried.
	ID  string
	key ed25519.PublicKey
}

// Generate makes a key of 32 bytes of random, which is crypto/rand's Reader but
// in tests.
func Generate(random io.Reader) (Private, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return Private{}, fmt.Errorf("a signing key cannot be made: %w", err)
	}
	return FromSeed(seed)
}

// FromSeed is the key of the 32 bytes that Seed returns.
func FromSeed(seed []byte) (Private, error) {
	if len(seed) != ed25519.SeedSize {
		return Private{}, fmt.Errorf("a signing key of %d bytes: want %d", len(seed), ed25519.SeedSize)
	}
	return Private{ed25519.NewKeyFromSeed(seed)}, nil
}

// Seed is what the key is made of: whoever has it signs.
func (p Private) Seed() []byte { return p.key.Seed() }

// Public is the half that verifies.
func (p Private) Public() Public { return publicOf(p.key.Public().(ed25519.PublicKey)) }

func publicOf(key ed25519.PublicKey) Public {
	sum := sha256.Sum256(key)
	return Public{ID: hex.EncodeToString(sum[:8]), key: key}
}

// Equal reports whether two are the same key.
func (p Public) Equal(other Public) bool { return p.key.Equal(other.key) }

// The blocks of PEM files, as openssl genpkey -algorithm ed25519 writes them.
const (
	blockPrivate = "PRIVATE KEY" // PKCS #8
	blockPublic  = "PUBLIC KEY"  // SubjectPublicKeyInfo
)

var errNoPrivate = errors.New("want one PEM block PRIVATE KEY with an Ed25519 key, as safestate keys generate writes it")

// PEM is the key as a file has it.
func (p Private) PEM() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil { // of a type that it does not know
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockPrivate, Bytes: der})
}

// ParsePrivate reads the one key of a file.
func ParsePrivate(text []byte) (Private, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != blockPrivate {
		return Private{}, errNoPrivate
	}
	if more, _ := pem.Decode(rest); more != nil {
		return Private{}, fmt.Errorf("there is more than one key: %w", errNoPrivate)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return Private{}, errNoPrivate
	}
	return Private{key}, nil
}

// PEM is the key as a file has it.
func (p Public) PEM() []byte {
	der, err := x509.MarshalPKIXPublicKey(p.key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockPublic, Headers: nil, Bytes: der})
}

// MaxKeys bounds the keys of one file: hosts need two, and a third while they
// change.
const MaxKeys = 32

// ParsePublic reads all keys of a file, in their order. A file without any is an
// error, and so is one with anything else in it: a private key above all, which a
// host has no use for.
func ParsePublic(text []byte) ([]Public, error) {
	var out []Public
	for len(out) <= MaxKeys {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != blockPublic {
			return nil, fmt.Errorf("there is a PEM block %q: want PUBLIC KEY blocks alone", block.Type)
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		key, ok := parsed.(ed25519.PublicKey)
		if err != nil || !ok {
			return nil, fmt.Errorf("key %d is no Ed25519 key", len(out)+1)
		}
		out = append(out, publicOf(key))
	}
	switch {
	case len(out) == 0:
		return nil, errors.New("there is no key: want PEM blocks PUBLIC KEY, as safestate keys list --pem prints them")
	case len(out) > MaxKeys:
		return nil, fmt.Errorf("there are more than %d keys", MaxKeys)
	}
	return out, nil
}
