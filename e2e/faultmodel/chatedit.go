package faultmodel

import (
	"bytes"
	"strconv"
	"strings"
)

// The changes of a JSON text that bodies and events share. Each takes the text
// and may reuse it.

// first replaces the first occurrence of old.
func first(old, replacement string) func([]byte) []byte {
	return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(replacement), 1) }
}

func becomes(text string) func([]byte) []byte {
	return func([]byte) []byte { return []byte(text) }
}

func cutShort(b []byte) []byte { return b[:len(b)-9] }

func trailed(b []byte) []byte { return append(b, `{"score":0}`...) }

// contentTwice writes the inspected member twice: harmless first, then as it
// is. name is the first one's.
func contentTwice(chat, legacy string) func([]byte) []byte {
	return func(b []byte) []byte {
		if !bytes.Contains(b, []byte(`"content":`)) {
			return first(`"text":`, `"`+legacy+`":"harmless","text":`)(b)
		}
		return first(`"content":`, `"`+chat+`":"harmless","content":`)(b)
	}
}

func deepObject(b []byte) []byte {
	return first("{", `{"deep":`+strings.Repeat("[", deepLevels)+strings.Repeat("]", deepLevels)+",")(b)
}

func hugeObject(b []byte) []byte {
	return first("{", `{"padding":"`+strings.Repeat("x", hugeBytes-len(b))+`",`)(b)
}

// longCreated makes the number of seconds 10,000 digits longer.
func longCreated(b []byte) []byte {
	created := strconv.Itoa(createdAt)
	return first(created, created+digits(longDigits)[1:])(b)
}

// The errors that an OpenAI server sends. The first is what a broken one says,
// with a path that no caller may see.
const (
	crashBody   = `{"error":{"message":"CUDA error: out of memory at /opt/models/chat.py:31","type":"server_error","param":null,"code":null}}`
	rateBody    = `{"error":{"message":"Rate limit reached at /opt/models/chat.py:12","type":"requests","param":null,"code":"rate_limit_exceeded"}}`
	contextBody = `{"error":{"message":"This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.",` +
		`"type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`
	policyBody = `{"error":{"message":"Your request was rejected as a result of our safety system.",` +
		`"type":"invalid_request_error","param":null,"code":"content_policy_violation"}}`
	prefillBody = `{"error":{"message":"Prefilling assistant messages is not supported for this model.",` +
		`"type":"invalid_request_error","param":"messages","code":"prefill_not_supported"}}`
)
