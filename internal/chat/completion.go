package chat

import (
	"strconv"

	"github.com/safestate/safestate/internal/scan"
)

// Completion is a whole answer: a chat.completion, or a text_completion. It is
// reusable (each Read starts afresh), not safe for concurrent use, and valid as
// long as the document it was read from. Nodes may not exist.
type Completion struct {
	// Legacy says that the choices have texts, not messages.
	Legacy                                         bool
	ID, Object, Created, Model, Fingerprint, Usage scan.Node
	Choices                                        []Choice
}

// Choice is one choice of a Completion.
type Choice struct {
	Index, FinishReason, Logprobs scan.Node
	// Message is the whole message; a legacy choice has none.
	Message scan.Node
	// Content is the message's content or a legacy choice's text: a string, null,
	// or a list of parts, as some servers send it.
	Content                                            scan.Node
	Refusal, ToolCalls, FunctionCall, Audio, Reasoning scan.Node
}

// Finish reasons that detection knows. FinishError and FinishAbort are what
// gateways and SGLang say of a generation that failed on the way.
const (
	FinishContentFilter = "content_filter"
	FinishError         = "error"
	FinishAbort         = "abort"
)

// Kind says how a body fails to be a completion.
type Kind uint8

// The kinds. The zero value is no problem.
const (
	OK          Kind = iota
	Empty            // there is no choice, or one with nothing in it
	Form             // JSON, but no completion
	Duplicate        // an inspected key occurs twice, or a second time in another case
	ErrorObject      // an error stands where the answer should
)

// Problem is why a body is no completion.
type Problem struct {
	Kind  Kind
	Where string // the place, such as choices[1].message.content; of Duplicate the key
}

// Found reports whether there is a problem.
func (p Problem) Found() bool { return p.Kind != OK }

// Read reads a whole answer. A finish_reason that is missing or null is no
// problem, and neither is a missing id, object or model: clients read them as
// nothing, and a contract may ask for the model's name.
func (c *Completion) Read(root scan.Node) Problem {
	*c = Completion{Choices: c.Choices[:0]}
	if root.Kind() != scan.Object {
		return notAnObject(root)
	}
	fields := [...]scan.Field{{Name: "choices"}, {Name: "error"}, {Name: "object"}, {Name: "id"}, {Name: "model"},
		{Name: "created"}, {Name: "system_fingerprint"}, {Name: "usage"}, {Name: "detail"}, {Name: "message"}}
	if dup := scan.Collect(root, fields[:]); dup != "" {
		return Problem{Duplicate, dup}
	}
	choices := fields[0].Node
	c.Object, c.ID, c.Model = fields[2].Node, fields[3].Node, fields[4].Node
	c.Created, c.Fingerprint, c.Usage = fields[5].Node, fields[6].Node, fields[7].Node
	switch {
	case scan.Says(fields[1].Node):
		return Problem{ErrorObject, "error"}
	case c.Object.EqualText("error"): // vLLM's and SGLang's own form
		return Problem{ErrorObject, "object"}
	case !scan.Present(choices) && scan.Says(fields[8].Node): // FastAPI's
		return Problem{ErrorObject, "detail"}
	case !scan.Present(choices) && scan.Says(fields[9].Node):
		return Problem{ErrorObject, "message"}
	case !scan.Present(choices):
		return Problem{Empty, "choices"}
	case choices.Kind() != scan.Array:
		return Problem{Form, "choices"}
	case choices.Len() == 0:
		return Problem{Empty, "choices"}
	case c.Object.EqualText("chat.completion.chunk"): // a piece of a stream
		return Problem{Form, "object"}
	}
	for it := choices.Children(); it.Next(); {
		if p := c.readChoice(it.Value(), it.Index()); p.Found() {
			return p
		}
	}
	return Problem{}
}

// notAnObject tells an answer with nothing in it from one of another form.
func notAnObject(root scan.Node) Problem {
	if root.Kind() == scan.Null || root.Kind() == scan.Array && root.Len() == 0 || root.EqualText("") {
		return Problem{Empty, "body"}
	}
	return Problem{Form, "body"}
}

func (c *Completion) readChoice(n scan.Node, i int) Problem {
	if n.Kind() != scan.Object {
		return Problem{Form, Place(i, "")}
	}
	fields := [...]scan.Field{{Name: "message"}, {Name: "text"}, {Name: "index"}, {Name: "finish_reason"}, {Name: "logprobs"}, {Name: "error"}}
	if dup := scan.Collect(n, fields[:]); dup != "" {
		return Problem{Duplicate, Place(i, dup)}
	}
	ch := Choice{Message: fields[0].Node, Index: fields[2].Node, FinishReason: fields[3].Node, Logprobs: fields[4].Node}
	if scan.Says(fields[5].Node) {
		return Problem{ErrorObject, Place(i, "error")}
	}
	switch index, ok := ch.Index.Int(); {
	case scan.Present(ch.Index) && (!ok || index < 0 || index >= MaxChoices):
		return Problem{Form, Place(i, "index")}
	case !either(ch.FinishReason, scan.String):
		return Problem{Form, Place(i, "finish_reason")}
	case !either(ch.Logprobs, scan.Object):
		return Problem{Form, Place(i, "logprobs")}
	case Failed(ch.FinishReason):
		return Problem{ErrorObject, Place(i, "finish_reason")}
	}
	legacy := !scan.Present(ch.Message) && scan.Present(fields[1].Node)
	switch {
	case i == 0:
		c.Legacy = legacy
	case legacy != c.Legacy:
		return Problem{Form, Place(i, "message")}
	}
	where := "text"
	if legacy {
		ch.Message, ch.Content = scan.Node{}, fields[1].Node
	} else {
		if p := ch.readMessage(i); p.Found() {
			return p
		}
		where = "message.content"
	}
	switch k := ch.Content.Kind(); {
	case k != scan.String && k != scan.Null && k != scan.Invalid && (legacy || k != scan.Array):
		return Problem{Form, Place(i, where)}
	case !ch.Says() && !ch.Filtered():
		return Problem{Empty, Place(i, where)}
	}
	c.Choices = append(c.Choices, ch)
	return Problem{}
}

func (ch *Choice) readMessage(i int) Problem {
	if ch.Message.Kind() != scan.Object {
		return Problem{Form, Place(i, "message")}
	}
	fields := [...]scan.Field{{Name: "content"}, {Name: "refusal"}, {Name: "tool_calls"}, {Name: "function_call"},
		{Name: "audio"}, {Name: "reasoning_content"}, {Name: "reasoning"}, {Name: "role"}}
	if dup := scan.Collect(ch.Message, fields[:]); dup != "" {
		return Problem{Duplicate, Place(i, "message."+dup)}
	}
	ch.Content, ch.Refusal, ch.ToolCalls = fields[0].Node, fields[1].Node, fields[2].Node
	ch.FunctionCall, ch.Audio = fields[3].Node, fields[4].Node
	for _, f := range fields[5:7] {
		if f.Node.Kind() == scan.String && !scan.Says(ch.Reasoning) {
			ch.Reasoning = f.Node
		}
	}
	switch {
	case !either(ch.Refusal, scan.String):
		return Problem{Form, Place(i, "message.refusal")}
	case !either(ch.FunctionCall, scan.Object):
		return Problem{Form, Place(i, "message.function_call")}
	case !either(ch.Audio, scan.Object):
		return Problem{Form, Place(i, "message.audio")}
	case !either(ch.ToolCalls, scan.Array):
		return Problem{Form, Place(i, "message.tool_calls")}
	}
	for it := ch.ToolCalls.Children(); it.Next(); {
		if it.Value().Kind() != scan.Object {
			return Problem{Form, Place(i, "message.tool_calls")}
		}
	}
	return Problem{}
}

// either reports whether a member is of a kind, null or not there.
func either(n scan.Node, k scan.Kind) bool { return !scan.Present(n) || n.Kind() == k }

// Says reports whether the choice carries anything at all: content, a refusal,
// a call of a tool or function, audio, or reasoning.
func (ch *Choice) Says() bool {
	return speaks(ch.Content) || scan.Says(ch.Refusal) || ch.Acts() || scan.Says(ch.Reasoning)
}

// speaks reports whether a content has a text, or a part that is not empty.
func speaks(content scan.Node) bool {
	if content.Kind() != scan.Array {
		return scan.Says(content)
	}
	for it := content.Children(); it.Next(); {
		part := it.Value()
		if text, _ := part.Get("text"); scan.Says(text) || !text.Exists() && scan.Says(part) {
			return true
		}
	}
	return false
}

// Acts reports whether the choice is a call of a tool or function, or audio:
// what then stands for its content is no text.
func (ch *Choice) Acts() bool {
	return scan.Says(ch.ToolCalls) || scan.Says(ch.FunctionCall) || scan.Says(ch.Audio)
}

// Refused reports whether the model declined.
func (ch *Choice) Refused() bool { return scan.Says(ch.Refusal) }

// Filtered reports whether a content filter stopped the choice.
func (ch *Choice) Filtered() bool { return ch.FinishReason.EqualText(FinishContentFilter) }

// Failed reports whether a finish_reason tells of a generation that failed.
func Failed(finish scan.Node) bool {
	return finish.EqualText(FinishError) || finish.EqualText(FinishAbort)
}

// AppendContent appends the text of the choice: its content, or the texts of
// its content's parts one after another.
func (ch *Choice) AppendContent(dst []byte) []byte {
	if ch.Content.Kind() != scan.Array {
		return ch.Content.Text(dst)
	}
	for it := ch.Content.Children(); it.Next(); {
		text, _ := it.Value().Get("text")
		dst = text.Text(dst)
	}
	return dst
}

// Tokens reads a usage object: the tokens of the prompt and of the answer. ok
// is false where either is missing or no count.
func Tokens(usage scan.Node) (prompt, completion int64, ok bool) {
	p, _ := usage.Get("prompt_tokens")
	c, _ := usage.Get("completion_tokens")
	prompt, ok = p.Int()
	completion, okay := c.Int()
	if !ok || !okay || prompt < 0 || completion < 0 {
		return 0, 0, false
	}
	return prompt, completion, true
}

// Forget lets go of the document that c was read from and keeps c's memory, up
// to a bound, for the next Read.
func (c *Completion) Forget() {
	choices := c.Choices[:0]
	if cap(choices) > 16 {
		choices = nil
	}
	clear(choices[:cap(choices)])
	*c = Completion{Choices: choices}
}

// Place names a key of choice i, or the choice itself.
func Place(i int, key string) string {
	b := append(make([]byte, 0, 48), "choices["...)
	b = append(strconv.AppendInt(b, int64(i), 10), ']')
	if key != "" {
		b = append(append(b, '.'), key...)
	}
	return string(b)
}
