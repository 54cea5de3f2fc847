package detect

import (
	"strconv"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/verdict"
)

// ChatRequest returns what an OpenAI request asks for; of another protocol the
// zero value. Known is false where the body was not seen or cannot be read. Its
// nodes are valid until x is Reset.
func (d *Detector) ChatRequest(x *Exchange) chat.Request {
	if d.policy.Protocol != policy.OpenAI {
		return chat.Request{}
	}
	return chat.ReadRequest(requestSide(x, policy.OpenAI).doc.Root(), x.Path)
}

// mayStream reports whether the answer may be a stream of events: the request
// asked for one, or nobody knows what it asked for.
func (d *Detector) mayStream(x *Exchange) bool {
	if d.policy.Protocol != policy.OpenAI {
		return false
	}
	r := d.ChatRequest(x)
	return r.Stream || !r.Known
}

// ChatUsage returns the tokens that the asked model counts for x's answer, be
// it clean or failed. ok is false where the answer is no whole completion that
// has been judged, or does not say.
func (d *Detector) ChatUsage(x *Exchange) (prompt, completion int64, ok bool) {
	return usageOf(&x.response)
}

// FallbackUsage is ChatUsage for the last answer that Fallback judged.
func (d *Detector) FallbackUsage(x *Exchange) (prompt, completion int64, ok bool) {
	return usageOf(&x.fallback)
}

func usageOf(s *side) (prompt, completion int64, ok bool) {
	if !s.read || s.message.Protocol != policy.OpenAI {
		return 0, 0, false
	}
	return chat.Tokens(s.message.Completion.Usage)
}

// judgeChat looks at a completion. Unlike elsewhere a number may be overlong,
// or a bare token, nowhere in it: no place of a completion is the model's own.
func (d *Detector) judgeChat(x *Exchange, t *plan, m *protocol.Message, v *verdict.Verdict) {
	r := d.ChatRequest(x)
	c := &m.Completion
	if c.Legacy != chat.Legacy(x.Path) {
		v.Add(found(t.unreadable, verdict.BrokenForm, chat.Place(0, formKey(c.Legacy))))
	}
	v.Add(t.findOverlong(m))
	v.Add(t.findTwin(c))
	v.Add(t.findBadLogprob(m, r))
	v.Add(t.checkChoices(x, c, r))
	v.Add(t.checkModelName(c.Model, r))
	for i := range c.Choices {
		ch := &c.Choices[i]
		if ch.Refused() {
			v.Add(found(t.chat.Refusal, verdict.ChatRefusal, chat.Place(i, "message.refusal")))
		}
		if ch.Filtered() {
			v.Add(found(t.chat.ContentFilter, verdict.ChatContentFilter, chat.Place(i, "finish_reason")))
		}
	}
	v.Add(t.checkFormat(x, c, r))
	for i := range t.confidences {
		if t.confidences[i].logprobs {
			v.Add(t.confidences[i].checkLogprobs(t, c, r))
		} else {
			v.Add(t.confidences[i].check(t, m))
		}
	}
}

// formKey is the key that the other form would have.
func formKey(legacy bool) string {
	if legacy {
		return "message"
	}
	return "text"
}

// findTwin finds a key that occurs twice anywhere in a message: two readers may
// see two calls of a tool.
func (t *plan) findTwin(c *chat.Completion) verdict.Finding {
	if t.ambiguous == "" {
		return verdict.Finding{}
	}
	for i := range c.Choices {
		if key, twice := duplicateIn(c.Choices[i].Message); twice {
			return found(t.ambiguous, verdict.BrokenDuplicate, quoted(key))
		}
	}
	return verdict.Finding{}
}

// checkChoices counts the choices, each of which must have an index of its own;
// a single one may have none.
func (t *plan) checkChoices(x *Exchange, c *chat.Completion, r chat.Request) verdict.Finding {
	n := len(c.Choices)
	if t.chat.Choices == "" {
		return verdict.Finding{}
	}
	if r.Known && n != r.N {
		return found(t.chat.Choices, verdict.ChatChoices, strconv.Itoa(n)+" want "+strconv.Itoa(r.N))
	}
	x.seen = append(x.seen[:0], make([]bool, n)...)
	for i := range c.Choices {
		index := c.Choices[i].Index
		if n == 1 && (!index.Exists() || index.Kind() == scan.Null) {
			break
		}
		at, ok := index.Int()
		if !ok || at < 0 || at >= int64(n) || x.seen[at] {
			return found(t.chat.Choices, verdict.ChatChoices, chat.Place(i, "index"))
		}
		x.seen[at] = true
	}
	return verdict.Finding{}
}

// checkModelName compares the model that an answer names with the one that was
// asked. Of the route's own model that is the name that the request has, or the
// name that it is served under; of a fallback's only the latter, under which it
// was asked. Either may be followed by the date of a snapshot.
func (t *plan) checkModelName(model scan.Node, r chat.Request) verdict.Finding {
	if t.contract == nil || !t.contract.ModelName {
		return verdict.Finding{}
	}
	var bufModel, bufAsked [64]byte
	name := model.Text(bufModel[:0])
	asked := r.Model.Text(bufAsked[:0])
	if !t.own && t.servedName != "" {
		asked = nil
	}
	if t.servedName == "" && len(asked) == 0 || isSnapshot(name, []byte(t.servedName)) || isSnapshot(name, asked) {
		return verdict.Finding{}
	}
	return t.breach(verdict.ContractModelName, textOf(model))
}

// isSnapshot reports whether name is model, or model followed by a dash and the
// digits of a date or a number of three digits or more (gpt-4o-2024-08-06,
// gpt-4-0613, gemini-1.5-flash-001). gpt-4o-mini is no snapshot of gpt-4o.
func isSnapshot(name, model []byte) bool {
	if len(model) == 0 || len(name) < len(model) || string(name[:len(model)]) != string(model) {
		return false
	}
	rest := name[len(model):]
	if len(rest) == 0 {
		return true
	}
	digits := 0
	for i, c := range rest {
		switch {
		case c == '-':
		case '0' <= c && c <= '9' && i > 0:
			digits++
		default:
			return false
		}
	}
	return rest[0] == '-' && digits >= 3
}
