package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

// wild stands for what a template writes and what only the request decides. It
// fits every type.
const wild = "\x00wild"

// answer checks that a body, or what a template makes, has the protocol's
// shape and fits the declared outputs. It returns what in it lets something
// through; empty: nothing.
func (c *checker) answer(s *subject, field, body string, template bool) (allowing string) {
	text := body
	if template {
		text = fillWild(body)
	}
	v, err := decodeJSON(text)
	if err != nil && template {
		return "" // package compile compiles it, and says what is wrong
	}
	if err != nil {
		c.fail(field, "is not JSON: %v; want one JSON value in %s's shape", err, orProtocol(s.protocol))
		return ""
	}
	a := &shape{protocol: s.protocol, detect: &s.Value.Spec.Detect, text: text}
	if s.grpc {
		a.scalars(body)
	}
	for _, problem := range a.check(v) {
		c.fail(field, "does not fit %s: %s", orProtocol(s.protocol), problem)
	}
	return allows("", v)
}

func orProtocol(p v1alpha1.Protocol) string {
	if p == "" {
		return "the protocol"
	}
	return string(p)
}

// reasonsPlaceholder writes a list, whatever the request is.
var reasonsPlaceholder = regexp.MustCompile(`\{\{\s*reasons\s*\}\}`)

// fillWild replaces every {{…}} by wild. A template that cannot be filled, with
// braces left open or inside a JSON text, becomes no JSON: package compile says
// why.
func fillWild(template string) string {
	var b strings.Builder
	inText := false
	for i := 0; i < len(template); i++ {
		switch ch := template[i]; {
		case strings.HasPrefix(template[i:], "{{"):
			end := strings.Index(template[i:], "}}")
			if end < 0 || inText {
				return ""
			}
			b.WriteString(`"\u0000wild"`)
			i += end + 1
		case inText && ch == '\\' && i+1 < len(template):
			b.WriteString(template[i : i+2])
			i++
		default:
			if ch == '"' {
				inText = !inText
			}
			b.WriteByte(ch)
		}
	}
	return b.String()
}

// decodeJSON reads exactly one value, its numbers as they were written.
func decodeJSON(text string) (any, error) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, near(text, dec.InputOffset(), err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, near(text, dec.InputOffset(), errors.New("something follows the value"))
	}
	if key := twice(text); key != "" {
		return nil, fmt.Errorf("the key %s is there twice", quote(key))
	}
	return v, nil
}

// near adds the place of a mistake.
func near(text string, offset int64, err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = syntax.Offset - 1
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errors.New("it ends too early")
	}
	offset = min(max(offset, 0), int64(len(text)))
	return fmt.Errorf("%w, at %s", err, quote(text[offset:]))
}

// twice returns a key that one object of a valid JSON text has twice; empty:
// none. Readers differ on which of the two counts.
func twice(text string) string {
	type level struct {
		keys   map[string]bool // nil: an array
		wanted bool            // the next token is a key
	}
	var stack []level
	value := func() {
		if n := len(stack); n > 0 && stack[n-1].keys != nil {
			stack[n-1].wanted = true
		}
	}
	dec := json.NewDecoder(strings.NewReader(text))
	for {
		token, err := dec.Token()
		if err != nil {
			return ""
		}
		switch token {
		case json.Delim('{'):
			stack = append(stack, level{keys: map[string]bool{}, wanted: true})
			continue
		case json.Delim('['):
			stack = append(stack, level{})
			continue
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:len(stack)-1]
			value()
			continue
		}
		if n := len(stack); n > 0 && stack[n-1].wanted {
			key, _ := token.(string) // a key is a string
			if stack[n-1].keys[key] {
				return key
			}
			stack[n-1].keys[key], stack[n-1].wanted = true, false
			continue
		}
		value()
	}
}

// allowWords are what a decision service writes when it lets something
// through, compared without case: as a text anywhere in an answer, or as the
// name of a member that is true.
var allowWords = map[string]bool{
	"allow": true, "allowed": true, "approve": true, "approved": true, "accept": true, "accepted": true,
	"permit": true, "permitted": true, "grant": true, "granted": true,
}

// allows returns what in an answer lets something through, with its place;
// empty: nothing.
func allows(place string, v any) string {
	switch v := v.(type) {
	case string:
		if allowWords[strings.ToLower(v)] {
			return strings.TrimSpace(place + " is " + quote(v))
		}
	case []any:
		for i, item := range v {
			if found := allows(fmt.Sprintf("%s[%d]", place, i), item); found != "" {
				return found
			}
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			at := join(place, key)
			if v[key] == true && allowWords[strings.ToLower(key)] {
				return at + " is true"
			}
			if found := allows(at, v[key]); found != "" {
				return found
			}
		}
	}
	return ""
}
