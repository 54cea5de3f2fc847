package chat

import (
	"testing"

	"github.com/safestate/safestate/internal/scan"
)

func TestChunk(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want Problem
	}{
		"choices":                 {`{"id":"a","model":"m","choices":[{"index":0,"delta":{}}]}`, Problem{}},
		"none, with a filter":     {`{"choices":[],"prompt_filter_results":[]}`, Problem{}},
		"usage alone":             {`{"usage":{"prompt_tokens":1}}`, Problem{}},
		"usage, choices null":     {`{"choices":null,"usage":{"prompt_tokens":1}}`, Problem{}},
		"error null":              {`{"choices":[],"error":null}`, Problem{}},
		"error":                   {`{"choices":[],"error":{"code":1}}`, Problem{ErrorObject, "error"}},
		"error, a text":           {`{"error":"x"}`, Problem{ErrorObject, "error"}},
		"error in the object":     {`{"object":"error","code":400}`, Problem{ErrorObject, "object"}},
		"detail":                  {`{"detail":"Not Found"}`, Problem{ErrorObject, "detail"}},
		"message":                 {`{"message":"no"}`, Problem{ErrorObject, "message"}},
		"message beside choices":  {`{"message":"no","choices":[]}`, Problem{}},
		"nothing":                 {`{}`, Problem{Form, "choices"}},
		"usage null":              {`{"usage":null}`, Problem{Form, "choices"}},
		"choices of another kind": {`{"choices":{}}`, Problem{Form, "choices"}},
		"no object":               {`"x"`, Problem{Form, "body"}},
		"twice":                   {`{"choices":[],"choices":[]}`, Problem{Duplicate, "choices"}},
		"in another case":         {`{"choices":[],"Error":{"code":1},"error":null}`, Problem{Duplicate, "error"}},
		"twice, nobody looks":     {`{"choices":[],"x":1,"x":2}`, Problem{}},
	} {
		t.Run(name, func(t *testing.T) {
			var doc scan.Document
			if err := doc.Parse([]byte(c.text), scan.Limits{}); err != nil {
				t.Fatal(err)
			}
			var chunk Chunk
			if got := chunk.Read(doc.Root()); got != c.want {
				t.Fatalf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestDelta(t *testing.T) {
	type want struct {
		p                                    Problem
		index                                int
		says, writes, acts, refused, reasons bool
		finished, filtered                   bool
		text                                 string
	}
	for name, c := range map[string]struct {
		text   string
		legacy bool
		want
	}{
		"role":             {`{"index":2,"delta":{"role":"assistant","content":""},"finish_reason":null}`, false, want{index: 2}},
		"content":          {`{"delta":{"content":"a\n"}}`, false, want{says: true, writes: true, text: "a\n"}},
		"parts":            {`{"delta":{"content":[{"type":"text","text":"a"},{"text":"b"}]}}`, false, want{says: true, writes: true, text: "ab"}},
		"reasoning":        {`{"delta":{"reasoning":"a","content":null}}`, false, want{says: true, reasons: true}},
		"both reasonings":  {`{"delta":{"reasoning":"a","reasoning_content":"a"}}`, false, want{says: true, reasons: true}},
		"refusal":          {`{"delta":{"refusal":"a"}}`, false, want{says: true, refused: true}},
		"tool":             {`{"delta":{"tool_calls":[{}]}}`, false, want{says: true, acts: true}},
		"no tool":          {`{"delta":{"tool_calls":[]}}`, false, want{}},
		"function":         {`{"delta":{"function_call":{"arguments":""}}}`, false, want{says: true, acts: true}},
		"audio":            {`{"delta":{"audio":{"data":"x"}}}`, false, want{says: true, acts: true}},
		"finish":           {`{"delta":{},"finish_reason":"stop"}`, false, want{finished: true}},
		"finish, no delta": {`{"delta":null,"finish_reason":"stop"}`, false, want{finished: true}},
		"finish empty":     {`{"delta":{},"finish_reason":""}`, false, want{}},
		"filtered":         {`{"finish_reason":"content_filter"}`, false, want{finished: true, filtered: true}},
		"text":             {`{"index":0,"text":"a"}`, true, want{says: true, writes: true, text: "a"}},
		"no text":          {`{"index":0,"text":null,"finish_reason":"stop"}`, true, want{finished: true}},

		"no object":       {`7`, false, want{p: Problem{Form, "choices[3]"}}},
		"message":         {`{"message":{"content":"a"}}`, false, want{p: Problem{Form, "choices[3].delta"}}},
		"delta a text":    {`{"delta":"a"}`, false, want{p: Problem{Form, "choices[3].delta"}}},
		"delta to legacy": {`{"delta":{"content":"a"}}`, true, want{p: Problem{Form, "choices[3].text"}}},
		"text a list":     {`{"text":["a"]}`, true, want{p: Problem{Form, "choices[3].text"}}},
		"index":           {`{"index":0.5,"delta":{}}`, false, want{p: Problem{Form, "choices[3].index"}}},
		"index too large": {`{"index":1048576,"delta":{}}`, false, want{p: Problem{Form, "choices[3].index"}}},
		"finish object":   {`{"delta":{},"finish_reason":{"type":"abort"}}`, false, want{p: Problem{Form, "choices[3].finish_reason"}}},
		"logprobs":        {`{"delta":{},"logprobs":[]}`, false, want{p: Problem{Form, "choices[3].logprobs"}}},
		"error":           {`{"delta":{},"error":{"code":502}}`, false, want{p: Problem{ErrorObject, "choices[3].error"}}},
		"twice":           {`{"delta":{"content":"a","CONTENT":"b"}}`, false, want{p: Problem{Duplicate, "choices[3].delta.content"}}},
		"twice outside":   {`{"delta":{},"finish_reason":"stop","finish_reason":null}`, false, want{p: Problem{Duplicate, "choices[3].finish_reason"}}},
	} {
		t.Run(name, func(t *testing.T) {
			var doc scan.Document
			if err := doc.Parse([]byte(c.text), scan.Limits{}); err != nil {
				t.Fatal(err)
			}
			var d Delta
			got := want{p: d.Read(doc.Root(), 3, c.legacy)}
			if !got.p.Found() {
				got = want{index: d.Index, says: d.Says(), writes: d.Writes(), acts: d.Acts, refused: d.Refused(), reasons: d.Reasons,
					finished: d.Finished(), filtered: d.Filtered(), text: string(d.AppendContent(nil))}
			}
			if got != c.want {
				t.Fatalf("got %+v\nwant %+v", got, c.want)
			}
		})
	}
}
