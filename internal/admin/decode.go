package admin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	kjson "sigs.k8s.io/json"
)

// maxBody is the most bytes of a request's body: steps, a reason and names.
const maxBody = 64 << 10

// readBody reads a body up to its limit.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, &Problem{Status: http.StatusRequestEntityTooLarge, Message: "the body is larger than 64 KiB"}
	case err != nil:
		return nil, &Problem{Status: http.StatusBadRequest, Message: "the body could not be read to its end"}
	}
	return body, nil
}

// decode fills into from the one JSON object that body is, strictly: a field
// that the type does not have, in these very letters, is refused by its name,
// and so is one that comes twice.
func decode(body []byte, into any) error {
	if text := strings.TrimLeft(string(body), " \t\r\n"); !strings.HasPrefix(text, "{") {
		return &Problem{Status: http.StatusBadRequest, Message: "the body is no JSON object"}
	}
	if !utf8.Valid(body) {
		return &Problem{Status: http.StatusBadRequest, Message: "the body is not UTF-8"}
	}
	strict, err := kjson.UnmarshalStrict(body, into)
	if err != nil {
		return decodeProblem(err)
	}
	if len(strict) == 0 {
		return nil
	}
	field := ""
	var named kjson.FieldError
	if errors.As(strict[0], &named) {
		field = named.FieldPath()
	}
	if strings.HasPrefix(strict[0].Error(), "duplicate ") {
		return Invalid(field, "is there twice")
	}
	return Invalid(field, "is no field of this request")
}

func decodeProblem(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return Invalid(wrong.Field, "is a JSON %s, which does not fit here", wrong.Value)
	}
	text := strings.TrimPrefix(err.Error(), "json: ")
	if syntax, _ := kjson.SyntaxErrorOffset(err); syntax {
		text = "the body is no valid JSON: " + text
	}
	return &Problem{Status: http.StatusBadRequest, Message: text} // such as a duration that is none
}

// Bounds of what a person writes.
const (
	maxReason = 1000 // characters
	maxName   = 253
)

// reasonOf checks a reason: history without one is of no use to whoever comes next.
func reasonOf(reason string) error {
	switch {
	case strings.TrimSpace(reason) == "":
		return Invalid("reason", "is missing").Hinted("say why, for whoever reads the history")
	case utf8.RuneCountInString(reason) > maxReason:
		return Invalid("reason", "is longer than %d characters", maxReason)
	case !printable(reason):
		return Invalid("reason", "has characters that cannot be printed, line breaks among them")
	}
	return nil
}

// printable reports whether a terminal shows the text as it is.
func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

var dnsName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

// nameOf checks one part of an object's name.
func nameOf(field, name string) error {
	if len(name) > maxName || !dnsName.MatchString(name) {
		return Invalid(field, "is no name: want lower-case letters, digits, - and .")
	}
	return nil
}

// isObject reports whether name is "namespace/name".
func isObject(name string) bool {
	namespace, rest, ok := strings.Cut(name, "/")
	return ok && nameOf("", namespace) == nil && nameOf("", rest) == nil
}

// oneOf checks a word of a closed set.
func oneOf(field, word string, words ...string) error {
	if slices.Contains(words, word) {
		return nil
	}
	if word == "" {
		return Invalid(field, "is missing").Hinted("want one of %s", strings.Join(words, ", "))
	}
	return Invalid(field, "is none of %s", strings.Join(words, ", "))
}
