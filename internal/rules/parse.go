package rules

import (
	"errors"
	"strconv"
	"strings"

	"github.com/safestate/safestate/internal/fault"
	"github.com/safestate/safestate/internal/scan"
)

// allowed is what an error offers for a placeholder.
const allowed = "{{score}}, {{confidence}}, {{reasons}}, {{id}}, {{request.PATH}}, {{sort LIST by FIELD desc}}, {{first N LIST}}, {{pick FIELD from LIST}}, {{count LIST}}, {{count reasons}}"

// maxFirst is the largest N of first.
const maxFirst = 100_000

// CompileTemplate reads a template. It has to be JSON once it is filled: that
// is tried here with and without an id.
func CompileTemplate(s string) (*Template, error) {
	t := &Template{}
	inText := false
	for rest := s; rest != ""; {
		before, after, found := strings.Cut(rest, "{{")
		inText = endsInText(before, inText)
		p := part{text: before}
		if !found {
			t.parts = append(t.parts, p)
			break
		}
		name, after, closed := strings.Cut(after, "}}")
		if !closed {
			return nil, fault.Errorf("template: {{%s has no }}", shorten(name))
		}
		name = strings.TrimSpace(name)
		if inText {
			return nil, fault.Errorf("template: {{%s}} is inside a JSON string: it is a whole JSON value, write it without the quotes", name)
		}
		var err error
		if p.fill, err = t.placeholder(name); err != nil {
			return nil, fault.Errorf("template: {{%s}}: %w", name, err)
		}
		if name == "id" {
			p.optional, p.keep, p.skip = member(before, after)
		}
		t.parts = append(t.parts, p)
		rest = after
	}
	if err := t.try(); err != nil {
		return nil, fault.Errorf("template: %w", err)
	}
	return t, nil
}

// endsInText says whether a JSON string is open after text.
func endsInText(text string, open bool) bool {
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '"':
			open = !open
		case text[i] == '\\' && open:
			i++
		}
	}
	return open
}

// member finds the member that a placeholder is the value of: before ends in
// "name": and the comma is either the first thing after or the last before.
// keep is where the member begins, skip what goes of after.
func member(before, after string) (ok bool, keep, skip int) {
	b := strings.TrimRight(before, " \t\r\n")
	b, colon := strings.CutSuffix(b, ":")
	b = strings.TrimRight(b, " \t\r\n")
	b, quote := strings.CutSuffix(b, `"`)
	start := strings.LastIndexByte(b, '"')
	if !colon || !quote || start < 0 {
		return false, 0, 0
	}
	a := strings.TrimLeft(after, " \t\r\n")
	if strings.HasPrefix(a, ",") {
		return true, start, len(after) - len(a) + 1
	}
	lead := strings.TrimRight(b[:start], " \t\r\n")
	return true, len(strings.TrimSuffix(lead, ",")), 0
}

// try fills the template with samples and reads the result.
func (t *Template) try() error {
	for _, withID := range []bool{true, false} {
		out, err := t.render(nil, func(dst []byte, f filler) ([]byte, error) { return sample(dst, f, withID) })
		if err != nil {
			return err
		}
		var doc scan.Document
		if err := doc.Parse(out, scan.Limits{Nodes: MaxFilled}); err != nil {
			return fault.Errorf("not JSON once it is filled, such as %s: %w", shorten(string(out)), err)
		}
		if !finite(doc.Root()) {
			return errors.New("JSON has no NaN or Infinity")
		}
	}
	return nil
}

// sample appends a value for a placeholder: an array, which nothing beside it
// in the text can turn into part of another value, as 1 before a number would.
func sample(dst []byte, f filler, withID bool) ([]byte, error) {
	if _, id := f.(idFiller); id && !withID {
		return nil, errAbsent
	}
	return append(dst, "[]"...), nil
}

func shorten(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// placeholder compiles what stands between {{ and }}.
func (t *Template) placeholder(name string) (filler, error) {
	switch name {
	case "score":
		t.needs.score = true
		return scoreFiller{}, nil
	case "confidence":
		t.needs.score = true
		return confidenceFiller{}, nil
	case "reasons":
		t.needs.score = true
		return reasonsFiller{}, nil
	case "id":
		t.needs.request = true
		return idFiller{}, nil
	}
	words := fields(name)
	if len(words) == 0 {
		return nil, fault.Errorf("empty; allowed are %s", allowed)
	}
	if name == "count reasons" {
		t.needs.score = true
		return reasonCountFiller{}, nil
	}
	t.needs.request = true
	if len(words) == 1 {
		p, err := requestPath(words[0])
		if err != nil {
			return nil, err
		}
		return valueFiller{p}, nil
	}
	if words[0] == "count" {
		l, err := parseList(words[1:])
		return countFiller{l}, err
	}
	l, err := parseList(words)
	return listFiller{l}, err
}

// fields splits at blanks outside of brackets.
func fields(s string) []string {
	depth := 0
	return strings.FieldsFunc(s, func(r rune) bool {
		switch r {
		case '[':
			depth++
		case ']':
			depth--
		}
		return depth <= 0 && (r == ' ' || r == '\t' || r == '\n' || r == '\r')
	})
}

// requestPath reads request or request.PATH.
func requestPath(word string) (path, error) {
	rest, ok := strings.CutPrefix(word, "request")
	if rest == "" && ok {
		return path{text: word}, nil
	}
	if !ok || (rest[0] != '.' && rest[0] != '[') {
		return path{}, fault.Errorf("unknown; allowed are %s", allowed)
	}
	if strings.Contains(rest, "[*]") {
		return path{}, errors.New("a path names one value here, [*] names many")
	}
	p, err := scan.ParsePath(strings.TrimPrefix(rest, "."))
	if err != nil {
		return path{}, err
	}
	return path{text: word, path: p, inner: true}, nil
}

// parseList reads LIST, from the outside in.
func parseList(words []string) (list, error) {
	unknown := fault.Errorf("unknown; allowed are %s", allowed)
	if len(words) == 0 {
		return nil, unknown
	}
	switch words[0] {
	case "first":
		if len(words) < 3 {
			return nil, unknown
		}
		n, err := strconv.Atoi(words[1])
		if err != nil || n < 1 || n > maxFirst {
			return nil, fault.Errorf("first %s: want a number from 1 to %d", words[1], maxFirst)
		}
		l, err := parseList(words[2:])
		return firstOf{n, l}, err
	case "pick":
		if len(words) < 4 || words[2] != "from" {
			return nil, unknown
		}
		field, err := scan.ParsePath(words[1])
		if err != nil {
			return nil, err
		}
		l, err := parseList(words[3:])
		return pickOf{words[1], field, l}, err
	case "sort":
		end := len(words) - 3
		if end < 2 || words[end] != "by" || (words[end+2] != "asc" && words[end+2] != "desc") {
			return nil, errors.New("want sort LIST by FIELD asc, or desc")
		}
		field, err := scan.ParsePath(words[end+1])
		if err != nil {
			return nil, err
		}
		l, err := parseList(words[1:end])
		return sortOf{field, words[end+2] == "desc", l}, err
	}
	if len(words) > 1 {
		return nil, unknown
	}
	p, err := requestPath(words[0])
	return arrayAt{p}, err
}
