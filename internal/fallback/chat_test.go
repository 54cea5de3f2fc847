package fallback

import (
	"encoding/json"
	"testing"
)

func TestChatBody(t *testing.T) {
	for name, c := range map[string]struct {
		body, model string
		whole       bool
		want        string // empty: refused
	}{
		"replaced":           {`{"model":"big","messages":[]}`, `"small"`, false, `{"model":"small","messages":[]}`},
		"all else stays":     {" {\n \"messages\" : [ {\"model\":\"x\"} ] , \"model\" : \"a\\u0062\" , \"seed\":1e2 }\n", `"s"`, false, " {\n \"messages\" : [ {\"model\":\"x\"} ] , \"model\" : \"s\" , \"seed\":1e2 }\n"},
		"another kind":       {`{"model":{"a":[1]},"n":1}`, `"s"`, false, `{"model":"s","n":1}`},
		"added":              {`{"messages":[]}`, `"s"`, false, `{"model":"s","messages":[]}`},
		"added to nothing":   {`{ }`, `"s"`, false, `{"model":"s" }`},
		"no name of our own": {`{"model":"big","stream":true}`, ``, false, `{"model":"big","stream":true}`},
		"the stream stays":   {`{"stream":true,"stream_options":{"include_usage":true}}`, `"s"`, false, `{"model":"s","stream":true,"stream_options":{"include_usage":true}}`},
		"the stream goes":    {`{"stream":true,"model":"m","stream_options":{"include_usage":true}}`, `"s"`, true, `{"stream":false,"model":"s","stream_options":null}`},
		"an escaped key":     {`{"mod\u0065l":"big"}`, `"s"`, false, `{"mod\u0065l":"s"}`},
		"two models":         {`{"model":"a","model":"b"}`, `"s"`, false, ``},
		"another case":       {`{"Model":"a"}`, `"s"`, false, ``},
		"both cases":         {`{"model":"a","MODEL":"b"}`, `"s"`, false, ``},
		"two streams":        {`{"stream":false,"stream":true}`, `"s"`, false, ``},
		"folded":             {"{\"\u017ftream\":true}", `"s"`, true, ``},
		"no object":          {`["model"]`, `"s"`, false, ``},
		"no JSON":            {`{"model":`, `"s"`, false, ``},
		"nothing":            {``, `"s"`, false, ``},
	} {
		t.Run(name, func(t *testing.T) {
			var model []byte
			if c.model != "" {
				model = []byte(c.model)
			}
			got, err := chatBody([]byte(c.body), model, c.whole)
			if c.want == "" {
				if err == nil {
					t.Errorf("got %s, want an error", got)
				}
				return
			}
			if err != nil || string(got) != c.want || !json.Valid(got) {
				t.Errorf("got %s, %v\nwant %s", got, err, c.want)
			}
		})
	}
}

func FuzzChatBody(f *testing.F) {
	f.Add([]byte(`{"model":"big","stream":true,"messages":[{"role":"user","content":"x"}]}`))
	f.Add([]byte(` { "mod\u0065l" : [ 1 , {} ] , "stream_options" : {} } `))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := chatBody(body, []byte(`"small"`), true)
		if err != nil || !json.Valid(body) {
			return
		}
		var before, after map[string]any
		if json.Unmarshal(body, &before) != nil {
			t.Fatalf("%q is no object", body)
		}
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatalf("%q became %q: %v", body, got, err)
		}
		if after["model"] != "small" || after["stream"] != nil && after["stream"] != false || after["stream_options"] != nil {
			t.Fatalf("%q became %q", body, got)
		}
		before["model"] = "small"
		if len(before) != len(after) {
			t.Fatalf("%q became %q", body, got)
		}
	})
}
