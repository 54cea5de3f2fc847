package clients

import (
	"maps"
	"testing"
)

// OpenAI is a process with the openai library. It is safe for concurrent use
// and asks one call at a time.
type OpenAI struct{ script *script }

// StartOpenAI starts one that asks baseURL, such as http://127.0.0.1:10000/v1,
// until the test ends. It never retries.
func StartOpenAI(t testing.TB, baseURL string) *OpenAI {
	t.Helper()
	return &OpenAI{script: python(t, "chat.py", baseURL)}
}

// Chat is one call of chat.completions.create, or with Legacy of
// completions.create.
type Chat struct {
	Stream  bool              `json:"stream"`
	Legacy  bool              `json:"legacy"`
	BaseURL string            `json:"base_url,omitempty"` // empty: the client's
	Header  map[string]string `json:"headers,omitempty"`
	Seconds float64           `json:"timeout,omitempty"` // the library's timeout; 0: 30
	// Body is the call's arguments: model, messages and whatever else. Empty: one
	// message to the model "chat".
	Body map[string]any `json:"body"`
}

// ChatOutcome is what the library made of the answer.
type ChatOutcome struct {
	// Choices are in the order of their indexes, the partial ones of a broken
	// stream included; nil where there were none.
	Choices []Choice `json:"choices"`
	IDs     []string `json:"ids"`    // every different one, in order
	Models  []string `json:"models"` // as IDs
	Chunks  int      `json:"chunks"` // events of a stream, 1 of a plain answer
	Usage   *Usage   `json:"usage"`
	// Header holds content-type and the x-safestate headers, by lower-case name.
	Header  map[string]string `json:"headers"`
	Raised  *Raised           `json:"raised"` // nil: the library took the answer
	FirstMS float64           `json:"first_ms"`
	TookMS  float64           `json:"took_ms"`
}

// Choice is what came of one choice. Null: its content never came, or was null.
type Choice struct {
	Index     int      `json:"index"`
	Text      string   `json:"text"`
	Null      bool     `json:"null"`
	Refusal   string   `json:"refusal"`
	Arguments string   `json:"arguments"` // of tool calls, joined
	Finish    string   `json:"finish_reason"`
	Logprobs  []string `json:"logprobs"` // as Python writes them: nan, -inf
}

// Usage is the tokens counted.
type Usage struct {
	Prompt     int `json:"prompt"`
	Completion int `json:"completion"`
}

// Raised is an exception: Type is its package and class, such as
// openai.APIError; Cause the class of what it was raised from.
type Raised struct {
	Type    string `json:"type"`
	Message string `json:"message"`
	Status  any    `json:"status"` // of HTTP a number, of gRPC a text such as StatusCode.UNAVAILABLE; nil: none
	Code    string `json:"code"`
	Cause   string `json:"cause"`
}

// Text is the first choice's text; empty where there is none.
func (o ChatOutcome) Text() string {
	if len(o.Choices) == 0 {
		return ""
	}
	return o.Choices[0].Text
}

// Finish is the first choice's finish_reason; empty where there is none.
func (o ChatOutcome) Finish() string {
	if len(o.Choices) == 0 {
		return ""
	}
	return o.Choices[0].Finish
}

// RaisedType is the exception's type; empty where the library took the answer.
func (o ChatOutcome) RaisedType() string {
	if o.Raised == nil {
		return ""
	}
	return o.Raised.Type
}

// Ask makes one call and waits for its end.
func (c *OpenAI) Ask(t testing.TB, q Chat) ChatOutcome {
	t.Helper()
	q.Body = maps.Clone(q.Body)
	if q.Body == nil {
		q.Body = map[string]any{}
	}
	if _, named := q.Body["model"]; !named {
		q.Body["model"] = "chat"
	}
	_, messages := q.Body["messages"]
	_, prompt := q.Body["prompt"]
	if !messages && !prompt {
		if q.Legacy {
			q.Body["prompt"] = "hi"
		} else {
			q.Body["messages"] = []map[string]any{{"role": "user", "content": "hi"}}
		}
	}
	var out ChatOutcome
	c.script.call(t, q, &out)
	return out
}
