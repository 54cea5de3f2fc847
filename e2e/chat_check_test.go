package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// String is an answer for a failed test.
func (h heard) String() string {
	return fmt.Sprintf("%s %d, source %q, reason %q, code %q, message %.80q, texts %.60q, finish_reason %q, models %q, first after %s, all after %s, problem %q, body …%.300q",
		h.how, h.status, h.source, h.reason, h.code, h.message, h.texts, h.finish, h.models, h.first, h.took, h.problem, tailOf(h.body, 300))
}

func tailOf(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// ending is how an answer ended; 0 where it is none of the endings.
func (h heard) ending() ending {
	switch {
	case h.problem != "":
		return 0
	case h.how == answered && h.source == "primary":
		return ownAnswer
	case h.how == answered && h.source == "fallback":
		return restarted
	case h.how == raised:
		return errorEvent
	case h.how == broken:
		return brokenOff
	case h.how == refused && h.status == http.StatusServiceUnavailable:
		return lastRung
	case h.how == refused && h.status == http.StatusBadRequest:
		return objection
	}
	return 0
}

// problem says what is wrong with an answer that ended so; "" is nothing.
func (c *chatCell) problem(e ending, h heard) string {
	if leak := leaked(h); leak != "" {
		return "the answer holds " + leak
	}
	if h.took > endsWithin {
		return fmt.Sprintf("it ended after %s", h.took)
	}
	q := c.call()
	switch e {
	case ownAnswer:
		return whole(h, q, "w", q.route, c.protocol)
	case restarted:
		if !c.named(h.reason) {
			return fmt.Sprintf("reason %q, want one of %q", h.reason, c.want.reason)
		}
		if !strings.HasSuffix(h.model, q.route+"-small") || h.version != "small" {
			return fmt.Sprintf("x-safestate-model %q and -version %q are not the fallback's", h.model, h.version)
		}
		if h.first > chatDeadline+deadlineGrace {
			return fmt.Sprintf("it began after %s, the deadline is %s", h.first, chatDeadline)
		}
		return whole(h, q, "s", "small", c.protocol)
	case errorEvent:
		return c.committed(h, true)
	case brokenOff:
		return c.committed(h, false)
	case lastRung:
		if code, _ := strings.CutPrefix(h.code, "safestate_"); !slices.Contains(c.want.reason, code) {
			return fmt.Sprintf("code %q, want one of %q behind safestate_", h.code, c.want.reason)
		}
		if h.source != "safe_default" {
			return "the last rung is not tagged safe_default"
		}
	case objection:
		code := map[fm.Fault]string{fm.S12ContextLength: "context_length_exceeded", fm.S13ContentPolicy: "content_policy_violation"}[c.fault]
		if h.code != code || h.source != "primary" {
			return "not the model's own objection, untouched"
		}
	}
	return ""
}

// endsWithin bounds every answer: the longest is one that another model gives
// once the first has used up its time. silenceWithin bounds one of 40 tokens
// that ends in a silence. Both leave a busy machine some time; the proxy takes a
// second until it closes a connection that it broke off.
const (
	endsWithin    = chatDeadline + time.Second
	silenceWithin = betweenTokens + 500*time.Millisecond
)

// named reports whether a reason begins with a code that is right.
func (c *chatCell) named(reason string) bool {
	code, _, _ := strings.Cut(reason, " ")
	return slices.Contains(c.want.reason, code)
}

// whole says what is missing of a whole answer, all of it by one model: text of
// a letter, under a name.
func whole(h heard, q chatCall, letter, name string, p fm.Protocol) string {
	text := q.text(letter)
	switch {
	case len(h.texts) != q.n:
		return fmt.Sprintf("%d choices, want %d", len(h.texts), q.n)
	case len(h.models) != 1 || h.models[0] != name || len(h.ids) != 1:
		return fmt.Sprintf("models %q, ids %q: want %q alone", h.models, h.ids, name)
	case p == fm.SSE && !strings.HasPrefix(h.kind, "text/event-stream"), p == fm.OA && !strings.HasPrefix(h.kind, "application/json"):
		return "content-type " + h.kind
	}
	for i := range h.texts {
		if h.texts[i] != text || h.finish[i] != "stop" {
			return fmt.Sprintf("choice %d ends by %q and says %.60q…, want stop and %.60q…", i, h.finish[i], h.texts[i], text)
		}
	}
	if h.body == nil && p == fm.SSE && h.usage == nil && !q.usage {
		return "" // not asked for
	}
	if h.usage == nil || h.usage.Completion == 0 || h.usage.Prompt == 0 {
		return fmt.Sprintf("usage %+v", h.usage)
	}
	return ""
}

// committed says what is wrong with the beginning of a stream that failed: it
// is the model's, token by token up to the failure and nothing of that.
func (c *chatCell) committed(h heard, told bool) string {
	q := c.call()
	said := orElse(c.want.says, words("w", max(0, c.place)))
	if c.place == 0 && c.want.says == "" {
		said = ""
	}
	text := ""
	if len(h.texts) > 0 {
		text = h.texts[0]
	}
	switch {
	case h.source != "primary" || h.status != http.StatusOK:
		return "the beginning is not the primary's"
	case len(h.models) != 1 || h.models[0] != q.route || len(h.ids) != 1:
		return fmt.Sprintf("models %q, ids %q: want %q alone", h.models, h.ids, q.route)
	case told && text != said:
		return fmt.Sprintf("it says %q before the error event, want %q", text, said)
	case !told && (text == "" || !strings.HasPrefix(said, text)):
		return fmt.Sprintf("it says %q before it breaks, want the beginning of %q", text, said)
	case q.n == 1 && h.finish[0] != "":
		return fmt.Sprintf("finish_reason %q of an answer that failed", h.finish[0])
	case !told:
		return ""
	case c.want.held && h.took > silenceWithin:
		return fmt.Sprintf("the event came after %s, the silence may last %s", h.took, betweenTokens)
	}
	code, ours := strings.CutPrefix(h.code, "safestate_")
	if !ours || !slices.Contains(c.want.reason, code) || h.message == "" {
		return fmt.Sprintf("error %q %q, want one of %q behind safestate_", h.code, h.message, c.want.reason)
	}
	return ""
}

// chatLeaks are pieces of what models write where something is wrong; a reason
// may name another model.
var chatLeaks = append([]string{"hiccup", "somebody-elses", "harmless", "padding", "Welcome", "prefill"}, leaks...)

func leaked(h heard) string {
	for _, leak := range chatLeaks {
		for where, text := range map[string]string{"body": string(h.body), "reason": h.reason, "error": h.message, "text": strings.Join(h.texts, " ")} {
			if strings.Contains(text, leak) && (where != "reason" || leak != "somebody-elses") {
				return fmt.Sprintf("%q in its %s", leak, where)
			}
		}
	}
	return ""
}
