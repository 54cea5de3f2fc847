package faultmodel

import (
	"net/http"
	"strings"
	"time"
)

// chatRow is what a fault is on OA and SSE. Of completion, edit, reply, script
// and serve at least one is set. Where a request does not ask for what the
// fault is about, logprobs for one, its answer is clean and not counted.
type chatRow struct {
	on set

	completion func(*completion)         // changes what the model says
	edit       func([]byte) []byte       // changes the JSON: the body, or the event at the position
	reply      func(Protocol, *reply)    // changes what is sent as one body; on SSE only where there is no script
	script     func(*script)             // SSE: changes what is sent as events
	serve      func(x *exchange) bool    // sends it; reports whether the fault went out whole and is not counted yet
	prepare    func(*Server, *script)    // SSE: as script, with what the server is set to
	at         int                       // the token at which the fault is, unless a position is set
	positions  []int                     // SSE: the tokens at which it is worth having
	needs      func(q *chatRequest) bool // what a request must ask for; nil: nothing
	n          int                       // choices that a request must ask for; 0: any
}

var anywhere = []int{0, 1, 40}

func wantsLogprobs(q *chatRequest) bool { return q.logprobs }
func wantsFormat(q *chatRequest) bool   { return q.format.json() }

// applies reports whether a request can show the fault.
func (c *chatRow) applies(q *chatRequest) bool {
	return (c.needs == nil || c.needs(q)) && c.n <= q.n
}

// chatStatus answers with an OpenAI error: the first n requests only, or every
// one where n is 0. Pairs of header name and value may follow.
func chatStatus(status, n int, body string, header ...string) func(*exchange) bool {
	return func(x *exchange) bool {
		if n > 0 && x.nth >= n {
			x.write()
			return false
		}
		for i := 0; i+1 < len(header); i += 2 {
			x.w.Header().Set(header[i], header[i+1])
		}
		sendError(x.w, status, body)
		return true
	}
}

func sendError(w http.ResponseWriter, status int, body string) {
	(&reply{status: status, header: http.Header{"Content-Type": {"application/json"}}, body: []byte(body)}).write(w)
}

func cutBy(end ending) func(*script) { return func(s *script) { s.cut(end) } }

// withoutDone ends a complete stream without its [DONE].
func withoutDone(end ending) func(*script) {
	return func(s *script) {
		s.events, s.end = s.events[:len(s.events)-1], end
		s.mark = len(s.events)
	}
}

// firstTokenLate sends the headers and then nothing for a while.
func firstTokenLate(srv *Server, s *script) { s.delay, s.mark = srv.opts.FirstToken, 0 }

// errorEvent breaks off with an error, as servers do that notice.
func errorEvent(s *script) {
	s.cut(endClean)
	s.events = append(s.events, event{kind: eventRaw, raw: "data: " + crashBody + "\n\n"}, event{kind: eventDone})
	s.mark = len(s.events) - 1
}

// noChoices streams a chunk that has none.
func noChoices(s *script) {
	s.events = []event{{kind: eventUsage}, {kind: eventDone}}
	s.mark = 1
}

// endlessPreamble sends 16 MiB of comments before the first event.
func endlessPreamble(s *script) {
	comments := strings.Repeat(": keep-alive\n\n", 1<<16/14)
	long := make([]event, hugeBytes/len(comments)+1, hugeBytes/len(comments)+1+len(s.events))
	for i := range long {
		long[i] = event{kind: eventRaw, raw: comments}
	}
	s.events = append(long, s.events...)
	s.mark = 1
}

// logprob changes the token that the fault is at, in the first choice.
func logprob(text string) func(*completion) {
	return func(c *completion) {
		ch := &c.choices[0]
		ch.logprobs[min(c.at, len(ch.logprobs)-1)] = text
	}
}

func everyLogprob(text string) func(*completion) {
	return func(c *completion) {
		for i := range c.choices[0].logprobs {
			c.choices[0].logprobs[i] = text
		}
	}
}

func insteadOfLogprobs(text string) func(*completion) {
	return func(c *completion) { c.choices[0].noLogprobs = text }
}

// empty takes a choice's content.
func empty(choice int, null bool) func(*completion) {
	return func(c *completion) {
		c.choices[choice].say(nil)
		c.choices[choice].null, c.choices[choice].tool = null, ""
		c.shows = showsAtEnd
	}
}

// answersWith replaces what every choice says.
func answersWith(text string) func(*completion) {
	return func(c *completion) {
		for i := range c.choices {
			c.choices[i].say(pieces(text, 6))
		}
		c.shows = showsAtEnd
	}
}

func refuses(c *completion) {
	for i := range c.choices {
		c.choices[i].say(pieces("I'm sorry, I can't help with that.", 6))
		c.choices[i].refusal, c.choices[i].tool = true, ""
	}
}

// filtered stops where the fault is.
func filtered(c *completion) {
	ch := &c.choices[0]
	ch.say(ch.tokens[:min(c.at, len(ch.tokens))])
	ch.finish = "content_filter"
	c.shows = showsAtEnd
}

// plainForStream answers a stream request with one whole completion.
func plainForStream(x *exchange) bool {
	renderCompletion(x.completion).write(x.w)
	return true
}

// streamForPlain answers a plain request with events.
func streamForPlain(x *exchange) bool {
	script := newScript(x.completion)
	script.mark = 0 // the headers are the fault: whoever reads them may leave
	x.server.play(x.w, x.r, script, C13StreamForPlain)
	return false // counted already
}

// firstTokenDelay is how late S07's first token is unless Options say otherwise.
const firstTokenDelay = 20 * time.Second
