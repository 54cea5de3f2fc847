package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// cleanText replaces what does not print by an escape that does, and cuts the
// text to at most most bytes. What is clean stays as it is. The space is the one
// kind of space that prints.
func cleanText(s string, most int) string {
	if !printable(s) {
		var b strings.Builder
		for len(s) > 0 {
			r, n := utf8.DecodeRuneInString(s)
			switch {
			case r == utf8.RuneError && n == 1:
				fmt.Fprintf(&b, `\x%02x`, s[0])
			case unicode.IsPrint(r):
				b.WriteRune(r)
			case r == '\n':
				b.WriteString(`\n`)
			case r == '\t':
				b.WriteString(`\t`)
			case r < 0x100:
				fmt.Fprintf(&b, `\x%02x`, r)
			case r < 0x10000:
				fmt.Fprintf(&b, `\u%04x`, r)
			default:
				fmt.Fprintf(&b, `\U%08x`, r)
			}
			s = s[n:]
		}
		s = b.String()
	}
	if len(s) <= most {
		return s
	}
	note := fmt.Sprintf(" [cut: %d bytes]", len(s))
	cut := most - len(note)
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + note
}

// clip shortens a text for a message.
func clip(s string) string { return cleanText(s, 100) }

func printable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return utf8.ValidString(s)
}

// quote appends a clean text as JSON.
func quote(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// cleanJSON returns JSON without spaces between its tokens and with clean texts.
// What is no JSON becomes a text; what is over most bytes then gives way to
// {"omitted": its length, "sha256": its hash}. Nothing, and null, are nil.
func cleanJSON(raw []byte, most int) json.RawMessage {
	if len(raw) == 0 {
		return nil
	}
	var out []byte
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		out = quote(nil, cleanText(string(raw), most/2-1)) // a quote takes two bytes
	} else {
		out = cleanStrings(compact.Bytes())
	}
	switch {
	case string(out) == "null":
		return nil
	case len(out) > most:
		return fmt.Appendf(nil, `{"omitted":%d,"sha256":"%x"}`, len(raw), sha256.Sum256(raw))
	}
	return out
}

// cleanStrings writes each string in compact JSON anew, names of members too.
func cleanStrings(doc []byte) []byte {
	plain := true
	for _, c := range doc {
		plain = plain && c < 0x7f && c != '\\'
	}
	if plain {
		return doc
	}
	out := make([]byte, 0, len(doc)+64)
	for len(doc) > 0 {
		end := 1
		if doc[0] != '"' {
			out, doc = append(out, doc[0]), doc[1:]
			continue
		}
		for doc[end] != '"' {
			if doc[end] == '\\' {
				end++
			}
			end++
		}
		var s string
		if err := json.Unmarshal(doc[:end+1], &s); err != nil {
			s = string(doc[1:end]) // Compact took it: it is a string
		}
		out, doc = quote(out, cleanText(s, len(doc)*10)), doc[end+1:]
	}
	return out
}
