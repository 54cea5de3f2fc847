package access

import (
	"fmt"
	"strings"
	"unicode"
)

// Class says why a request is refused, for its status.
type Class int

// The classes.
const (
	Unauthenticated Class = iota + 1 // who asks is not known: 401
	Forbidden                        // that one may not: 403
	Unavailable                      // it cannot be told now, and may be later: 503
	Malformed                        // a header is none: 400
)

// Refusal is why a request is refused, in one line for the person.
type Refusal struct {
	Class   Class
	Field   string // the header that is to blame; empty: none
	Message string
	Hint    string // what to do about it; may be empty
}

func (r *Refusal) Error() string {
	text := r.Message
	if r.Field != "" {
		text = r.Field + ": " + text
	}
	if r.Hint != "" {
		text += "; " + r.Hint
	}
	return text
}

func forbidden(format string, args ...any) *Refusal {
	return &Refusal{Class: Forbidden, Message: fmt.Sprintf(format, args...)}
}

func unauthenticated(format string, args ...any) *Refusal {
	return &Refusal{Class: Unauthenticated, Message: fmt.Sprintf(format, args...)}
}

func unavailable(format string, args ...any) *Refusal {
	return &Refusal{Class: Unavailable, Message: fmt.Sprintf(format, args...)}
}

// clip bounds what a message repeats of a stranger's text, and takes out what a
// terminal would act on.
func clip(text string) string {
	const most = 100
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}
