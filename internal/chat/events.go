package chat

import "bytes"

// Event is one server-sent event: everything up to and with the blank line that
// ends it, comments and fields without data included. Its slices are valid
// until the next call of the Splitter, and as long as the bytes that it was
// given do not change.
type Event struct {
	// Raw is the event as it came. InPlace tells that it lies in the bytes that
	// were given to Next, and not in a buffer of the Splitter.
	Raw     []byte
	InPlace bool
	// Data is what its data lines say, joined by line feeds; HasData tells an
	// empty text from none: an event without data says nothing.
	Data    []byte
	HasData bool
	Name    []byte // its event field, empty where there is none
	// Stray tells that a line is neither a comment nor one of the fields that
	// the specification has. Readers skip such a line; no model writes one.
	Stray bool
	// Part tells that this is only a piece of an event, which is over the limit:
	// Raw is all that there is to it.
	Part bool
}

// IsDone reports whether the event is the one that ends a stream. The openai
// client looks at how the data begins, and no further.
func (e *Event) IsDone() bool { return bytes.HasPrefix(e.Data, doneData) }

var doneData = []byte("[DONE]")

// DefaultEventBytes is the limit of a Splitter that was given none.
const DefaultEventBytes = 64 << 10

// smallBytes is what a Splitter keeps of a buffer that is not in use: the
// longest event of a stream without alternatives for each token has some 400
// bytes.
const smallBytes = 1 << 10

// Splitter cuts the bytes of an event stream, in whatever pieces they come,
// into whole events, as the WHATWG specification has them: a line ends with LF,
// CR or CRLF, a blank line ends an event, one byte order mark may stand in
// front. Events are the same however the bytes are cut. Between calls it holds
// what there is of the event that has begun, never more than the limit, and a
// kilobyte of room at most beside it. The zero value is ready. It is not safe
// for concurrent use.
//
//	for b := received; ; {
//		var e Event
//		var ok bool
//		if b, ok = s.Next(b, &e); !ok {
//			break
//		}
//		…
//	}
type Splitter struct {
	// Limit is the most bytes of one event, its line ends included; 0 stands for
	// DefaultEventBytes. An event over it comes in Parts.
	Limit int

	tail []byte // what is known of the event that has begun
	text []byte // data of several lines, joined
	// Of the last byte: it was a CR, whose LF may follow and is then part of the
	// line's end; that line was blank; the line that has begun has bytes already.
	cr, blank, inside bool
	over              bool // the event that has begun is over the limit
	used              bool // tail was given out as an event and is free
	begun             bool // the first event has been given out
}

// Next takes the first whole event off b. ok is false where b holds none: b is
// then used up, what there is of an event is kept, and rest is empty. b may be
// changed after the event has been looked at and rest is empty.
func (s *Splitter) Next(b []byte, e *Event) (rest []byte, ok bool) {
	s.recycle()
	n, whole := s.end(b)
	limit := s.Limit
	if limit <= 0 {
		limit = DefaultEventBytes
	}
	switch {
	case s.over && whole && n == 0: // its last CR was the end of it
		s.over = false
		return s.Next(b, e)
	case s.over || len(s.tail)+n > limit:
		s.part(b[:n:n], whole, e)
		return b[n:], n > 0
	case !whole:
		s.tail = append(s.tail, b[:n]...)
		return nil, false
	case len(s.tail) == 0:
		*e = Event{Raw: b[:n:n], InPlace: true}
	default:
		s.tail = append(s.tail, b[:n]...)
		s.used = true
		*e = Event{Raw: s.tail}
	}
	s.read(e)
	return b[n:], true
}

// part gives out the next piece of an event over the limit: what was kept of
// it, with b, which is what came of it now.
func (s *Splitter) part(b []byte, whole bool, e *Event) {
	*e = Event{Raw: b, InPlace: true, Part: true}
	if len(s.tail) > 0 {
		s.tail = append(s.tail, b...)
		s.used = true
		*e = Event{Raw: s.tail, Part: true}
	}
	s.over, s.begun = !whole, true
}

// End takes what is left at the end of the stream. ok is false where nothing
// is. whole is false for an event whose blank line never came: readers of the
// specification drop it.
func (s *Splitter) End(e *Event) (whole, ok bool) {
	s.recycle()
	whole = s.cr && s.blank
	s.cr, s.blank, s.inside = false, false, false
	if len(s.tail) == 0 || s.over {
		return false, false
	}
	s.used = true
	*e = Event{Raw: s.tail}
	s.read(e)
	return whole, true
}

// Held returns how many bytes of an event that has begun are kept.
func (s *Splitter) Held() int {
	if s.used {
		return 0
	}
	return len(s.tail)
}

// recycle frees the buffers of the last event.
func (s *Splitter) recycle() {
	if cap(s.text) > smallBytes {
		s.text = nil
	}
	if !s.used {
		return
	}
	s.used = false
	if s.tail = s.tail[:0]; cap(s.tail) > smallBytes {
		s.tail = nil
	}
}

// end returns how many bytes of b belong to the event that has begun, and
// whether it is whole with them. Where a piece ends with a CR, the event waits
// for the next byte, so that a CRLF is never cut.
func (s *Splitter) end(b []byte) (n int, whole bool) {
	if s.cr {
		if len(b) == 0 {
			return 0, false
		}
		if b[0] == '\n' {
			n = 1
		}
		s.cr = false
		if s.blank {
			s.blank = false
			return n, true
		}
	}
	for n < len(b) {
		i := lineEnd(b[n:])
		if i < 0 {
			s.inside = true
			return len(b), false
		}
		empty := i == 0 && !s.inside
		s.inside = false
		n += i + 1
		if b[n-1] == '\r' {
			if n == len(b) {
				s.cr, s.blank = true, empty
				return n, false
			}
			if b[n] == '\n' {
				n++
			}
		}
		if empty {
			return n, true
		}
	}
	return n, false
}

// lineEnd returns the offset of the first CR or LF, -1 for none. JSON has
// neither inside, so that the first search nearly always decides.
func lineEnd(b []byte) int {
	lf := bytes.IndexByte(b, '\n')
	if lf < 0 {
		return bytes.IndexByte(b, '\r')
	}
	if cr := bytes.IndexByte(b[:lf], '\r'); cr >= 0 {
		return cr
	}
	return lf
}

var byteOrderMark = []byte("\xEF\xBB\xBF")

// read reads the lines of e.Raw.
func (s *Splitter) read(e *Event) {
	b := e.Raw
	if !s.begun {
		s.begun = true
		b = bytes.TrimPrefix(b, byteOrderMark)
	}
	lines := 0
	for len(b) > 0 {
		line := b
		if i := lineEnd(b); i >= 0 {
			line, b = b[:i], b[i+1:]
		} else {
			b = nil
		}
		if len(line) == 0 || line[0] == ':' {
			continue // blank, the LF of a CRLF, or a comment
		}
		name, value := line, []byte(nil)
		if i := bytes.IndexByte(line, ':'); i >= 0 {
			name, value = line[:i], line[i+1:]
			if len(value) > 0 && value[0] == ' ' {
				value = value[1:]
			}
		}
		switch string(name) {
		case "data":
			s.join(e, value, lines)
			lines++
		case "event":
			e.Name = value
		case "id", "retry":
		default:
			e.Stray = true
		}
	}
	e.HasData = lines > 0
}

// join adds a data line to those before it, of which there are so many.
func (s *Splitter) join(e *Event, value []byte, before int) {
	switch before {
	case 0:
		e.Data = value
		return
	case 1:
		s.text = append(s.text[:0], e.Data...)
	}
	s.text = append(append(s.text, '\n'), value...)
	e.Data = s.text
}
