package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Parse reads a line of a chain, without its end. It takes what [Entry.Line]
// writes and nothing else: one order of members, no spaces, clean texts. A kind
// or an outcome that it does not know is one of a later version, and is taken.
// It does not check hash and signature: that is [Verify].
func Parse(line []byte) (Entry, error) {
	if len(line) >= MaxLine {
		return Entry{}, fmt.Errorf("a line of %d bytes", len(line))
	}
	p := parser{rest: line}
	e := p.entry()
	if p.err == nil && len(p.rest) > 0 {
		p.fail("more after its end")
	}
	if p.err == nil && !bytes.Equal(e.Line(), line) {
		p.fail("not written as entries are")
	}
	if p.err != nil {
		return Entry{}, fmt.Errorf("%w at byte %d", p.err, len(line)-len(p.rest)+1)
	}
	return e, nil
}

// parser reads from the start of rest, and no more once it has failed.
type parser struct {
	rest []byte
	err  error
}

func (p *parser) fail(what string) {
	if p.err == nil {
		p.err = errors.New(what)
	}
}

func (p *parser) entry() (e Entry) {
	p.must(`{"v":`)
	e.V = int(p.number(math.MaxInt32))
	if p.err == nil && e.V != version {
		p.fail("format " + strconv.Itoa(e.V) + ", which this version cannot read,")
	}
	p.must(`,"writer":`)
	e.Writer = p.text(maxName)
	if _, ok := parseWriter(e.Writer); !ok {
		p.fail("no writer")
	}
	p.must(`,"sequence":`)
	if e.Sequence = p.number(math.MaxInt64); e.Sequence == 0 {
		p.fail("no sequence number")
	}
	p.must(`,"at":`)
	e.At = p.time()
	p.must(`,"kind":`)
	e.Kind = Kind(p.word())
	p.must(`,"id":`)
	if e.ID = p.text(MaxID); e.ID == "" {
		p.fail("no ID")
	}
	if p.may(`,"happened":`) {
		e.Happened = p.time()
	}
	p.must(`,"actor":{"name":`)
	if e.Actor.Name = p.text(maxName); e.Actor.Name == "" {
		p.fail("no actor")
	}
	e.Actor.How = p.optional(`,"how":`, maxName)
	e.Actor.Address = p.optional(`,"address":`, maxName)
	p.must(`}`)
	e.Target = p.optional(`,"target":`, maxTarget)
	e.Reason = p.optional(`,"reason":`, maxReason)
	e.Before = p.raw(`,"before":`, maxState)
	e.After = p.raw(`,"after":`, maxState)
	e.Evidence = p.raw(`,"evidence":`, maxEvidence)
	if p.may(`,"generation":`) {
		e.Generation = p.number(math.MaxUint64)
	}
	p.must(`,"outcome":`)
	e.Outcome = Outcome(p.word())
	p.must(`,"signature":`)
	p.binary(&e.Signature)
	p.must(`,"prev":`)
	p.binary(&e.Prev)
	p.must(`,"hash":`)
	p.binary(&e.Hash)
	p.must(`}`)
	return e
}

func (p *parser) may(literal string) bool {
	if p.err != nil || !bytes.HasPrefix(p.rest, []byte(literal)) {
		return false
	}
	p.rest = p.rest[len(literal):]
	return true
}

func (p *parser) must(literal string) {
	if !p.may(literal) {
		p.fail("not an entry: want " + literal)
	}
}

func (p *parser) number(most uint64) uint64 {
	n := 0
	for n < len(p.rest) && n < 20 && p.rest[n] >= '0' && p.rest[n] <= '9' {
		n++
	}
	value, err := strconv.ParseUint(string(p.rest[:n]), 10, 64)
	if err != nil || value > most {
		p.fail("no number")
		return 0
	}
	p.rest = p.rest[n:]
	return value
}

// text reads a string, in which a quote and a backslash alone are escaped.
func (p *parser) text(most int) string {
	end := stringEnd(p.rest)
	if p.err != nil || end < 0 {
		p.fail("no text")
		return ""
	}
	s := make([]byte, 0, end)
	for i := 1; i < end-1; i++ {
		if p.rest[i] == '\\' {
			i++
		}
		s = append(s, p.rest[i])
	}
	if len(s) > most || !printable(string(s)) {
		p.fail("a text that is too long, or does not print,")
		return ""
	}
	p.rest = p.rest[end:]
	return string(s)
}

// stringEnd is the length of the JSON string at the start of b, -1 if there is
// none.
func stringEnd(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return -1
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

func (p *parser) optional(name string, most int) string {
	if !p.may(name) {
		return ""
	}
	return p.text(most)
}

// word reads a kind or an outcome.
func (p *parser) word() string {
	s := p.text(32)
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			p.fail("no word")
		}
	}
	if s == "" {
		p.fail("no word")
	}
	return s
}

func (p *parser) time() time.Time {
	t, err := time.Parse(timeLayout, p.text(len(timeLayout)))
	if err != nil || t.IsZero() {
		p.fail("no time")
	}
	return t
}

func (p *parser) binary(into interface{ UnmarshalText([]byte) error }) {
	if err := into.UnmarshalText([]byte(p.text(100))); err != nil {
		p.fail("neither a hash nor a signature")
	}
}

// raw reads a JSON value, if it is there.
func (p *parser) raw(name string, most int) json.RawMessage {
	if !p.may(name) {
		return nil
	}
	end := valueEnd(p.rest)
	value := p.rest[:end]
	if end == 0 || end > most || !json.Valid(value) || !bytes.Equal(cleanJSON(value, most), value) {
		p.fail("JSON that is not written as in entries")
		return nil
	}
	p.rest = p.rest[end:]
	return bytes.Clone(value)
}

// valueEnd is where the JSON value at the start of b ends, if it is one; it
// looks at brackets and strings alone.
func valueEnd(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			n := stringEnd(b[i:])
			if n < 0 {
				return 0
			}
			i += n - 1
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']', ',':
			if depth == 0 { // of the object that the value is in
				return i
			}
			if b[i] == ',' {
				continue
			}
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}
