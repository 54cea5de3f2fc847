package scan

import "strconv"

// Code says why a text was refused. The set is closed; the zero value is no
// code.
type Code uint8

// The codes.
const (
	Syntax       Code = iota + 1 // a byte that JSON does not allow at its place
	Truncated                    // the text ends inside a value
	Trailing                     // something other than blanks follows the value
	Empty                        // nothing but blanks
	UTF8                         // a string holds bytes that are not UTF-8
	BOM                          // the text begins with a byte order mark
	Depth                        // nested deeper than Limits.Depth
	NumberLength                 // a number longer than Limits.NumberChars
	TooManyNodes                 // more values than Limits.Nodes
	TooLarge                     // 2 GiB or more
)

var codeText = [...]string{
	Syntax:       "not JSON",
	Truncated:    "ends inside a value",
	Trailing:     "more after the value",
	Empty:        "empty",
	UTF8:         "not UTF-8",
	BOM:          "begins with a byte order mark",
	Depth:        "nested too deep",
	NumberLength: "a number is too long",
	TooManyNodes: "too many values",
	TooLarge:     "too large",
}

// String returns a few words that hold nothing of the text itself.
func (c Code) String() string {
	if c == 0 || int(c) >= len(codeText) {
		return "unknown"
	}
	return codeText[c]
}

// Error is the only error that Parse returns.
type Error struct {
	Offset int // of the byte that decided it, from 0; len(src) where the text ends too early
	Code   Code
}

// Error names the reason and the offset.
func (e *Error) Error() string { return e.Code.String() + " at byte " + strconv.Itoa(e.Offset) }
