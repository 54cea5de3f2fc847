package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Head says how long a chain was at a time, signed by its writer: a chain that
// is shorter, or has another hash there, is not what it was.
type Head struct {
	Writer    string    `json:"writer"`
	Sequence  uint64    `json:"sequence"`
	Hash      Hash      `json:"hash"`
	At        time.Time `json:"at"`
	Signature Signature `json:"signature"`
}

// Witness is a head with the public key that checks it: the line of a file of
// heads or of an export, and what a webhook gets.
type Witness struct {
	Head Head              `json:"head"`
	Key  ed25519.PublicKey `json:"key"`
}

// witnessStart tells these lines from entries.
const witnessStart = `{"head":`

func newHead(writer string, sequence uint64, hash Hash, at time.Time, key ed25519.PrivateKey) Witness {
	h := Head{Writer: writer, Sequence: sequence, Hash: hash, At: moment(at)}
	copy(h.Signature[:], ed25519.Sign(key, h.signedBytes()))
	return Witness{h, publicOf(key)}
}

// signedBytes are what the signature is made of: the members but the signature.
func (h Head) signedBytes() []byte {
	b := append([]byte(headDomain), `{"writer":`...)
	b = quote(b, h.Writer)
	b = strconv.AppendUint(append(b, `,"sequence":`...), h.Sequence, 10)
	b = append(append(b, `,"hash":"`...), h.Hash.String()...)
	b = append(append(b, `","at":"`...), h.At.UTC().Format(timeLayout)...)
	return append(b, `"}`...)
}

// Line returns the witness as files and exports hold it, without the line's end.
func (w Witness) Line() []byte {
	b := append([]byte(witnessStart), w.Head.signedBytes()[len(headDomain):]...)
	b = append(b[:len(b)-1], `,"signature":"`...)
	b = append(append(b, w.Head.Signature.String()...), `"},"key":`...)
	key, _ := json.Marshal([]byte(w.Key)) // a text in base64 cannot fail
	return append(append(b, key...), '}')
}

// check says what is wrong with a head: the key in it has to be the one that the
// writer's name tells of, and to have signed it.
func (w Witness) check() error {
	switch {
	case !vouches(w.Head.Writer, w.Key):
		return fmt.Errorf("a head of %q with the key of another writer", clip(w.Head.Writer))
	case w.Head.Sequence == 0 || !writable(w.Head.At) || !ed25519.Verify(w.Key, w.Head.signedBytes(), w.Head.Signature[:]):
		return fmt.Errorf("a head of %s whose signature is wrong", w.Head.Writer)
	}
	return nil
}

// ParseWitness reads what Line writes, and checks the signature.
func ParseWitness(line []byte) (Witness, error) {
	var w Witness
	if err := json.Unmarshal(line, &w); err != nil {
		return w, fmt.Errorf("no head: %w", err)
	}
	if err := w.check(); err != nil {
		return w, err
	}
	if !bytes.Equal(w.Line(), line) {
		return w, fmt.Errorf("a head of %s that is not written as heads are", w.Head.Writer)
	}
	return w, nil
}
