package config

import (
	"fmt"
	"slices"
)

// completion: {"id", "object": "chat.completion", "created", "model",
// "choices": [{index, message, finish_reason}]}, as the OpenAI API's reference
// has it. Who asked for a stream, or for a legacy completion, gets it in that
// shape.
func (a *shape) completion(v any) {
	root, ok := v.(map[string]any)
	if !ok {
		a.bad("it is %s; want an object", jsonKind(v))
		return
	}
	for _, key := range []string{"id", "model"} {
		if text, ok := root[key].(string); !ok || text == "" {
			a.bad("%s is %s; want a text", key, jsonKind(root[key]))
		}
	}
	if o := root["object"]; o != "chat.completion" {
		a.bad("object is %s; want \"chat.completion\", which is made into what was asked for", jsonKind(o))
	}
	a.whole("created", root["created"], "the time in seconds since 1970")
	if usage, ok := root["usage"].(map[string]any); ok {
		for _, key := range []string{"prompt_tokens", "completion_tokens", "total_tokens"} {
			a.whole("usage."+key, usage[key], "a number of tokens")
		}
	} else if u := root["usage"]; u != nil && u != wild {
		a.bad("usage is %s; want an object", jsonKind(u))
	}
	choices, ok := root["choices"].([]any)
	if !ok || len(choices) == 0 {
		if root["choices"] != wild {
			a.bad("choices is %s; want a list of {index, message, finish_reason}", jsonKind(root["choices"]))
		}
		return
	}
	for i, choice := range choices {
		a.choice(i, choice)
	}
}

// finishReasons are those of an answer that is complete.
var finishReasons = []string{"stop", "length", "tool_calls"}

func (a *shape) choice(i int, v any) {
	place := fmt.Sprintf("choices[%d]", i)
	c, ok := v.(map[string]any)
	if !ok {
		if v != wild {
			a.bad("%s is %s; want {index, message, finish_reason}", place, jsonKind(v))
		}
		return
	}
	if n, ok := integer(c["index"]); c["index"] != wild && (!ok || n != int64(i)) {
		a.bad("%s.index is %s; want %d", place, jsonKind(c["index"]), i)
	}
	if reason, ok := c["finish_reason"].(string); !ok || reason != wild && !slices.Contains(finishReasons, reason) {
		a.bad("%s.finish_reason is %s; want %s", place, jsonKind(c["finish_reason"]), oneOf(finishReasons))
	}
	if c["logprobs"] != nil {
		a.bad("%s.logprobs is set; want none, since no model was asked", place)
	}
	message, ok := c["message"].(map[string]any)
	if !ok {
		if c["message"] != wild {
			a.bad("%s.message is %s; want {role, content}", place, jsonKind(c["message"]))
		}
		return
	}
	if message["role"] != "assistant" {
		a.bad("%s.message.role is %s; want \"assistant\"", place, jsonKind(message["role"]))
	}
	content, isText := message["content"].(string)
	calls, _ := message["tool_calls"].([]any)
	if content == "" && (len(calls) == 0 || message["content"] != nil && !isText) {
		a.bad("%s.message.content is %s; want a text", place, jsonKind(message["content"]))
	}
}

// whole wants a number without a fraction, from 0.
func (a *shape) whole(place string, v any, what string) {
	if n, ok := integer(v); v != wild && (!ok || n < 0) {
		a.bad("%s is %s; want %s", place, jsonKind(v), what)
	}
}
