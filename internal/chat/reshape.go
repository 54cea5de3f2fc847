package chat

import (
	"errors"
	"unicode/utf8"

	"github.com/safestate/safestate/internal/scan"
)

// ErrShape is returned for a body that is no completion, or one that the wanted
// form cannot say: legacy completions have no tool calls, no audio
// and no reasoning.
var ErrShape = errors.New("chat: the body is no completion that can be put in the form that was asked for")

// bodyLimits bounds a body that is reshaped, as those that are judged are.
var bodyLimits = scan.Limits{Depth: 64, NumberChars: 1 << 10, Nodes: 1 << 19}

// placeholder stands for an id or a model that a body does not name; clients
// with strict types refuse an answer without.
const placeholder = "safestate"

// Reshape appends to dst a whole completion, chat or legacy, in the form that
// was asked for, and returns its content-type.
//
// A body that has that form is appended as it is, with what it lacks of id,
// object, created, model and each choice's index and finish_reason written in.
// Another whole form keeps id, created, model, usage and per choice the text, and
// loses log probabilities. A stream has for each choice a chunk with the role
// (chat), chunks of at most pieceBytes of the text, of which the first has the
// log probabilities, one with all else the message has, and one with the
// finish_reason; then the usage, where it is asked for (zeros where the body has
// none), and Done.
//
// The error is ErrShape, or a *scan.Error for a body that is no JSON; out is
// then nil.
func Reshape(dst, body []byte, to Shape) (out []byte, contentType string, err error) {
	var doc scan.Document
	if err := doc.Parse(body, bodyLimits); err != nil {
		return nil, "", err
	}
	var c Completion
	if c.Read(doc.Root()).Found() || hasBareToken(doc.Root()) {
		return nil, "", ErrShape
	}
	for i := range c.Choices {
		ch := &c.Choices[i]
		if to.Legacy && !c.Legacy && (ch.Acts() || len(ch.rawText()) == 0 && !ch.Filtered()) {
			return nil, "", ErrShape
		}
	}
	w := writer{dst: dst, from: &c, to: to}
	switch {
	case to.Stream:
		w.stream()
		return w.dst, TypeStream, nil
	case c.Legacy == to.Legacy:
		return w.complete(body, doc.Root()), TypeJSON, nil
	}
	w.whole()
	return w.dst, TypeJSON, nil
}

// writer writes one answer.
type writer struct {
	dst  []byte
	from *Completion
	to   Shape
}

//go:noinline // at forty places it is 20 KB of the WASM module
func (w *writer) text(s string) { w.dst = append(w.dst, s...) }

// value writes a node on one line, or what stands for one that is not there.
func (w *writer) value(n scan.Node, otherwise string) {
	if !scan.Present(n) {
		w.text(otherwise)
		return
	}
	w.dst = appendCompact(w.dst, n.Raw())
}

// head writes the members that every answer and every chunk begins with.
func (w *writer) head(object string) {
	w.text(`{"id":`)
	w.value(w.from.ID, `"`+placeholder+`"`)
	w.text(`,"object":"` + object + `","created":`)
	w.value(w.from.Created, "0")
	w.text(`,"model":`)
	w.value(w.from.Model, `"`+placeholder+`"`)
	if scan.Present(w.from.Fingerprint) {
		w.text(`,"system_fingerprint":`)
		w.value(w.from.Fingerprint, "null")
	}
	w.text(`,"choices":[`)
}

// whole writes a whole answer of the other form.
func (w *writer) whole() {
	w.head(objectOf(w.to.Legacy))
	for i := range w.from.Choices {
		ch := &w.from.Choices[i]
		if i > 0 {
			w.text(",")
		}
		w.text(`{"index":`)
		w.index(ch, i)
		switch {
		case w.to.Legacy:
			w.text(`,"text":`)
			w.dst = appendQuoted(w.dst, ch.rawText())
		default:
			w.text(`,"message":{"role":"assistant","content":`)
			w.dst = appendQuoted(w.dst, ch.rawText())
			w.text(`}`)
		}
		w.text(`,"logprobs":null,"finish_reason":`)
		w.finish(ch)
		w.text("}")
	}
	w.text("]")
	if scan.Present(w.from.Usage) {
		w.text(`,"usage":`)
		w.value(w.from.Usage, "null")
	}
	w.text("}")
}

func objectOf(legacy bool) string {
	if legacy {
		return "text_completion"
	}
	return "chat.completion"
}

func (w *writer) index(ch *Choice, i int) {
	if scan.Present(ch.Index) {
		w.dst = append(w.dst, ch.Index.Raw()...)
		return
	}
	w.dst = appendInt(w.dst, i)
}

// finish writes the finish_reason, or the one that a whole answer without has.
func (w *writer) finish(ch *Choice) {
	reason := `"stop"`
	if scan.Says(ch.ToolCalls) {
		reason = `"tool_calls"`
	} else if scan.Says(ch.FunctionCall) {
		reason = `"function_call"`
	}
	if scan.Says(ch.FinishReason) {
		reason = string(ch.FinishReason.Raw())
	}
	w.text(reason)
}

// rawText is the inside of the JSON string that a choice says: its content, the
// texts of the content's parts, or its refusal, which the other form has no
// place for.
func (ch *Choice) rawText() []byte {
	switch {
	case ch.Content.Kind() == scan.String && scan.Says(ch.Content):
		return inside(ch.Content)
	case ch.Content.Kind() == scan.Array:
		var b []byte
		for it := ch.Content.Children(); it.Next(); {
			text, _ := it.Value().Get("text")
			b = append(b, inside(text)...)
		}
		return b
	}
	return inside(ch.Refusal)
}

// inside returns a JSON string without its quotes, still escaped.
func inside(n scan.Node) []byte {
	raw := n.Raw()
	if n.Kind() != scan.String {
		return nil
	}
	return raw[1 : len(raw)-1]
}

func appendQuoted(dst, escaped []byte) []byte {
	return append(append(append(dst, '"'), escaped...), '"')
}

// appendCompact appends JSON without the blanks between its tokens, of which a
// line break would end an event.
func appendCompact(dst, raw []byte) []byte {
	quoted := false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			dst = append(dst, c)
			i++
			if i == len(raw) {
				return dst
			}
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
			continue
		}
		dst = append(dst, raw[i])
	}
	return dst
}

// cutText returns the length of the longest beginning of an escaped text that
// has at most most bytes and ends between two characters; at least one
// character.
func cutText(b []byte, most int) int {
	end := 0
	for end < len(b) {
		size := 1
		switch {
		case b[end] == '\\' && end+1 < len(b) && b[end+1] == 'u':
			size = 6
			if isHighSurrogate(b[end:]) {
				size = 12
			}
		case b[end] == '\\':
			size = 2
		case b[end] >= utf8.RuneSelf:
			_, size = utf8.DecodeRune(b[end:])
		}
		size = min(size, len(b)-end)
		if end > 0 && end+size > most {
			return end
		}
		end += size
	}
	return end
}

// isHighSurrogate reports whether b begins with \uD800 to \uDBFF and another
// escape of that kind follows.
func isHighSurrogate(b []byte) bool {
	return len(b) >= 12 && b[2]|0x20 == 'd' && (b[3] == '8' || b[3] == '9' || b[3]|0x20 == 'a' || b[3]|0x20 == 'b') &&
		b[6] == '\\' && b[7] == 'u'
}
