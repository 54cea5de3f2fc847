package audit

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"sort"
)

// walker reads a chain line by line and finds the first entry that is not as it
// was written. Because each hash takes in all that came before it, one good
// signature vouches for every entry up to it; so signatures are checked once a
// block. Not safe for concurrent use.
type walker struct {
	writer string                       // expected; learnt from the first entry where empty
	key    ed25519.PublicKey            // nil: learnt from the first entry
	keys   map[string]ed25519.PublicKey // that are trusted, by fingerprint; empty: any
	pruned bool                         // the chain may begin later than with entry 1

	first  uint64 // sequence of the first entry
	before Hash   // of the entry before it
	hashes []Hash // of the good entries
	last   Entry
	block  []place // good entries since the last signature that was checked
	size   int     // of block, in bytes

	bad     *Problem
	class   class  // of the line at which it went wrong
	genuine string // where the entry that was due is, if it is further down
	beyond  bool   // there are later entries further down
	good    func(e *Entry, line []byte)
}

// place is a line and where it is.
type place struct {
	line  []byte
	where string
}

// A block is as many lines as are kept in memory.
const (
	blockLines = 512
	blockBytes = 4 << 20
)

// class is what a line that should not be there is.
type class int

const (
	garbage  class = iota // no entry at all
	altered               // an entry whose hash is not that of its content
	foreign               // an entry of another writer
	repeated              // an earlier entry, again
	ahead                 // a later entry
	unlinked              // the entry that is due, behind another one than here
	forged                // signed by nobody
	right                 // what is due
)

// due is the sequence of the next entry, 0 where it may be any.
func (w *walker) due() uint64 {
	if len(w.hashes) == 0 {
		if w.pruned {
			return 0
		}
		return 1
	}
	return w.first + uint64(len(w.hashes))
}

func (w *walker) prev() Hash {
	if len(w.hashes) == 0 {
		return Hash{}
	}
	return w.hashes[len(w.hashes)-1]
}

// line takes the next one.
func (w *walker) line(line []byte, where string) {
	if w.bad != nil {
		w.later(line, where)
		return
	}
	e, c, detail := w.look(line)
	if c != right {
		w.settle()
		if (c == repeated || c == ahead || c == unlinked) && w.key != nil && !w.verified(line) {
			c, detail = forged, "the writer did not sign it"
		}
		if w.bad == nil {
			w.fail(c, w.due(), where, detail)
		}
		w.later(line, where)
		return
	}
	if len(w.hashes) == 0 {
		w.first, w.before, w.writer = e.Sequence, e.Prev, e.Writer
		w.learnKey(&e)
	}
	w.hashes, w.last = append(w.hashes, e.Hash), e
	w.block, w.size = append(w.block, place{append([]byte(nil), line...), where}), w.size+len(line)
	if w.good != nil {
		w.good(&e, line)
	}
	if len(w.block) >= blockLines || w.size >= blockBytes {
		w.settle()
	}
}

// look says what a line is, where the next entry is due.
func (w *walker) look(line []byte) (e Entry, c class, detail string) {
	e, err := Parse(line)
	due := w.due()
	switch {
	case err != nil:
		return e, garbage, err.Error()
	case !intact(line, &e):
		return e, altered, "its hash is not that of its content"
	case w.writer != "" && e.Writer != w.writer, w.writer == "" && len(w.keys) > 0 && w.keys[fingerprintOf(e.Writer)] == nil:
		return e, foreign, fmt.Sprintf("entry %d of %s stands in its place", e.Sequence, e.Writer)
	case due != 0 && e.Sequence < due:
		return e, repeated, fmt.Sprintf("entry %d stands in its place", e.Sequence)
	case due != 0 && e.Sequence > due:
		return e, ahead, fmt.Sprintf("entry %d stands in its place", e.Sequence)
	case due != 0 && e.Prev != w.prev():
		return e, unlinked, "it was written behind another entry than the one before it"
	}
	return e, right, ""
}

// learnKey takes the key from those that are trusted, or from the first entry.
func (w *walker) learnKey(e *Entry) {
	if w.key == nil {
		w.key = w.keys[fingerprintOf(e.Writer)]
	}
	if w.key == nil && e.Sequence == 1 {
		w.key = keyOf(e)
	}
}

// keyOf is the public key that a chain's first entry tells, if it is the one of
// its writer.
func keyOf(e *Entry) ed25519.PublicKey {
	var told struct {
		Key ed25519.PublicKey `json:"public_key"`
	}
	if e.Kind != KindStart || json.Unmarshal(e.Evidence, &told) != nil || !vouches(e.Writer, told.Key) {
		return nil
	}
	return told.Key
}

// settle checks the signature of the block's last entry, and where that is wrong
// finds the first that is.
func (w *walker) settle() {
	block := w.block
	w.block, w.size = nil, 0
	if len(block) == 0 || w.key == nil || w.verified(block[len(block)-1].line) {
		return
	}
	// Entries whose signatures are good are all before those whose are not.
	i := sort.Search(len(block), func(i int) bool { return !w.verified(block[i].line) })
	w.hashes = w.hashes[:len(w.hashes)-(len(block)-i)]
	due := w.due()
	if due == 0 {
		due = w.first
	}
	w.fail(forged, due, block[i].where, "the writer did not sign it")
	for _, p := range block[i:] {
		w.later(p.line, p.where)
	}
}

// verified reports whether the writer signed a line.
func (w *walker) verified(line []byte) bool {
	e, err := Parse(line)
	return err == nil && w.key != nil && signed(line, &e, w.key)
}

func (w *walker) fail(c class, sequence uint64, where, detail string) {
	if sequence == 0 {
		sequence = 1 // nothing before it was there to count from
	}
	w.class = c
	w.bad = &Problem{Writer: w.writer, Sequence: sequence, Where: where, Detail: detail}
}

// later looks for the entry that was due in a line at or after the one that is
// wrong.
func (w *walker) later(line []byte, where string) {
	if w.genuine != "" {
		return
	}
	e, err := Parse(line)
	if err != nil || !intact(line, &e) {
		return
	}
	if w.writer == "" && (len(w.keys) == 0 || w.keys[fingerprintOf(e.Writer)] != nil) { // the very first line was wrong
		w.writer = e.Writer
		w.learnKey(&e)
	}
	if e.Sequence < w.bad.Sequence || e.Writer != w.writer || w.beyond && e.Sequence > w.bad.Sequence || !w.verified(line) {
		return
	}
	w.beyond = w.beyond || e.Sequence > w.bad.Sequence
	if e.Sequence == w.bad.Sequence && e.Prev == w.prev() {
		w.genuine = where
	}
}

// end says what is wrong with the chain, nil if nothing is.
func (w *walker) end() *Problem {
	if w.bad == nil {
		w.settle()
	}
	if w.bad == nil && w.key == nil && len(w.hashes) > 0 {
		return &Problem{Writer: w.writer, Sequence: w.first, Fault: Unsigned,
			Detail: "no public key of this writer is there, and without one anybody could have written the chain"}
	}
	if w.bad == nil {
		return nil
	}
	w.bad.Writer = w.writer
	switch {
	case w.genuine != "" && w.class == ahead:
		w.bad.Fault = Reordered
		w.bad.Detail += ", and it stands further down, at " + w.genuine
	case w.genuine != "":
		w.bad.Fault = Inserted
		w.bad.Detail = inserted[w.class] + " stands before it; the entry itself is at " + w.genuine
	case w.writer == "" && w.class == foreign:
		w.bad.Fault, w.bad.Sequence = Unsigned, 0
		w.bad.Detail = "no entry is of a key among those that were given: " + w.bad.Detail
	case w.class == ahead:
		w.bad.Fault = Dropped
	case !w.beyond && (w.class == repeated || w.class == foreign):
		w.bad.Fault = Inserted
		w.bad.Detail = inserted[w.class] + " stands at the chain's end"
	case w.class == unlinked:
		w.bad.Fault = Unlinked
	default:
		w.bad.Fault = Changed
	}
	return w.bad
}

// inserted names what stands where it does not belong.
var inserted = map[class]string{
	garbage: "a line that is no entry", altered: "an altered entry", foreign: "an entry of another chain",
	repeated: "a copy of an earlier entry", unlinked: "another entry of its number", forged: "an entry that the writer did not sign",
}
