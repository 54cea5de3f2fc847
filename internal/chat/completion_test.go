package chat

import "testing"

func TestRead(t *testing.T) {
	chat := func(message string) string { return `{"choices":[{"index":0,"message":` + message + `}]}` }
	for name, c := range map[string]struct {
		body string
		want Problem
	}{
		"content":             {chat(`{"content":"a"}`), Problem{}},
		"tool":                {chat(`{"content":null,"tool_calls":[{}]}`), Problem{}},
		"reasoning":           {chat(`{"reasoning_content":"","reasoning":"a"}`), Problem{}},
		"part":                {chat(`{"content":[{"type":"image"}]}`), Problem{}},
		"empty part":          {chat(`{"content":[{"type":"text","text":""}]}`), Problem{Empty, "choices[0].message.content"}},
		"empty":               {chat(`{"content":"","refusal":"","tool_calls":[],"function_call":{},"audio":null,"reasoning":""}`), Problem{Empty, "choices[0].message.content"}},
		"false":               {chat(`{"content":false}`), Problem{Form, "choices[0].message.content"}},
		"legacy parts":        {`{"choices":[{"text":["a"]}]}`, Problem{Form, "choices[0].text"}},
		"message null":        {`{"choices":[{"message":null,"text":"a"}]}`, Problem{}},
		"message and text":    {`{"choices":[{"message":{"content":"a"},"text":"b"}]}`, Problem{}},
		"nothing":             {`{"choices":[{}]}`, Problem{Form, "choices[0].message"}},
		"choices null":        {`{"choices":null}`, Problem{Empty, "choices"}},
		"number":              {`7`, Problem{Form, "body"}},
		"error":               {`{"error":true}`, Problem{ErrorObject, "error"}},
		"error that says no":  {`{"error":{},"choices":[{"text":"a"}]}`, Problem{}},
		"a gateway's message": {`{"message":"no route","status":404}`, Problem{ErrorObject, "message"}},
		"detail with choices": {`{"detail":"x","choices":[{"text":"a"}]}`, Problem{}},
		"twins":               {`{"choices":[],"CHOICES":[]}`, Problem{Duplicate, "choices"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got Completion
			if p := got.Read(parsed(t, c.body)); p != c.want || p.Found() != (c.want.Kind != OK) {
				t.Fatalf("got %+v, want %+v", p, c.want)
			}
			got.Forget()
			if len(got.Choices) != 0 || got.ID.Exists() {
				t.Fatal("something stays")
			}
		})
	}
}

// A reused Completion shows nothing of what it read before.
func TestReadAgain(t *testing.T) {
	var c Completion
	c.Read(parsed(t, `{"id":"a","usage":{},"choices":[{"text":"a"},{"text":"b"}]}`))
	if !c.Legacy || len(c.Choices) != 2 {
		t.Fatalf("%+v", c)
	}
	c.Read(parsed(t, `{"choices":[{"message":{"content":"c"}}]}`))
	if c.Legacy || len(c.Choices) != 1 || c.ID.Exists() || c.Usage.Exists() || string(c.Choices[0].AppendContent(nil)) != "c" {
		t.Fatalf("%+v", c)
	}
}

func TestTokens(t *testing.T) {
	for text, want := range map[string]struct {
		prompt, completion int64
		ok                 bool
	}{
		`{"prompt_tokens":9,"completion_tokens":2}`:   {9, 2, true},
		`{"prompt_tokens":0,"completion_tokens":0}`:   {0, 0, true},
		`{"prompt_tokens":9}`:                         {0, 0, false},
		`{"prompt_tokens":9,"completion_tokens":-1}`:  {0, 0, false},
		`{"prompt_tokens":"9","completion_tokens":2}`: {0, 0, false},
		`null`: {0, 0, false},
	} {
		if p, c, ok := Tokens(parsed(t, text)); p != want.prompt || c != want.completion || ok != want.ok {
			t.Errorf("%s: %d, %d, %v", text, p, c, ok)
		}
	}
}
