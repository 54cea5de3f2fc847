package audit

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A writer is NAME~FINGERPRINT: a replica's name and what its key is known by.
// The second and later chains of one key have a number behind it:
// "control-1~3f9a2c1177e0b45d.2". So a name says which key signs for it, a new
// data folder never continues an old chain, and no number is given out twice.
type writer struct {
	name        string
	fingerprint string
	chain       int // from 1
}

func (w writer) String() string {
	if w.chain == 1 {
		return w.name + "~" + w.fingerprint
	}
	return w.name + "~" + w.fingerprint + "." + strconv.Itoa(w.chain)
}

// next is the writer of the chain that goes on for this one.
func (w writer) next() writer {
	w.chain++
	return w
}

// parseWriter takes what String writes.
func parseWriter(s string) (w writer, ok bool) {
	name, rest, ok := strings.Cut(s, "~")
	if !ok || !validName(name) {
		return w, false
	}
	w = writer{name: name, chain: 1}
	var number string
	if w.fingerprint, number, ok = strings.Cut(rest, "."); ok {
		n, err := strconv.Atoi(number)
		if err != nil || n < 2 || n > 1_000_000 {
			return w, false
		}
		w.chain = n
	}
	raw, err := hex.DecodeString(w.fingerprint)
	return w, err == nil && len(raw) == fingerprintLength && w.String() == s
}

// maxReplica is the length of a replica's name in a writer.
const maxReplica = 63

func validName(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= maxReplica && s[0] != '.'
}

// fingerprintLength is in bytes. To make another key of the same fingerprint
// takes about 2^64 tries.
const fingerprintLength = 8

// Fingerprint is what a key is known by in the names of its writers.
func Fingerprint(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:fingerprintLength])
}

func publicOf(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

// fingerprintOf is the fingerprint in a writer's name.
func fingerprintOf(name string) string {
	w, _ := parseWriter(name)
	return w.fingerprint
}

// vouches reports whether a key is the one that a writer's name tells of.
func vouches(name string, key ed25519.PublicKey) bool {
	w, ok := parseWriter(name)
	return ok && len(key) == ed25519.PublicKeySize && Fingerprint(key) == w.fingerprint
}

// Names of the keys in a log's folder.
const (
	keyFile    = "key.pem"    // private, mode 0600
	publicFile = "public.pem" // for auditors
)

// loadKey reads the folder's key, and makes it where there is none.
func loadKey(dir string) (key ed25519.PrivateKey, made bool, err error) {
	path := filepath.Join(dir, keyFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = makeKey(dir)
		return key, true, err
	}
	if err != nil {
		return nil, false, folderFault(dir, err)
	}
	if err := os.Chmod(path, 0o600); err != nil { // one that was copied may be open to others
		return nil, false, folderFault(dir, err)
	}
	if block, _ := pem.Decode(text); block != nil {
		if parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if key, ok := parsed.(ed25519.PrivateKey); ok {
				return key, false, nil
			}
		}
	}
	return nil, false, fmt.Errorf("audit: %s is no Ed25519 key in PEM: move it away, and a new chain begins", path)
}

func makeKey(dir string) (ed25519.PrivateKey, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	text, err := publicPEM(public)
	if err == nil {
		err = replaceFile(filepath.Join(dir, publicFile), text, 0o644)
	}
	var private []byte
	if err == nil {
		private, err = x509.MarshalPKCS8PrivateKey(key)
	}
	if err == nil {
		err = replaceFile(filepath.Join(dir, keyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
	}
	if err != nil {
		return nil, folderFault(dir, err)
	}
	return key, nil
}

func publicPEM(key ed25519.PublicKey) ([]byte, error) {
	raw, err := x509.MarshalPKIXPublicKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: raw}), err
}

// ReadPublicKey reads a key as the file public.pem holds it.
func ReadPublicKey(path string) (ed25519.PublicKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(text); block != nil {
		if parsed, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
			if key, ok := parsed.(ed25519.PublicKey); ok {
				return key, nil
			}
		}
	}
	return nil, fmt.Errorf("audit: %s is no public Ed25519 key in PEM", path)
}
