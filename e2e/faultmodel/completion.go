package faultmodel

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// StreamTokens is how many tokens a completion has unless Options say
// otherwise.
const StreamTokens = 60

// completion is what the model says, before it is written as one body or as
// events.
type completion struct {
	chatRequest
	version string
	choices []choice
	shows   shows
	at      int // the token that a fault is at
}

// shows is the place of a stream at which a changed completion is first seen.
type shows uint8

const (
	showsAtContent shows = iota
	showsAtEnd
)

// choice is one of the n answers. Its tokens are what a stream sends one by
// one.
type choice struct {
	tokens   []string
	logprobs []string // one JSON value a token; nil where none were asked
	refusal  bool     // the tokens are a refusal, not content
	null     bool     // content is null, not ""
	tool     string   // the tokens are the arguments of this function
	finish   string
	// noLogprobs is written instead of the logprobs; empty: none.
	noLogprobs string
}

// say replaces a choice's tokens.
func (ch *choice) say(tokens []string) {
	ch.tokens = tokens
	if ch.logprobs != nil {
		ch.logprobs = make([]string, len(tokens))
		for i := range ch.logprobs {
			ch.logprobs[i] = "-0.0" + strconv.Itoa(1+i%5)
		}
	}
}

// newCompletion answers a request with a number of tokens a choice. Version
// small says "s0 s1 …", every other one "w0 w1 …", so that a splice shows.
func newCompletion(version string, q chatRequest, tokens int) *completion {
	c := &completion{chatRequest: q, version: version}
	var text []string
	switch {
	case q.tool != "":
		text = pieces(`{"answer":"`+strings.Join(words(version, 3), "")+`"}`, 6)
	case q.format.Type == "json_schema":
		text = pieces(string(example(q.format.JSONSchema.Schema, 0)), 6)
	case q.format.Type == "json_object":
		text = words(version, tokens)
		text[0] = `{"answer":"` + text[0]
		text[len(text)-1] += `"}`
	default:
		text = words(version, tokens)
	}
	finish := "stop"
	if q.tool != "" {
		finish = "tool_calls"
	}
	if q.limit > 0 && q.limit < len(text) {
		text, finish = text[:q.limit], "length"
	}
	for range q.n {
		ch := choice{finish: finish, tool: q.tool, null: q.tool != ""}
		if q.logprobs {
			ch.logprobs = []string{} // say fills them
		}
		ch.say(text)
		c.choices = append(c.choices, ch)
	}
	return c
}

// words are "w0", " w1" and so on: joined they are the text.
func words(version string, n int) []string {
	letter := "w"
	if version == "small" {
		letter = "s"
	}
	out := make([]string, max(1, n))
	for i := range out {
		out[i] = " " + letter + strconv.Itoa(i)
	}
	out[0] = out[0][1:]
	return out
}

// pieces cuts a text into tokens of some bytes, never within a character.
func pieces(s string, size int) []string {
	var out []string
	for len(s) > size {
		cut := size
		for cut < len(s) && !utf8.RuneStart(s[cut]) {
			cut++
		}
		out, s = append(out, s[:cut]), s[cut:]
	}
	return append(out, s)
}

// schema is the part of JSON Schema that example follows.
type schema struct {
	Type       any                        `json:"type"`
	Enum       []json.RawMessage          `json:"enum"`
	Const      json.RawMessage            `json:"const"`
	Properties map[string]json.RawMessage `json:"properties"`
	Items      json.RawMessage            `json:"items"`
	MinItems   int                        `json:"minItems"`
	Minimum    float64                    `json:"minimum"`
}

// example makes a small value that a schema accepts; what it cannot follow,
// and anything below ten levels, becomes a string.
func example(text json.RawMessage, depth int) []byte {
	var s schema
	if json.Unmarshal(text, &s) != nil || depth > 10 {
		return []byte(`"w0"`)
	}
	switch {
	case s.Const != nil:
		return s.Const
	case len(s.Enum) > 0:
		return s.Enum[0]
	}
	kind, _ := s.Type.(string)
	if list, ok := s.Type.([]any); ok && len(list) > 0 {
		kind, _ = list[0].(string)
	}
	switch {
	case kind == "object" || s.Properties != nil:
		out := []byte("{")
		for i, name := range slices.Sorted(maps.Keys(s.Properties)) {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(appendText(out, name), ':')
			out = append(out, example(s.Properties[name], depth+1)...)
		}
		return append(out, '}')
	case kind == "array":
		item := string(example(s.Items, depth+1))
		return []byte("[" + strings.TrimSuffix(strings.Repeat(item+",", max(1, s.MinItems)), ",") + "]")
	case kind == "number", kind == "integer":
		return strconv.AppendFloat(nil, max(1, s.Minimum), 'g', -1, 64)
	case kind == "boolean":
		return []byte("true")
	case kind == "null":
		return []byte("null")
	default:
		return []byte(`"w0 w1"`)
	}
}

// appendText appends a JSON string; plain text, which every token is, without
// an allocation.
func appendText(dst []byte, s string) []byte {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return append(append(append(dst, '"'), s...), '"')
	}
	text, err := json.Marshal(s)
	if err != nil {
		return append(dst, `""`...) // a string always has a JSON form
	}
	return append(dst, text...)
}
