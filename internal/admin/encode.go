package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// encode writes a value as the API answers it: indented, and with every
// character escaped that a terminal would act on instead of showing it. What
// proxies and models said stands in there, and people print it.
func encode(value any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return nil, err
	}
	return escape(out.Bytes()), nil
}

// escape replaces runes that do not print, which are within strings only, by
// JSON's escapes. encoding/json has done so for those under 0x20.
func escape(doc []byte) []byte {
	plain := true
	for _, b := range doc {
		plain = plain && b < 0x7f
	}
	if plain {
		return doc
	}
	out := make([]byte, 0, len(doc)+64)
	for len(doc) > 0 {
		r, n := utf8.DecodeRune(doc)
		if r == '\n' || unicode.IsPrint(r) {
			out = append(out, doc[:n]...)
		} else {
			for _, unit := range utf16.Encode([]rune{r}) {
				out = fmt.Appendf(out, `\u%04x`, unit)
			}
		}
		doc = doc[n:]
	}
	return out
}
