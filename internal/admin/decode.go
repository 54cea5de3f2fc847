package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
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
		return nil, tooLarge()
	case err != nil:
		return nil, &Problem{Status: http.StatusBadRequest, Message: "the body could not be read to its end"}
	}
	return body, nil
}

func tooLarge() error {
	return &Problem{Status: http.StatusRequestEntityTooLarge, Message: "the request is larger than 64 KiB", Hint: "nothing that can be asked for takes as much"}
}

// decode fills into from the one JSON object that body is, strictly: a field
// that the type does not have, in these very letters, is refused by its name,
// and so is one that comes twice, or is null.
func decode(body []byte, into any) error {
	if text := strings.TrimLeft(string(body), " \t\r\n"); !strings.HasPrefix(text, "{") {
		return (&Problem{Status: http.StatusBadRequest, Message: "the body is no JSON object"}).Hinted("/v1/openapi.json says which fields it has")
	}
	if !utf8.Valid(body) {
		return (&Problem{Status: http.StatusBadRequest, Message: "the body is not UTF-8"}).Hinted("send JSON in UTF-8")
	}
	strict, err := kjson.UnmarshalStrict(body, into)
	if err != nil {
		return decodeProblem(body, into, err)
	}
	if len(strict) == 0 {
		return noNulls("", body)
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

func decodeProblem(body []byte, into any, err error) error {
	text := strings.TrimPrefix(err.Error(), "json: ")
	var wrong *json.UnmarshalTypeError
	switch syntax, _ := kjson.SyntaxErrorOffset(err); {
	case syntax:
		return (&Problem{Status: http.StatusBadRequest, Message: "the body is no valid JSON: " + text}).Hinted("send one JSON object")
	case !errors.As(err, &wrong):
		return Invalid(toBlame(body, into), "%s", text) // such as a duration that is none
	case wrong.Field != "":
		return Invalid(wrong.Field, "is a JSON %s, which does not fit here", wrong.Value)
	default:
		return Invalid(toBlame(body, into), "is a JSON %s, which does not fit here", wrong.Value)
	}
}

// noNulls refuses null, which is no value of any field: at is the path to text.
func noNulls(at string, text json.RawMessage) error {
	var fields map[string]json.RawMessage
	var elements []json.RawMessage
	switch {
	case string(text) == "null":
		return Invalid(at, "is null").Hinted("leave it out, or give it a value")
	case json.Unmarshal(text, &fields) == nil:
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if err := noNulls(strings.TrimPrefix(at+"."+name, "."), fields[name]); err != nil {
				return err
			}
		}
	case json.Unmarshal(text, &elements) == nil:
		for i, element := range elements {
			if err := noNulls(fmt.Sprintf("%s[%d]", at, i), element); err != nil {
				return err
			}
		}
	}
	return nil
}

// toBlame finds the field that cannot be read, where the error of a type that reads
// itself does not know its name.
func toBlame(body []byte, into any) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil {
		return "body"
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		alone, err := json.Marshal(map[string]json.RawMessage{name: fields[name]})
		if err != nil || json.Unmarshal(alone, reflect.New(reflect.TypeOf(into).Elem()).Interface()) != nil {
			return name
		}
	}
	return "body"
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
