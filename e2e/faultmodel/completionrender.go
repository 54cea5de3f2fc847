package faultmodel

import (
	"net/http"
	"strconv"
	"strings"
)

// createdAt is the second at which every completion was made: the same request
// gets the same bytes.
const createdAt = 1_760_000_000

// renderCompletion writes a completion as one body: chat.completion, or
// text_completion where the request was a legacy one. Members are written by
// hand: a fault may be no JSON at all.
func renderCompletion(c *completion) *reply {
	object := "chat.completion"
	if c.legacy {
		object = "text_completion"
	}
	b := c.appendHead(nil, object)
	for i := range c.choices {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"index":`...)
		b = strconv.AppendInt(b, int64(i), 10)
		ch := &c.choices[i]
		if c.legacy {
			b = append(b, `,"text":`...)
			b = appendText(b, strings.Join(ch.tokens, ""))
		} else {
			b = append(b, `,"message":`...)
			b = ch.appendMessage(b)
		}
		b = append(b, `,"logprobs":`...)
		b = c.appendLogprobs(b, ch, 0, len(ch.tokens))
		b = append(b, `,"finish_reason":`...)
		b = append(appendText(b, ch.finish), '}')
	}
	b = append(b, `],"usage":`...)
	b = append(c.appendUsage(b), '}')
	return &reply{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json"}}, body: b}
}

// appendHead writes what bodies and events begin with, up to the choices.
func (c *completion) appendHead(b []byte, object string) []byte {
	b = append(b, `{"id":`...)
	b = appendText(b, c.id)
	b = append(b, `,"object":"`+object+`","created":`...)
	b = strconv.AppendInt(b, createdAt, 10)
	b = append(b, `,"model":`...)
	b = appendText(b, c.model)
	b = append(b, `,"system_fingerprint":"fp_`+c.version+`","choices":[`...)
	return b
}

func (ch *choice) appendMessage(b []byte) []byte {
	text := strings.Join(ch.tokens, "")
	b = append(b, `{"role":"assistant","content":`...)
	switch {
	case ch.tool != "":
		b = append(b, `null,"refusal":null,"tool_calls":[`...)
		b = ch.appendToolHead(b, text)
		return append(b, `]}`...)
	case ch.refusal:
		b = append(b, `null,"refusal":`...)
		b = appendText(b, text)
	case ch.null:
		b = append(b, `null,"refusal":null`...)
	default:
		b = appendText(b, text)
		b = append(b, `,"refusal":null`...)
	}
	return append(b, '}')
}

// appendToolHead writes one tool call; the arguments may be the first piece.
func (ch *choice) appendToolHead(b []byte, arguments string) []byte {
	b = append(b, `{"index":0,"id":"call_0","type":"function","function":{"name":`...)
	b = appendText(b, ch.tool)
	b = append(b, `,"arguments":`...)
	b = appendText(b, arguments)
	return append(b, `}}`...)
}

// appendLogprobs writes the logprobs of the tokens from, to.
func (c *completion) appendLogprobs(b []byte, ch *choice, from, to int) []byte {
	switch {
	case c.logprobs && ch.noLogprobs != "":
		return append(b, ch.noLogprobs...)
	case ch.logprobs == nil:
		return append(b, "null"...)
	case c.legacy:
		return ch.appendLegacyLogprobs(b, from, to)
	}
	member := "content"
	if ch.refusal {
		member = "refusal"
	}
	b = append(b, `{"`+member+`":[`...)
	for i := from; i < to; i++ {
		if i > from {
			b = append(b, ',')
		}
		b = append(b, `{"token":`...)
		b = appendText(b, ch.tokens[i])
		b = append(b, `,"logprob":`+ch.logprobs[i]+`,"bytes":null,"top_logprobs":[]}`...)
	}
	return append(b, `]}`...)
}

func (ch *choice) appendLegacyLogprobs(b []byte, from, to int) []byte {
	b = append(b, `{"tokens":[`...)
	for i := from; i < to; i++ {
		if i > from {
			b = append(b, ',')
		}
		b = appendText(b, ch.tokens[i])
	}
	b = append(b, `],"token_logprobs":[`...)
	b = append(b, strings.Join(ch.logprobs[from:to], ",")...)
	b = append(b, `],"top_logprobs":null,"text_offset":[`...)
	offset := 0
	for i := range to {
		if i > from {
			b = append(b, ',')
		}
		if i >= from {
			b = strconv.AppendInt(b, int64(offset), 10)
		}
		offset += len(ch.tokens[i])
	}
	return append(b, `]}`...)
}

func (c *completion) appendUsage(b []byte) []byte {
	said := 0
	for _, ch := range c.choices {
		said += len(ch.tokens)
	}
	b = append(b, `{"prompt_tokens":`...)
	b = strconv.AppendInt(b, int64(c.prompt), 10)
	b = append(b, `,"completion_tokens":`...)
	b = strconv.AppendInt(b, int64(said), 10)
	b = append(b, `,"total_tokens":`...)
	b = strconv.AppendInt(b, int64(c.prompt+said), 10)
	return append(b, '}')
}
