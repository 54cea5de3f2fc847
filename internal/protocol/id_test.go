package protocol

import (
	"encoding/json"
	"testing"

	"github.com/safestate/safestate/internal/policy"
)

func TestRewriteID(t *testing.T) {
	for name, c := range map[string]struct{ body, id, want string }{
		"replace":             {`{"id":"old","x":1}`, `"new"`, `{"id":"new","x":1}`},
		"replace null":        {`{"x":1,"id":null}`, `"new"`, `{"x":1,"id":"new"}`},
		"replace, blanks":     {"{ \"id\" :\n \"old\" }\n", `"new"`, "{ \"id\" :\n \"new\" }\n"},
		"escaped id":          {`{"id":"old"}`, `"a\"b\\é"`, `{"id":"a\"b\\é"}`},
		"escaped key":         {`{"\u0069d":"old"}`, `"new"`, `{"\u0069d":"new"}`},
		"insert":              {`{"x":1}`, `"new"`, `{"id":"new","x":1}`},
		"insert into nothing": {` {} `, `"new"`, ` {"id":"new"} `},
		"an inner id stays":   {`{"x":{"id":"inner"}}`, `"new"`, `{"id":"new","x":{"id":"inner"}}`},
		"take out the first":  {`{"id":"old","x":1}`, ``, `{"x":1}`},
		"take out the last":   {`{"x":1 , "id" : "o,l:\"d" }`, ``, `{"x":1  }`},
		"take out the middle": {`{"x":1,"\u0069\u0064":"old","y":2}`, ``, `{"x":1,"y":2}`},
		"take out the only":   {`{"id":"old"}`, ``, `{}`},
		"nothing to take out": {`{"x":1}`, ``, `{"x":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := RewriteID([]byte("kept"), []byte(c.body), []byte(c.id))
			if err != nil || string(got) != "kept"+c.want {
				t.Fatalf("got %q, %v, want %q", got, err, c.want)
			}
			if !json.Valid(got[len("kept"):]) {
				t.Fatal("no JSON")
			}
		})
	}
	for name, body := range map[string]string{
		"a list": `[]`, "two ids": `{"id":"a","id":"b"}`, "a twin": `{"id":"a","ID":"b"}`, "no JSON": `{"id":`, "nothing": ``,
	} {
		if got, err := RewriteID(nil, []byte(body), []byte(`"a"`)); err == nil {
			t.Errorf("%s: became %s", name, got)
		}
	}
}

func TestEchoesID(t *testing.T) {
	if !EchoesID(policy.OpenInferenceV2) || EchoesID(policy.MLflow) {
		t.Fatal("only Open Inference V2 has ids")
	}
}
