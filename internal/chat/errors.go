package chat

import (
	"strings"
	"unicode/utf8"
)

// Done ends a stream that is complete. It never follows an error event.
const Done = "data: [DONE]\n\n"

// Content types of the two forms of an answer.
const (
	TypeJSON   = "application/json"
	TypeStream = "text/event-stream"
)

// AppendErrorBody appends an error as the API's errors are: a JSON object that
// every client raises when its status is 4xx or 5xx. Neither code nor message
// may be a model's own text.
func AppendErrorBody(dst []byte, code, message string) []byte {
	dst = append(dst, `{"error":{"message":`...)
	dst = appendString(dst, message)
	dst = append(dst, `,"type":"server_error","param":null,"code":`...)
	dst = appendString(dst, code)
	return append(dst, "}}"...)
}

// AppendErrorEvent appends an error as an event of a stream, the only thing
// that clients raise once a stream is committed. No Done follows it: a reader
// that skips the event must not find a complete stream.
func AppendErrorEvent(dst []byte, code, message string) []byte {
	dst = append(dst, "data: "...)
	dst = AppendErrorBody(dst, code, message)
	return append(dst, "\n\n"...)
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string on one line. Bytes that are not
// UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += size
			continue
		}
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			dst = append(dst, c)
		}
		i++
	}
	return append(dst, '"')
}

// IsStream reports whether a content-type is that of server-sent events, whatever
// charset it names.
func IsStream(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(kind), TypeStream)
}
