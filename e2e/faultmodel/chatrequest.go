package faultmodel

import (
	"encoding/json"
	"hash/fnv"
	"strconv"
	"strings"
)

// Ends of the OpenAI paths; whatever stands before them is the caller's
// base_url.
const (
	chatPath   = "/v1/chat/completions"
	legacyPath = "/v1/completions"
	modelsPath = "/v1/models"
)

// chatRequest is what a completion request asks. The body itself is not kept:
// thousands of open streams must not hold their prompts.
type chatRequest struct {
	legacy   bool // …/completions
	model    string
	stream   bool
	usage    bool // stream_options.include_usage
	logprobs bool
	n        int // choices
	limit    int // most tokens of a choice; 0: none
	format   responseFormat
	tool     string // name of the function that has to be called; empty: none
	prefill  bool   // the last message is the assistant's own
	prompt   int    // tokens of the prompt, estimated
	id       string // of the completion: the same request gets the same
}

// responseFormat is response_format.
type responseFormat struct {
	Type       string `json:"type"` // text, json_object or json_schema
	JSONSchema struct {
		Schema json.RawMessage `json:"schema"`
	} `json:"json_schema"`
}

func (f responseFormat) json() bool { return f.Type == "json_object" || f.Type == "json_schema" }

// chatBody is the part of a request that the model reads.
type chatBody struct {
	Model         string `json:"model"`
	Stream        bool   `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	Logprobs            any            `json:"logprobs"` // true; legacy: a number
	N                   int            `json:"n"`
	MaxTokens           int            `json:"max_tokens"`
	MaxCompletionTokens int            `json:"max_completion_tokens"`
	Format              responseFormat `json:"response_format"`
	Messages            []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	} `json:"messages"`
	Prompt json.RawMessage `json:"prompt"`
	Tools  []struct {
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	} `json:"tools"`
	ToolChoice json.RawMessage `json:"tool_choice"`
}

// readChat reads a request for a completion.
func readChat(path, version string, body []byte) (chatRequest, error) {
	var b chatBody
	if err := json.Unmarshal(body, &b); err != nil {
		return chatRequest{}, err
	}
	q := chatRequest{
		legacy: !strings.HasSuffix(path, chatPath), model: b.Model, stream: b.Stream,
		usage: b.StreamOptions.IncludeUsage, n: max(1, b.N), limit: max(b.MaxTokens, b.MaxCompletionTokens), format: b.Format,
		prompt: len(b.Prompt) / bytesPerToken,
	}
	switch v := b.Logprobs.(type) {
	case bool:
		q.logprobs = v
	case float64:
		q.logprobs = true
	}
	for _, m := range b.Messages {
		q.prompt += len(m.Content)/bytesPerToken + 4 // four tokens frame a message
		q.prefill = m.Role == "assistant"
	}
	if choice := string(b.ToolChoice); len(b.Tools) > 0 && (choice == `"required"` || strings.HasPrefix(choice, "{")) {
		q.tool = b.Tools[0].Function.Name
	}
	sum := fnv.New64a()
	_, _ = sum.Write(body) // a hash takes everything
	q.id = "chatcmpl-" + version + "-" + strconv.FormatUint(sum.Sum64(), 36)
	if q.legacy {
		q.id = "cmpl" + strings.TrimPrefix(q.id, "chatcmpl")
	}
	return q, nil
}

// bytesPerToken is the usual estimate for English text.
const bytesPerToken = 4
