package cache

import (
	"encoding/json"
	"testing"

	"github.com/safestate/safestate/internal/scan"
)

func parse(t *testing.T, text string) scan.Node {
	t.Helper()
	var d scan.Document
	if err := d.Parse([]byte(text), scan.Limits{}); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return d.Root()
}

func TestKeysDiffer(t *testing.T) {
	base := Parts{Route: "default/fraud/score", Path: "/v2/models/fraud/infer", Model: "default/fraud", Version: "v1", Tenant: []string{"x-tenant", "a"}}
	with := func(f func(*Parts)) Parts {
		p := base
		f(&p)
		return p
	}
	all := map[string]Parts{
		"base":                   base,
		"route":                  with(func(p *Parts) { p.Route = "default/fraud/other" }),
		"path":                   with(func(p *Parts) { p.Path += "?x=1" }),
		"model":                  with(func(p *Parts) { p.Model = "default/fraud2" }),
		"version":                with(func(p *Parts) { p.Version = "v2" }),
		"tenant":                 with(func(p *Parts) { p.Tenant = []string{"x-tenant", "b"} }),
		"tenant header":          with(func(p *Parts) { p.Tenant = []string{"x-user", "a"} }),
		"no tenant":              with(func(p *Parts) { p.Tenant = nil }),
		"two tenants":            with(func(p *Parts) { p.Tenant = []string{"x-tenant", "a", "x-user", "b"} }),
		"two tenants, other cut": with(func(p *Parts) { p.Tenant = []string{"x-tenant", "a\x06x-user", "b", ""} }),
		"one tenant with both":   with(func(p *Parts) { p.Tenant = []string{"x-tenant", "a" + "\x06x-user\x01b"} }),
		"texts moved":            with(func(p *Parts) { p.Model, p.Version = "default/fraudv", "1" }),
		"texts moved over":       with(func(p *Parts) { p.Route, p.Path = p.Route+p.Path, "" }),
		"digest":                 with(func(p *Parts) { p.Digest[0] = 1 }),
	}
	seen := map[string]string{}
	for name, p := range all {
		k := NewKey(p)
		if other, twice := seen[k.full]; twice {
			t.Errorf("%s and %s share a key", name, other)
		}
		seen[k.full] = name
	}
	if NewKey(base) != NewKey(with(func(*Parts) {})) {
		t.Error("equal parts give different keys")
	}
}

func TestDigest(t *testing.T) {
	const base = `{"id":"1","inputs":[{"name":"x","data":[1.0,2]}],"parameters":{"id":"inner"}}`
	id := []string{"id"}
	stream := []string{"stream", "stream_options"}
	cases := []struct {
		name, other string
		tail        string
		without     []string
		same        bool
	}{
		{"the same", base, "", nil, true},
		{"blanks and order", `{ "parameters" : {"id":"inner"}, "inputs":[ {"data":[1.0, 2],"name":"x"} ] , "id":"1" }`, "", nil, true},
		{"escapes", `{"id":"\u0031","inputs":[{"name":"\u0078","data":[1.0,2]}],"parameters":{"id":"inner"}}`, "", nil, true},
		{"another id counts", `{"id":"2","inputs":[{"name":"x","data":[1.0,2]}],"parameters":{"id":"inner"}}`, "", nil, false},
		{"another id is ignored", `{"inputs":[{"name":"x","data":[1.0,2]}],"parameters":{"id":"inner"},"id":"2"}`, "", id, true},
		{"no id is ignored", `{"inputs":[{"name":"x","data":[1.0,2]}],"parameters":{"id":"inner"}}`, "", id, true},
		{"an inner id is not", `{"inputs":[{"name":"x","data":[1.0,2]}],"parameters":{"id":"other"}}`, "", id, false},
		{"another input", `{"id":"1","inputs":[{"name":"x","data":[1.0,3]}],"parameters":{"id":"inner"}}`, "", id, false},
		{"a number written otherwise", `{"id":"1","inputs":[{"name":"x","data":[1,2]}],"parameters":{"id":"inner"}}`, "", id, false},
		{"members of a chat", base[:len(base)-1] + `,"stream":true,"stream_options":{"include_usage":true}}`, "", stream, true},
		{"and one that counts", base[:len(base)-1] + `,"stream":true,"temperature":0}`, "", stream, false},
		{"binary tensors", base, "\x00\x00", id, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a, ok := Digest(parse(t, base), nil, c.without...)
			b, ok2 := Digest(parse(t, c.other), []byte(c.tail), c.without...)
			if !ok || !ok2 {
				t.Fatal("no digest")
			}
			if (a == b) != c.same {
				t.Errorf("same is %v", a == b)
			}
		})
	}
	if _, ok := Digest(parse(t, `{"id":1,"id":2}`), nil, "id"); ok {
		t.Error("two ids have a digest without them")
	}
	// What the members are may not move between name and value.
	a, _ := Digest(parse(t, `{"a":"b","c":1}`), nil, "id")
	b, _ := Digest(parse(t, `{"a":"b\",\"c\":1"}`), nil, "id")
	if a == b {
		t.Error("two objects share a digest")
	}
	// An end of the JSON may not move into the binary part.
	x, _ := Digest(parse(t, `1`), []byte("1"))
	y, _ := Digest(parse(t, `11`), nil)
	if x == y {
		t.Error("JSON and tensors run into each other")
	}
}

func TestEchoID(t *testing.T) {
	cases := []struct{ name, answer, id, want string }{
		{"replaced", `{"model_name":"m","id":"old","outputs":[]}`, `"new"`, `{"model_name":"m","id":"new","outputs":[]}`},
		{"first", `{"id":"old","outputs":[]}`, `"longer than old"`, `{"id":"longer than old","outputs":[]}`},
		{"kept blanks", `{ "id" : "old" , "outputs":[] }`, `"n"`, `{ "id" : "n" , "outputs":[] }`},
		{"an inner id stays", `{"outputs":[{"id":"inner"}],"id":"old"}`, `"new"`, `{"outputs":[{"id":"inner"}],"id":"new"}`},
		{"another's id is taken out", `{"id":"old","outputs":[]}`, ``, `{"id":"","outputs":[]}`},
		{"there was none", `{"outputs":[]}`, `"new"`, `{"id":"new","outputs":[]}`},
		{"into nothing", `{}`, `"new"`, `{"id":"new"}`},
		{"nor is there now", `{"outputs":[]}`, ``, `{"outputs":[]}`},
		{"not an object", `[1]`, `"new"`, `[1]`},
		{"surrounding blanks", ` {"id":"old"} `, `"new"`, `{"id":"new"}`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := string(EchoID([]byte("|"), parse(t, c.answer), []byte(c.id)))
			if got != "|"+c.want {
				t.Errorf("got %s, want %s", got[1:], c.want)
			}
			if !json.Valid([]byte(got[1:])) {
				t.Error("not JSON")
			}
		})
	}
}
