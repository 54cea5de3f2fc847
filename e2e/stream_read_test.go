package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/safestate/safestate/e2e/clients"
	"github.com/safestate/safestate/e2e/dataplane"
)

// manner is how an answer of a chat model ended for its caller.
type manner string

const (
	answered manner = "answered" // complete
	raised   manner = "raised"   // an error event
	refused  manner = "refused"  // an error status
	broken   manner = "broken"   // the transfer broke off
)

// heard is what a client made of an answer.
type heard struct {
	how     manner
	problem string // what is wrong with its form; "": nothing

	status        int
	source        string
	reason        string
	model         string // x-safestate-model
	version       string
	kind          string // content-type
	code, message string // of the error, of whichever form

	texts  []string // of the choices
	finish []string
	models []string // every different one
	ids    []string
	usage  *clients.Usage
	first  time.Duration // until the headers, which the first content follows at once
	took   time.Duration
	body   []byte // nil: the client does not tell
}

// completion is the part of a completion, and of a chunk, that is read here.
type completion struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Model   string `json:"model"`
	Choices []struct {
		Index   int    `json:"index"`
		Message *piece `json:"message"`
		Delta   *piece `json:"delta"`
		Text    string `json:"text"`
		Finish  string `json:"finish_reason"`
	} `json:"choices"`
	Usage *struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
	} `json:"usage"`
	Error *struct {
		Message string `json:"message"`
		Type    string `json:"type"`
		Code    string `json:"code"`
	} `json:"error"`
}

type piece struct {
	Content string `json:"content"`
	Refusal string `json:"refusal"`
}

// hear asks for a completion and reads the answer strictly, byte by byte.
func hear(client *http.Client, address string, q dataplane.Request, stream bool) heard {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	begun := time.Now()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+q.Path, bytes.NewReader(q.Body))
	if err != nil {
		return heard{how: broken, problem: err.Error()}
	}
	r.Header.Set("Content-Type", "application/json")
	for k, v := range q.Header {
		r.Header[k] = v
	}
	resp, err := client.Do(r)
	if err != nil {
		return heard{how: broken, problem: "no answer at all: " + err.Error(), took: time.Since(begun)}
	}
	defer func() { _ = resp.Body.Close() }()
	h := heard{
		status: resp.StatusCode, source: resp.Header.Get("X-Safestate-Source"), reason: resp.Header.Get("X-Safestate-Reason"),
		model: resp.Header.Get("X-Safestate-Model"), version: resp.Header.Get("X-Safestate-Version"),
		kind: resp.Header.Get("Content-Type"), first: time.Since(begun), how: answered,
	}
	h.body, err = io.ReadAll(resp.Body)
	h.took = time.Since(begun)
	switch {
	case err != nil:
		h.how = broken
	case h.status != http.StatusOK:
		h.how = refused
	}
	switch {
	case h.how == refused || !stream:
		h.read(h.body)
	case !strings.HasPrefix(h.kind, "text/event-stream"):
		h.problem = "a stream was asked for, the answer is " + h.kind
	default:
		h.events()
	}
	return h
}

// events reads a stream of events: whole ones, each one JSON, nothing behind
// the end. Only a broken transfer may end in the middle of one.
func (h *heard) events() {
	done := false
	for rest := h.body; len(rest) > 0; {
		event, after, whole := bytes.Cut(rest, []byte("\n\n"))
		data, isData := bytes.CutPrefix(event, []byte("data: "))
		switch {
		case !whole && h.how == broken:
			return
		case !whole, !isData:
			h.problem = fmt.Sprintf("no event: %.100q", event)
			return
		case done || h.how == raised:
			h.problem = fmt.Sprintf("something follows the end: %.100q", event)
			return
		case string(data) == "[DONE]":
			done = true
		default:
			h.read(data)
		}
		rest = after
	}
	if h.how == answered && !done {
		h.problem = "the stream ends without [DONE]: silently truncated"
	}
}

// read adds one completion or chunk.
func (h *heard) read(data []byte) {
	var c completion
	if err := json.Unmarshal(data, &c); err != nil {
		h.problem = fmt.Sprintf("%v in %.100q", err, data)
		return
	}
	if c.Error != nil {
		h.code, h.message = c.Error.Code, c.Error.Message
		if h.how == answered {
			h.how = raised
		}
		return
	}
	h.models, h.ids = once(h.models, c.Model), once(h.ids, c.ID)
	if c.Usage != nil {
		h.usage = &clients.Usage{Prompt: c.Usage.Prompt, Completion: c.Usage.Completion}
	}
	for _, ch := range c.Choices {
		for len(h.texts) <= ch.Index && ch.Index < 8 {
			h.texts, h.finish = append(h.texts, ""), append(h.finish, "")
		}
		text := ch.Text
		for _, p := range []*piece{ch.Message, ch.Delta} {
			if p != nil {
				text += p.Content + p.Refusal
			}
		}
		h.texts[ch.Index] += text
		h.finish[ch.Index] = orElse(ch.Finish, h.finish[ch.Index])
	}
}

func once(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// fromOpenAI is what the openai library made of an answer.
func fromOpenAI(o clients.ChatOutcome) heard {
	h := heard{
		how: answered, status: http.StatusOK, source: o.Header["x-safestate-source"], reason: o.Header["x-safestate-reason"],
		model: o.Header["x-safestate-model"], version: o.Header["x-safestate-version"], kind: o.Header["content-type"],
		models: o.Models, ids: o.IDs, usage: o.Usage, took: time.Duration(o.TookMS * float64(time.Millisecond)),
	}
	for _, ch := range o.Choices {
		h.texts, h.finish = append(h.texts, ch.Text+ch.Refusal), append(h.finish, ch.Finish)
	}
	if o.Raised == nil {
		return h
	}
	h.code, h.message = o.Raised.Code, o.Raised.Message
	switch o.Raised.Type {
	case "openai.APIError":
		h.how = raised
	case "openai.APIConnectionError":
		h.how = broken
	case "openai.InternalServerError", "openai.BadRequestError":
		h.how = refused
		status, _ := o.Raised.Status.(float64)
		h.status = int(status)
	default:
		h.how, h.problem = broken, "the library raises "+o.Raised.Type+" "+o.Raised.Message
	}
	return h
}
