package detect

import (
	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/verdict"
)

// contentRoom is where the content of a choice is read as JSON.
type contentRoom struct {
	doc  scan.Document
	text []byte
}

func (c *contentRoom) reset() {
	c.doc.Reset()
	c.text = keep(c.text)
}

// checkFormat holds every choice that has a text to the request's
// response_format. A refusal and a call of a tool are no such text.
func (t *plan) checkFormat(x *Exchange, c *chat.Completion, r chat.Request) verdict.Finding {
	if t.chat.Format == "" || !chat.Formatted(r.Format) {
		return verdict.Finding{}
	}
	for i := range c.Choices {
		ch := &c.Choices[i]
		if ch.Refused() || ch.Acts() {
			continue
		}
		x.content.text = ch.AppendContent(x.content.text[:0])
		if b := chat.CheckFormat(r.Format, x.content.text, &x.content.doc); b.Found() {
			return found(t.chat.Format, verdict.ChatFormat, contentPlace(i, c.Legacy)+" "+b.String())
		}
	}
	return verdict.Finding{}
}

// contentPlace names the content of choice i.
func contentPlace(i int, legacy bool) string {
	if legacy {
		return chat.Place(i, "text")
	}
	return chat.Place(i, "message.content")
}
