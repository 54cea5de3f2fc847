package faultmodel

import "strconv"

// eventKind is what an event of a stream says.
type eventKind uint8

const (
	eventRole   eventKind = iota // the preamble of a choice
	eventToken                   // one token of a choice
	eventFinish                  // a choice's finish_reason
	eventUsage
	eventDone
	eventRaw // bytes as they are
)

// event is one event of a stream, written when it is sent: thousands of open
// streams must not hold theirs.
type event struct {
	kind   eventKind
	choice int
	token  int
	edit   func([]byte) []byte // changes the event's JSON
	raw    string              // of eventRaw
}

// append writes the event with its blank line.
func (e event) append(b []byte, c *completion) []byte {
	switch e.kind {
	case eventRaw:
		return append(b, e.raw...)
	case eventDone:
		return append(b, "data: [DONE]\n\n"...)
	}
	b = append(b, "data: "...)
	if e.edit == nil {
		return append(e.appendChunk(b, c), "\n\n"...)
	}
	b = append(b, e.edit(e.appendChunk(nil, c))...)
	return append(b, "\n\n"...)
}

func (e event) appendChunk(b []byte, c *completion) []byte {
	object := "chat.completion.chunk"
	if c.legacy {
		object = "text_completion"
	}
	b = c.appendHead(b, object)
	if e.kind != eventUsage {
		b = e.appendChoice(b, c)
	}
	b = append(b, ']')
	switch {
	case e.kind == eventUsage:
		b = append(b, `,"usage":`...)
		b = c.appendUsage(b)
	case c.usage:
		b = append(b, `,"usage":null`...)
	}
	return append(b, '}')
}

func (e event) appendChoice(b []byte, c *completion) []byte {
	ch := &c.choices[e.choice]
	b = append(b, `{"index":`...)
	b = strconv.AppendInt(b, int64(e.choice), 10)
	if c.legacy {
		b = append(b, `,"text":`...)
		if e.kind == eventToken {
			b = appendText(b, ch.tokens[e.token])
		} else {
			b = append(b, `""`...)
		}
	} else {
		b = append(b, `,"delta":`...)
		b = e.appendDelta(b, ch)
	}
	b = append(b, `,"logprobs":`...)
	if e.kind == eventToken {
		b = c.appendLogprobs(b, ch, e.token, e.token+1)
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,"finish_reason":`...)
	if e.kind == eventFinish {
		b = appendText(b, ch.finish)
	} else {
		b = append(b, "null"...)
	}
	return append(b, '}')
}

func (e event) appendDelta(b []byte, ch *choice) []byte {
	switch {
	case e.kind == eventFinish:
		return append(b, "{}"...)
	case e.kind == eventRole && ch.tool != "":
		b = append(b, `{"role":"assistant","content":null,"tool_calls":[`...)
		return append(ch.appendToolHead(b, ""), "]}"...)
	case e.kind == eventRole && (ch.null || ch.refusal):
		return append(b, `{"role":"assistant","content":null,"refusal":null}`...)
	case e.kind == eventRole:
		return append(b, `{"role":"assistant","content":"","refusal":null}`...)
	case ch.tool != "":
		b = append(b, `{"tool_calls":[{"index":0,"function":{"arguments":`...)
		return append(appendText(b, ch.tokens[e.token]), "}}]}"...)
	case ch.refusal:
		b = append(b, `{"refusal":`...)
	default:
		b = append(b, `{"content":`...)
	}
	return append(appendText(b, ch.tokens[e.token]), '}')
}
