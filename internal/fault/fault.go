// Package fault makes errors from a format and values as fmt.Errorf does, for
// the verbs and kinds that the core writes, without reflection: package fmt, with
// what it reads values by, is a fifth of the size that the WASM filter may have.
package fault

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Errorf returns the error that fmt.Errorf returns, text and what it wraps (any
// number of %w) alike. The verbs are %s, %q, %.Nq, %d, %g, %v, %w and %%; the
// values are strings and bytes, errors and what has a method String, int, int64
// and float64. Named types are none of these: convert them. A test holds every
// call in the core against that; anything else is written as %!d(?) and never
// panics.
func Errorf(format string, args ...any) error {
	var (
		text  []byte
		wraps []error
	)
	for {
		before, verb, found := strings.Cut(format, "%")
		text = append(text, before...)
		if !found {
			break
		}
		most, verb := precision(verb)
		if verb == "" {
			text = append(text, "%!(NOVERB)"...)
			break
		}
		format = verb[1:]
		switch {
		case verb[0] == '%':
			text = append(text, '%')
		case len(args) == 0:
			text = append(text, '%', '!', verb[0])
			text = append(text, "(MISSING)"...)
		default:
			if err, ok := args[0].(error); ok && verb[0] == 'w' {
				wraps = append(wraps, err)
			}
			text = appendValue(text, verb[0], most, args[0])
			args = args[1:]
		}
	}
	switch len(wraps) {
	case 0:
		return errors.New(string(text))
	case 1:
		return &wrapper{string(text), wraps[0]}
	}
	return &wrappers{string(text), wraps}
}

// precision reads the .N in front of a verb; -1 is none.
func precision(verb string) (int, string) {
	if !strings.HasPrefix(verb, ".") {
		return -1, verb
	}
	most := 0
	for verb = verb[1:]; verb != "" && verb[0]-'0' <= 9; verb = verb[1:] {
		most = most*10 + int(verb[0]-'0')
	}
	return most, verb
}

// appendValue appends one value. most is how many characters of a text are
// written, -1 all.
func appendValue(dst []byte, verb byte, most int, value any) []byte {
	var text string
	switch v := value.(type) {
	case error:
		text = v.Error()
	case interface{ String() string }:
		text = v.String()
	case string:
		text = v
	case []byte:
		text = string(v)
	case int:
		return appendInt(dst, verb, int64(v))
	case int64:
		return appendInt(dst, verb, v)
	case float64:
		if verb != 'g' && verb != 'v' {
			return appendUnknown(dst, verb)
		}
		return strconv.AppendFloat(dst, v, 'g', -1, 64)
	default:
		return appendUnknown(dst, verb)
	}
	if most >= 0 {
		text = text[:prefix(text, most)]
	}
	switch verb {
	case 's', 'v', 'w':
		return append(dst, text...)
	case 'q':
		return strconv.AppendQuote(dst, text)
	}
	return appendUnknown(dst, verb)
}

func appendInt(dst []byte, verb byte, v int64) []byte {
	if verb != 'd' && verb != 'v' {
		return appendUnknown(dst, verb)
	}
	return strconv.AppendInt(dst, v, 10)
}

func appendUnknown(dst []byte, verb byte) []byte {
	return append(dst, '%', '!', verb, '(', '?', ')')
}

// prefix returns how many bytes the first n characters of s take.
func prefix(s string, n int) int {
	at := 0
	for ; n > 0 && at < len(s); n-- {
		_, size := utf8.DecodeRuneInString(s[at:])
		at += size
	}
	return at
}

type wrapper struct {
	text string
	err  error
}

func (w *wrapper) Error() string { return w.text }
func (w *wrapper) Unwrap() error { return w.err }

type wrappers struct {
	text string
	errs []error
}

func (w *wrappers) Error() string   { return w.text }
func (w *wrappers) Unwrap() []error { return w.errs }
