package expr

// Code is why an expression has no answer.
type Code uint8

// The closed set of codes.
const (
	Unavailable  Code = iota // the document is not there or is not JSON
	NoSuchKey                // a missing key or header
	NoSuchIndex              // outside of the list, or no index at all
	DuplicateKey             // the key occurs more than once
	NoOverload               // an operator does not take these types
	Overflow                 // of an int or uint, also in conversions
	DivideByZero             // of an int or uint
	BadNumber                // a text that is no number or bool
	NotIterable              // a comprehension over something that is no list or map
	NotBool                  // the whole expression gave something else
	TooMuch                  // more than MaxSteps
)

var codeText = [...]string{
	Unavailable:  "not available as JSON",
	NoSuchKey:    "no such key",
	NoSuchIndex:  "no such index",
	DuplicateKey: "the key occurs more than once",
	NoOverload:   "no such overload",
	Overflow:     "integer overflow",
	DivideByZero: "division by zero",
	BadNumber:    "cannot convert",
	NotIterable:  "not a list or map",
	NotBool:      "the result is not a bool",
	TooMuch:      "the expression does too much for this body",
}

// Error is an evaluation that gave no answer.
type Error struct {
	Code   Code
	Detail string // the key, the operator or the type; may be text of the body
}

// Error names the cause and its detail.
func (e *Error) Error() string {
	text := "unknown error"
	if int(e.Code) < len(codeText) {
		text = codeText[e.Code]
	}
	if e.Detail == "" {
		return text
	}
	return text + ": " + e.Detail
}
