package chat

import "github.com/safestate/safestate/internal/scan"

// Chunk is the data of one event of a streamed answer: a chat.completion.chunk,
// or a piece of a text_completion. Nodes may not exist. It is valid as long as
// the document it was read from.
type Chunk struct {
	ID, Model, Usage scan.Node
	// Choices is an array of what DeltaOf reads, or does not exist: a chunk may
	// tell of usage alone. Azure's first one has no choice in it either, and tells
	// what a filter thinks of the prompt.
	Choices scan.Node
}

// Delta is what a chunk adds to one choice.
type Delta struct {
	Index int
	Node  scan.Node // the delta itself; a legacy choice has none
	// FinishReason is a string, and says that the choice is complete; or null, ""
	// or missing.
	FinishReason scan.Node
	Logprobs     scan.Node // an object, null or missing
	// Content is the delta's content or a legacy choice's text: a string, null, a
	// list of parts, or missing.
	Content, Refusal scan.Node
	// Acts tells of a piece of a call of a tool or function, or of audio.
	Acts bool
	// Reasons tells of a piece of what the model thinks before it answers.
	Reasons bool
}

// Read reads one chunk. An error stands in an event of its own, or beside the
// choices of the last one.
func (c *Chunk) Read(root scan.Node) Problem {
	*c = Chunk{}
	if root.Kind() != scan.Object {
		return Problem{Form, "body"}
	}
	fields := [...]scan.Field{{Name: "id"}, {Name: "choices"}, {Name: "model"}, {Name: "usage"}, {Name: "error"}, {Name: "object"}}
	if dup := scan.Collect(root, fields[:]); dup != "" {
		return Problem{Duplicate, dup}
	}
	c.ID, c.Model, c.Usage = fields[0].Node, fields[2].Node, fields[3].Node
	switch choices := fields[1].Node; {
	case scan.Says(fields[4].Node):
		return Problem{ErrorObject, "error"}
	case fields[5].Node.EqualText("error"): // vLLM's and SGLang's own form
		return Problem{ErrorObject, "object"}
	case choices.Kind() == scan.Array:
		c.Choices = choices
	case scan.Present(choices):
		return Problem{Form, "choices"}
	case !scan.Present(c.Usage):
		return withoutChoices(root)
	}
	return Problem{}
}

// withoutChoices tells an error in another server's form from a chunk that says
// nothing.
func withoutChoices(root scan.Node) Problem {
	for _, key := range [...]string{"detail", "message"} { // FastAPI's, and gateways'
		if v, _ := root.Get(key); scan.Says(v) {
			return Problem{ErrorObject, key}
		}
	}
	return Problem{Form, "choices"}
}

// Read reads element i of a chunk's choices, of a legacy completion or not. A
// missing index is 0, as it is for servers that know one choice only.
func (d *Delta) Read(n scan.Node, i int, legacy bool) Problem {
	*d = Delta{}
	if n.Kind() != scan.Object {
		return Problem{Form, Place(i, "")}
	}
	fields := [...]scan.Field{{Name: "index"}, {Name: "delta"}, {Name: "finish_reason"}, {Name: "logprobs"}, {Name: "text"}, {Name: "error"}}
	if dup := scan.Collect(n, fields[:]); dup != "" {
		return Problem{Duplicate, Place(i, dup)}
	}
	d.FinishReason, d.Logprobs = fields[2].Node, fields[3].Node
	delta, text := fields[1].Node, fields[4].Node
	if scan.Says(fields[5].Node) {
		return Problem{ErrorObject, Place(i, "error")}
	}
	if scan.Present(fields[0].Node) {
		v, ok := fields[0].Node.Int()
		if !ok || v < 0 || v >= MaxChoices {
			return Problem{Form, Place(i, "index")}
		}
		d.Index = int(v)
	}
	if scan.Present(d.FinishReason) && d.FinishReason.Kind() != scan.String {
		return Problem{Form, Place(i, "finish_reason")}
	}
	if scan.Present(d.Logprobs) && d.Logprobs.Kind() != scan.Object {
		return Problem{Form, Place(i, "logprobs")}
	}
	if legacy {
		return d.readText(text, delta, i)
	}
	return d.readDelta(delta, n, i)
}

func (d *Delta) readText(text, delta scan.Node, i int) Problem {
	if scan.Present(text) && text.Kind() != scan.String || scan.Present(delta) && !text.Exists() {
		return Problem{Form, Place(i, "text")}
	}
	d.Content = text
	return Problem{}
}

// readDelta reads a chat choice. One that has none, but a whole message or a
// text, is read as nothing by every client.
func (d *Delta) readDelta(delta, choice scan.Node, i int) Problem {
	if !scan.Present(delta) {
		message, _ := choice.Get("message")
		text, _ := choice.Get("text")
		if scan.Present(message) || scan.Present(text) {
			return Problem{Form, Place(i, "delta")}
		}
		return Problem{}
	}
	if delta.Kind() != scan.Object {
		return Problem{Form, Place(i, "delta")}
	}
	fields := [...]scan.Field{{Name: "content"}, {Name: "role"}, {Name: "refusal"}, {Name: "tool_calls"}, {Name: "function_call"},
		{Name: "audio"}, {Name: "reasoning_content"}, {Name: "reasoning"}}
	if dup := scan.Collect(delta, fields[:]); dup != "" {
		return Problem{Duplicate, Place(i, "delta."+dup)}
	}
	d.Node, d.Content, d.Refusal = delta, fields[0].Node, fields[2].Node
	if k := d.Content.Kind(); scan.Present(d.Content) && k != scan.String && k != scan.Array {
		return Problem{Form, Place(i, "delta.content")}
	}
	d.Acts = scan.Says(fields[3].Node) || scan.Says(fields[4].Node) || scan.Says(fields[5].Node)
	d.Reasons = scan.Says(fields[6].Node) || scan.Says(fields[7].Node)
	return Problem{}
}

// Finished reports whether the delta is its choice's last.
func (d *Delta) Finished() bool { return scan.Says(d.FinishReason) }

// Filtered reports whether a content filter stopped the choice.
func (d *Delta) Filtered() bool { return d.FinishReason.EqualText(FinishContentFilter) }

// Refused reports whether the delta is a piece of a refusal.
func (d *Delta) Refused() bool { return scan.Says(d.Refusal) }

// Writes reports whether the delta has a piece of the content itself.
func (d *Delta) Writes() bool { return scan.Says(d.Content) }

// Says reports whether the delta carries anything at all, other than a role.
func (d *Delta) Says() bool { return d.Writes() || d.Refused() || d.Acts || d.Reasons }

// AppendContent appends the delta's piece of the content, of parts their texts.
func (d *Delta) AppendContent(dst []byte) []byte {
	whole := Choice{Content: d.Content}
	return whole.AppendContent(dst)
}
