package detect

import (
	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/verdict"
)

// contentFormat is the response_format that a stream's content is held to.
type contentFormat struct {
	text []byte // the request's JSON of it, a copy
	room int64  // how many more bytes of content may be gathered, of all choices
}

// gather keeps a piece of a choice's content, which can be read as a whole only.
func (s *Stream) gather(c *choice, d *chat.Delta) {
	if c.tooLong {
		return
	}
	before := len(c.text)
	c.text = d.AppendContent(c.text)
	if s.format.room -= int64(len(c.text) - before); s.format.room >= 0 {
		return
	}
	c.tooLong, c.text = true, nil
	s.note(s.tooLarge("content", s.plan.bodyBytes))
}

// checkFormat holds the content of a complete choice to the format.
func (s *Stream) checkFormat(c *choice) {
	format, content := documents.Get().(*scan.Document), documents.Get().(*scan.Document)
	defer func() {
		format.Reset()
		content.Reset()
		documents.Put(format)
		documents.Put(content)
	}()
	if format.Parse(s.format.text, limits) != nil {
		return // it was read before: a request that is no JSON has no format
	}
	if b := chat.CheckFormat(format.Root(), c.text, content); b.Found() {
		s.note(found(s.plan.chat.Format, verdict.ChatFormat, chat.Place(int(c.index), s.contentKey())+" "+b.String()))
	}
}
