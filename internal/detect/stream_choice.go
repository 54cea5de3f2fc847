package detect

import (
	"strconv"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/verdict"
)

// choice is what has come of one choice.
type choice struct {
	index int32
	// said: it has something in it. acts: it is a call of a tool or function, or
	// audio. declined: it is a refusal. complete: it has its finish_reason.
	// badToken: a token had no probability. tooLong: the content is over its
	// bound. Neither is judged as a whole then.
	said, acts, declined, complete bool
	badToken, tooLong              bool
	fold                           logprobFold
	text                           []byte // its content, where that has a format
}

// mostChoices bounds the choices that are kept apart where the request asked
// for fewer, or is not known: the API's own bound is 128.
const mostChoices = 128

// choiceOf returns the choice of an index, nil where there is no room for one
// more.
func (s *Stream) choiceOf(index int) *choice {
	for i := range s.choices {
		if s.choices[i].index == int32(index) {
			return &s.choices[i]
		}
	}
	if len(s.choices) >= max(s.want, mostChoices) {
		return nil
	}
	s.choices = append(s.choices, choice{index: int32(index)})
	return &s.choices[len(s.choices)-1]
}

// delta adds a piece to its choice.
func (s *Stream) delta(d *chat.Delta) {
	t := s.plan
	if s.want > 0 && d.Index >= s.want {
		s.note(found(t.chat.Choices, verdict.ChatChoices, chat.Place(d.Index, "index")))
	}
	c := s.choiceOf(d.Index)
	if c == nil {
		s.note(found(t.unreadable, verdict.BrokenTooLarge, "choices > "+strconv.Itoa(len(s.choices))))
		return
	}
	if d.Says() {
		c.said = true
		c.acts = c.acts || d.Acts
		s.content, s.spoke = true, true
	}
	if t.ambiguous != "" && (d.Acts || d.Content.Kind() == scan.Array) { // what else there is, Read has looked at
		if key, twice := duplicateIn(d.Node); twice {
			s.note(found(t.ambiguous, verdict.BrokenDuplicate, quoted(key)))
		}
	}
	if d.Refused() {
		c.declined = true
		s.note(found(t.chat.Refusal, verdict.ChatRefusal, chat.Place(d.Index, "delta.refusal")))
	}
	if d.Logprobs.Kind() == scan.Object {
		s.tokens(c, d.Logprobs)
	}
	if s.format != nil && d.Writes() && !c.complete {
		s.gather(c, d)
	}
	if d.Finished() && !c.complete {
		c.complete, s.spoke = true, true
		s.finish(c, d)
	}
}

// finish judges a choice that is complete.
func (s *Stream) finish(c *choice, d *chat.Delta) {
	t := s.plan
	switch {
	case chat.Failed(d.FinishReason):
		s.note(found(t.broken, verdict.BrokenErrorObject, chat.Place(d.Index, "finish_reason")))
		return
	case d.Filtered():
		s.note(found(t.chat.ContentFilter, verdict.ChatContentFilter, chat.Place(d.Index, "finish_reason")))
	case !c.said:
		s.note(found(t.unreadable, verdict.BrokenEmpty, chat.Place(d.Index, s.contentKey())))
	}
	s.finishTokens(c, d.Filtered())
	if s.format != nil && !c.acts && !c.declined && !c.tooLong {
		s.checkFormat(c)
	}
	c.text = nil
}

func (s *Stream) contentKey() string {
	if s.legacy {
		return "text"
	}
	return "delta.content"
}

// complete reports whether every choice that was asked for, and every other one
// that has begun, has its finish_reason.
func (s *Stream) complete() bool {
	if len(s.choices) == 0 || len(s.choices) < s.want {
		return false
	}
	return s.unfinished() < 0
}

// unfinished returns the index of a choice without finish_reason, -1 for none.
func (s *Stream) unfinished() int {
	for i := range s.choices {
		if !s.choices[i].complete {
			return int(s.choices[i].index)
		}
	}
	return -1
}

// done judges what the model calls complete.
func (s *Stream) done() {
	t := s.plan
	switch i := s.unfinished(); {
	case s.unread:
	case len(s.choices) == 0:
		s.note(found(t.unreadable, verdict.BrokenEmpty, "choices"))
	case i >= 0:
		s.note(found(t.unreadable, verdict.BrokenTruncated, chat.Place(i, "finish_reason")))
	case s.want > len(s.choices):
		s.note(found(t.chat.Choices, verdict.ChatChoices, strconv.Itoa(len(s.choices))+" want "+strconv.Itoa(s.want)))
	}
	s.finished, s.content = true, true
}

// close judges a body that has ended without [DONE]; cut is what there was of
// an event more.
func (s *Stream) close(cut []byte) {
	t := s.plan
	switch {
	case s.complete():
		s.held = append(s.held, chat.Done...)
		cut = nil
	case s.unread:
	case s.events == 0:
		s.note(found(t.unreadable, verdict.BrokenEmpty, "body"))
	default:
		s.note(found(t.unreadable, verdict.BrokenTruncated, strconv.FormatInt(s.total, 10)))
	}
	if s.verdict.Clean() {
		s.held = append(s.held, cut...)
		s.finished, s.content = true, true
	}
}
