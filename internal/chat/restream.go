package chat

import (
	"strconv"
	"strings"

	"github.com/safestate/safestate/internal/scan"
)

// pieceBytes is the most text that one chunk of a reshaped answer carries:
// readers that take a stream line by line have lines of 64 KiB at most.
const pieceBytes = 8 << 10

func appendInt(dst []byte, i int) []byte { return strconv.AppendInt(dst, int64(i), 10) }

// stream writes the answer as a stream of events.
func (w *writer) stream() {
	for i := range w.from.Choices {
		ch := &w.from.Choices[i]
		if w.to.Legacy {
			w.legacyChoice(ch, i)
		} else {
			w.chatChoice(ch, i)
		}
	}
	if w.to.IncludeUsage {
		w.begin()
		w.text(`],"usage":`)
		w.value(w.from.Usage, `{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}`)
		w.text("}\n\n")
	}
	w.text(Done)
}

// begin opens a chunk, up to its choices.
func (w *writer) begin() {
	w.text("data: ")
	if w.to.Legacy {
		w.head("text_completion")
	} else {
		w.head("chat.completion.chunk")
	}
}

// open begins a chunk of one choice.
func (w *writer) open(ch *Choice, i int) {
	w.begin()
	w.text(`{"index":`)
	w.index(ch, i)
}

// end closes it. A finish_reason stands in the last one of a choice alone; the
// usage, where it is asked for, is null in all but the stream's last.
func (w *writer) end(ch *Choice, logprobs scan.Node, last bool) {
	w.text(`,"logprobs":`)
	w.value(logprobs, "null")
	w.text(`,"finish_reason":`)
	if last {
		w.finish(ch)
	} else {
		w.text("null")
	}
	w.text("}]")
	if w.to.IncludeUsage {
		w.text(`,"usage":null`)
	}
	w.text("}\n\n")
}

// pieces calls f for every piece of a text, first with the choice's log
// probabilities, where they have the wanted form.
func (w *writer) pieces(ch *Choice, text []byte, f func(piece []byte, logprobs scan.Node)) {
	logprobs := ch.Logprobs
	if w.from.Legacy != w.to.Legacy {
		logprobs = scan.Node{}
	}
	for len(text) > 0 {
		n := cutText(text, pieceBytes)
		f(text[:n], logprobs)
		text, logprobs = text[n:], scan.Node{}
	}
}

func (w *writer) legacyChoice(ch *Choice, i int) {
	w.pieces(ch, ch.rawText(), func(piece []byte, logprobs scan.Node) {
		w.open(ch, i)
		w.text(`,"text":`)
		w.dst = appendQuoted(w.dst, piece)
		w.end(ch, logprobs, false)
	})
	w.open(ch, i)
	w.text(`,"text":""`)
	w.end(ch, scan.Node{}, true)
}

// chatChoice writes the role, the content, the refusal, what else the message
// has, and the finish_reason.
func (w *writer) chatChoice(ch *Choice, i int) {
	w.delta(ch, i, `"role":"assistant","content":""`, nil)
	w.reasoning(ch, i)
	if ch.Content.Kind() == scan.Array { // parts, of which some may be no text
		w.delta(ch, i, `"content":`, appendCompact(nil, ch.Content.Raw()))
	}
	w.pieces(ch, inside(ch.Content), func(piece []byte, logprobs scan.Node) {
		w.open(ch, i)
		w.text(`,"delta":{"content":`)
		w.dst = appendQuoted(w.dst, piece)
		w.text("}")
		w.end(ch, logprobs, false)
	})
	for text := inside(ch.Refusal); len(text) > 0; {
		n := cutText(text, pieceBytes)
		w.delta(ch, i, `"refusal":`, appendQuoted(nil, text[:n]))
		text = text[n:]
	}
	w.toolCalls(ch, i)
	if scan.Says(ch.FunctionCall) {
		w.delta(ch, i, `"function_call":`, appendCompact(nil, ch.FunctionCall.Raw()))
	}
	if scan.Says(ch.Audio) {
		w.delta(ch, i, `"audio":`, appendCompact(nil, ch.Audio.Raw()))
	}
	w.open(ch, i)
	w.text(`,"delta":{}`)
	w.end(ch, scan.Node{}, true)
}

// reasoning comes before the content, as models think.
func (w *writer) reasoning(ch *Choice, i int) {
	for text := inside(ch.Reasoning); len(text) > 0; {
		n := cutText(text, pieceBytes)
		w.delta(ch, i, `"reasoning_content":`, appendQuoted(nil, text[:n]))
		text = text[n:]
	}
}

// delta writes a chunk with a delta of one member, whose value may stand in
// member already.
func (w *writer) delta(ch *Choice, i int, member string, value []byte) {
	w.open(ch, i)
	w.text(`,"delta":{` + member)
	w.dst = append(w.dst, value...)
	w.text("}")
	w.end(ch, scan.Node{}, false)
}

// toolCalls writes one chunk for each call, with the index that a stream's calls
// are put together by and a whole answer's do not have.
func (w *writer) toolCalls(ch *Choice, i int) {
	if !scan.Says(ch.ToolCalls) {
		return
	}
	for it := ch.ToolCalls.Children(); it.Next(); {
		b := appendInt([]byte(`[{"index":`), it.Index())
		for member := it.Value().Children(); member.Next(); {
			key := string(member.Key())
			if strings.EqualFold(key, "index") {
				continue
			}
			b = append(appendString(append(b, ','), key), ':')
			b = appendCompact(b, member.Value().Raw())
		}
		w.delta(ch, i, `"tool_calls":`, append(b, "}]"...))
	}
}
