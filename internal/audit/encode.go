package audit

import (
	"crypto/ed25519"
	"crypto/sha256"
	"strconv"
	"time"
)

// A line of a chain is an entry's members in their order, without spaces:
//
//	{"v":1, … ,"signature":"S","prev":"P","hash":"H"}
//
// S signs P and the line without its last three members; H is the SHA-256 of P
// and the line without its last two. The ends have fixed lengths, so whoever
// checks a line cuts bytes off and need not write JSON anew.
const (
	signatureTail = len(`,"signature":""`) + 88
	hashTail      = len(`,"prev":"","hash":""}`) + 64 + 64
)

// times have one length.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// Line returns the entry as a chain holds it, without the line's end.
func (e *Entry) Line() []byte {
	b := e.appendMembers(make([]byte, 0, 1024))
	b = e.appendSignature(b)
	b = append(b, `,"prev":"`...)
	b = append(b, e.Prev.String()...)
	b = append(b, `","hash":"`...)
	b = append(b, e.Hash.String()...)
	return append(b, `"}`...)
}

func (e *Entry) appendSignature(b []byte) []byte {
	b = append(b, `,"signature":"`...)
	b = append(b, e.Signature.String()...)
	return append(b, '"')
}

// appendMembers writes all but signature, prev, hash and the closing brace.
func (e *Entry) appendMembers(b []byte) []byte {
	text := func(name, value string) {
		if value != "" {
			b = quote(append(b, name...), value)
		}
	}
	raw := func(name string, value []byte) {
		if len(value) > 0 {
			b = append(append(b, name...), value...)
		}
	}
	b = strconv.AppendInt(append(b, `{"v":`...), int64(e.V), 10)
	b = quote(append(b, `,"writer":`...), e.Writer)
	b = strconv.AppendUint(append(b, `,"sequence":`...), e.Sequence, 10)
	text(`,"at":`, e.At.UTC().Format(timeLayout))
	b = quote(append(b, `,"kind":`...), string(e.Kind))
	b = quote(append(b, `,"id":`...), e.ID)
	if !e.Happened.IsZero() {
		text(`,"happened":`, e.Happened.UTC().Format(timeLayout))
	}
	b = quote(append(b, `,"actor":{"name":`...), e.Actor.Name)
	text(`,"how":`, e.Actor.How)
	text(`,"address":`, e.Actor.Address)
	b = append(b, '}')
	text(`,"target":`, e.Target)
	text(`,"reason":`, e.Reason)
	raw(`,"before":`, e.Before)
	raw(`,"after":`, e.After)
	raw(`,"evidence":`, e.Evidence)
	if e.Generation != 0 {
		b = strconv.AppendUint(append(b, `,"generation":`...), e.Generation, 10)
	}
	return quote(append(b, `,"outcome":`...), string(e.Outcome))
}

// What is signed begins with what it is, so that no signature passes for
// another kind's.
const (
	entryDomain = "safestate audit entry 1\n"
	headDomain  = "safestate audit head 1\n"
)

// sealed gives a prepared entry its place in a chain: after the entry whose hash
// prev is.
func (e Entry) sealed(writer string, sequence uint64, at time.Time, prev Hash, key ed25519.PrivateKey) Entry {
	e.Writer, e.Sequence, e.At, e.Prev = writer, sequence, moment(at), prev
	members := e.appendMembers(make([]byte, 0, 1024))
	copy(e.Signature[:], ed25519.Sign(key, signedBytes(prev, members)))
	e.Hash = hashOf(prev, e.appendSignature(members))
	return e
}

// signedBytes are what an entry's signature is made of; members are the line's,
// without the closing brace.
func signedBytes(prev Hash, members []byte) []byte {
	b := make([]byte, 0, len(entryDomain)+len(prev)+len(members)+1)
	b = append(append(b, entryDomain...), prev[:]...)
	return append(append(b, members...), '}')
}

// hashOf is an entry's hash; members are the line's, signature included.
func hashOf(prev Hash, members []byte) Hash {
	h := sha256.New()
	h.Write(prev[:])
	h.Write(members)
	h.Write([]byte{'}'})
	return Hash(h.Sum(nil))
}

// intact reports whether a line's hash is that of its content. The line is one
// that Parse took.
func intact(line []byte, e *Entry) bool {
	return hashOf(e.Prev, line[:len(line)-hashTail]) == e.Hash
}

// signed reports whether a line was signed by a key. The line is one that Parse
// took.
func signed(line []byte, e *Entry, key ed25519.PublicKey) bool {
	return ed25519.Verify(key, signedBytes(e.Prev, line[:len(line)-hashTail-signatureTail]), e.Signature[:])
}
