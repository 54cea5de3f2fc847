package scan

import (
	"errors"
	"strconv"
	"strings"
)

// The bounds of a path.
const (
	maxSegments = 32
	maxStars    = 8
)

type segmentKind uint8

const (
	member segmentKind = iota
	index
	every
)

type segment struct {
	kind  segmentKind
	key   string
	index int
}

// Path names places in a document: "outputs[0].data", "predictions[*].score",
// "a['b.c']". It is immutable and safe for concurrent use. The zero Path names
// the root.
type Path struct {
	text     string
	segments []segment
	stars    int
}

// String returns the text that was parsed.
func (p Path) String() string { return p.text }

// Errors of ParsePath, wrapped with their place.
var (
	errPathEmpty  = errors.New("empty")
	errPathName   = errors.New("a name is missing")
	errPathIndex  = errors.New("wants [0], [*] or ['name']")
	errPathQuote  = errors.New("a quoted name has no end")
	errPathJoin   = errors.New("wants . or [ between steps")
	errPathLong   = errors.New("more than 32 steps")
	errPathStars  = errors.New("more than 8 times [*]")
	errPathNumber = errors.New("an index is a number up to 2147483647 without leading zeros")
)

// ParsePath reads a path: names joined by points, [n] for an array's element,
// [*] for every one, ['name'] or ["name"] for a name that holds points or
// brackets (within the quotes a backslash takes the next character as it is).
// A path has up to 32 steps, 8 of them [*].
func ParsePath(s string) (Path, error) {
	p := Path{text: s}
	fail := func(at int, err error) (Path, error) {
		return Path{}, errors.New("path " + strconv.Quote(s) + " at " + strconv.Itoa(at) + ": " + err.Error())
	}
	if s == "" {
		return fail(0, errPathEmpty)
	}
	for i := 0; i < len(s); {
		var seg segment
		var n int
		var err error
		switch {
		case s[i] == '[':
			seg, n, err = parseBracket(s[i:])
		case s[i] == '.' && i > 0:
			i++
			seg, n, err = parseName(s[i:])
		case i == 0:
			seg, n, err = parseName(s)
		default:
			err = errPathJoin
		}
		if err != nil {
			return fail(i, err)
		}
		if seg.kind == every {
			p.stars++
		}
		p.segments = append(p.segments, seg)
		if len(p.segments) > maxSegments {
			return fail(i, errPathLong)
		}
		if p.stars > maxStars {
			return fail(i, errPathStars)
		}
		i += n
	}
	return p, nil
}

// parseName reads a bare name up to the next point or bracket.
func parseName(s string) (segment, int, error) {
	n := strings.IndexAny(s, ".[]'\"")
	if n < 0 {
		n = len(s)
	}
	if n == 0 {
		return segment{}, 0, errPathName
	}
	if n < len(s) && s[n] != '.' && s[n] != '[' {
		return segment{}, 0, errPathJoin
	}
	return segment{kind: member, key: s[:n]}, n, nil
}

// parseBracket reads a step in brackets.
func parseBracket(s string) (segment, int, error) {
	if strings.HasPrefix(s, "[*]") {
		return segment{kind: every}, 3, nil
	}
	if len(s) > 1 && (s[1] == '\'' || s[1] == '"') {
		return parseQuoted(s)
	}
	n := strings.IndexByte(s, ']')
	if n < 2 {
		return segment{}, 0, errPathIndex
	}
	digits := s[1:n]
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return segment{}, 0, errPathIndex
		}
	}
	v, err := strconv.ParseInt(digits, 10, 32)
	if err != nil || len(digits) > 1 && digits[0] == '0' {
		return segment{}, 0, errPathNumber
	}
	return segment{kind: index, index: int(v)}, n + 1, nil
}

// parseQuoted reads ['name'] or ["name"].
func parseQuoted(s string) (segment, int, error) {
	quote := s[1]
	var key []byte
	for i := 2; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			key = append(key, s[i])
		case s[i] == quote:
			if i+1 >= len(s) || s[i+1] != ']' {
				return segment{}, 0, errPathQuote
			}
			return segment{kind: member, key: string(key)}, i + 2, nil
		default:
			key = append(key, s[i])
		}
	}
	return segment{}, 0, errPathQuote
}

// AppendAt appends the path with each [*] replaced by its index of stars, to
// name one place: "predictions[3].score". A star without an index stays [*].
func (p Path) AppendAt(dst []byte, stars []int) []byte {
	for i, s := range p.segments {
		switch s.kind {
		case member:
			dst = appendName(dst, s.key, i == 0)
		case index:
			dst = appendIndex(dst, s.index)
		default:
			if len(stars) == 0 {
				dst = append(dst, "[*]"...)
				continue
			}
			dst = appendIndex(dst, stars[0])
			stars = stars[1:]
		}
	}
	return dst
}

func appendIndex(dst []byte, i int) []byte {
	dst = append(dst, '[')
	dst = strconv.AppendInt(dst, int64(i), 10)
	return append(dst, ']')
}

// appendName appends a name bare where ParsePath would read it so.
func appendName(dst []byte, key string, first bool) []byte {
	if key != "" && !strings.ContainsAny(key, ".[]'\"") {
		if !first {
			dst = append(dst, '.')
		}
		return append(dst, key...)
	}
	dst = append(dst, "['"...)
	for _, c := range []byte(key) {
		if c == '\'' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, "']"...)
}
