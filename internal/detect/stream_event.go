package detect

import (
	"bytes"
	"hash/maphash"
	"strconv"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/expr"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/verdict"
)

// eventLimits bounds the JSON of one event; scan's defaults. Every number of a
// chunk is inspected, or has few digits.
var eventLimits = scan.Limits{}

// take judges one event. It reports whether the event may be passed on, which
// one that fails may not.
func (s *Stream) take(doc *scan.Document, e *chat.Event) bool {
	before := s.content
	switch {
	case e.Part:
		if !s.unread {
			s.note(s.tooLarge("event", s.event))
		}
		s.unread, s.format, s.content = true, nil, true // it cannot be held
	case e.Stray:
		s.note(found(s.plan.unreadable, verdict.BrokenSyntax, "line of event "+strconv.Itoa(s.events+1)))
	case e.HasData:
		s.events++
		s.judge(doc, e)
	}
	s.preamble += int64(len(e.Raw))
	if s.verdict.Clean() && !s.content && s.preamble > s.hold {
		s.note(s.tooLarge("preamble", s.hold))
		s.content = true // observed: it is not held any longer
	}
	if !s.verdict.Clean() {
		s.content = before
		return false
	}
	return true
}

// tooLarge is the finding on what is longer than may be held, in bytes.
func (s *Stream) tooLarge(what string, limit int64) verdict.Finding {
	mode := s.plan.unreadable
	if s.plan.overLimit == policy.OverPass {
		mode = policy.Observe
	}
	return found(mode, verdict.BrokenTooLarge, what+" > "+strconv.FormatInt(limit, 10))
}

// judge reads the data of one event.
func (s *Stream) judge(doc *scan.Document, e *chat.Event) {
	if e.IsDone() {
		s.done()
		return
	}
	if err := doc.Parse(e.Data, eventLimits); err != nil {
		s.note(found(s.plan.unreadable, eventCode(err), offsetOf(err)+" of event "+strconv.Itoa(s.events)))
		return
	}
	if s.plan.nonFinite != "" && mayHoldBare(e.Data) {
		if where := bareAnywhere(doc.Root()); where != "" {
			s.note(found(s.plan.nonFinite, verdict.NonFiniteValue, where))
		}
	}
	var c chat.Chunk
	p := c.Read(doc.Root())
	if !p.Found() && string(e.Name) == "error" {
		p = chat.Problem{Kind: chat.ErrorObject, Where: "event"}
	}
	if p.Found() {
		s.object(doc, p)
		return
	}
	s.identify(&c)
	if prompt, completion, ok := chat.Tokens(c.Usage); ok {
		s.prompt, s.completion, s.usage = prompt, completion, true
	}
	for it := c.Choices.Children(); it.Next(); {
		var delta chat.Delta
		if p := delta.Read(it.Value(), it.Index(), s.legacy); p.Found() {
			s.object(doc, p)
			return
		}
		s.delta(&delta)
	}
	if contract := s.plan.contract; contract != nil && contract.ModelName && s.content && !s.named {
		s.checkModel(c.Model) // an answer without one
	}
	if s.usage && c.Usage.Kind() == scan.Object && s.complete() {
		s.lastUsage = true
	}
}

var bareTokens = [...][]byte{[]byte("NaN"), []byte("Infinity")}

// mayHoldBare spares most events the search for bare tokens.
func mayHoldBare(data []byte) bool {
	return bytes.Contains(data, bareTokens[0]) || bytes.Contains(data, bareTokens[1])
}

// object notes that an event is no chunk. A dependency may be why the model
// sent an error.
func (s *Stream) object(doc *scan.Document, p chat.Problem) {
	t := s.plan
	switch p.Kind {
	case chat.ErrorObject:
		if len(t.dependencies) > 0 {
			var v verdict.Verdict
			t.blame(&expr.Env{Response: doc.Root(), Status: 200}, &v)
			s.note(v.Failed)
			for _, f := range v.Observed {
				s.note(f)
			}
		}
		s.note(found(t.broken, verdict.BrokenErrorObject, p.Where))
	case chat.Duplicate:
		s.note(found(t.ambiguous, verdict.BrokenDuplicate, p.Where))
	case chat.Empty:
		s.note(found(t.unreadable, verdict.BrokenEmpty, p.Where))
	default:
		s.note(found(t.unreadable, verdict.BrokenForm, p.Where))
	}
}

// identify holds the chunk's id and model to those before it, and the model to
// the one that was asked. Azure's chunks about filters have empty ones.
func (s *Stream) identify(c *chat.Chunk) {
	contract := s.plan.contract
	if contract == nil {
		return
	}
	if !sameAsBefore(&s.id, c.ID) {
		s.note(s.plan.breach(verdict.ContractID, ""))
	}
	if !sameAsBefore(&s.model, c.Model) {
		s.note(s.plan.breach(verdict.ContractModelName, textOf(c.Model)))
	}
	if contract.ModelName && !s.named && s.model != 0 {
		s.checkModel(c.Model)
	}
}

// checkModel holds the model's name to those that it may have, once: as
// checkModelName does.
func (s *Stream) checkModel(model scan.Node) {
	s.named = true
	served := s.plan.servedName
	var buf [64]byte
	name := model.Text(buf[:0])
	if served == "" && s.asked == "" || isSnapshot(name, []byte(served)) || isSnapshot(name, []byte(s.asked)) {
		return
	}
	s.note(s.plan.breach(verdict.ContractModelName, textOf(model)))
}

// sameAsBefore compares a text with the hash of the first that there was.
func sameAsBefore(first *uint64, n scan.Node) bool {
	if n.Kind() != scan.String || len(n.Raw()) <= len(`""`) {
		return true
	}
	hash := maphash.Bytes(keySeed, n.Raw()) | 1
	if *first == 0 {
		*first = hash
	}
	return *first == hash
}

// eventCode says what is wrong with an event's data. JSON that is cut short, has
// more behind it, or is empty is no JSON: it is the stream that can be
// truncated, not an event.
func eventCode(err error) verdict.Code {
	switch f := parseFailure(err); f.code {
	case verdict.BrokenTruncated, verdict.BrokenTrailing, verdict.BrokenEmpty:
		return verdict.BrokenSyntax
	default:
		return f.code
	}
}

func offsetOf(err error) string {
	if e, ok := err.(*scan.Error); ok {
		return strconv.Itoa(e.Offset)
	}
	return "0"
}
