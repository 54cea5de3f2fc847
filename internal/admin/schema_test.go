package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/release"
)

// schemaOf compiles a schema of the served document, strictly: nothing is in an
// answer that the document does not have.
func schemaOf(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(openAPIDocument))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range doc.(map[string]any)["components"].(map[string]any)["schemas"].(map[string]any) {
		if s := s.(map[string]any); s["properties"] != nil {
			s["additionalProperties"] = false
		}
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("openapi.json#/components/schemas/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func valid(t *testing.T, schema *jsonschema.Schema, text []byte) error {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(value)
}

// fullControl answers with every field set, or with none.
type fullControl struct {
	fakeControl
	full bool
}

func (f *fullControl) fill(into any) {
	if f.full {
		fill(reflect.ValueOf(into).Elem(), 0)
	}
}

func (f *fullControl) Status(context.Context) (s Status, err error) { f.fill(&s); return }
func (f *fullControl) Model(context.Context, string) (m Model, err error) {
	m.Versions = []Version{{Name: "x"}} // of others nothing is to be told
	f.fill(&m)
	return
}
func (f *fullControl) History(context.Context, HistoryQuery) (h History, err error) {
	f.fill(&h)
	return
}
func (f *fullControl) Command(context.Context, string, release.Command) (m Model, err error) {
	f.fill(&m)
	return
}

func (f *fullControl) Policy(context.Context, string, PolicyCommand) (p Policy, err error) {
	f.fill(&p)
	return
}

func (f *fullControl) Keys(context.Context) (k Keys, err error) { f.fill(&k); return }
func (f *fullControl) RotateKeys(context.Context, KeyRotation) (k Keys, err error) {
	f.fill(&k)
	return
}

// fill sets all of a value; of a closed set of words it takes one.
func fill(v reflect.Value, depth int) {
	words := map[reflect.Type]string{
		reflect.TypeFor[release.Phase](): "steady", reflect.TypeFor[release.Verdict](): "success", reflect.TypeFor[release.Kind](): "step",
		reflect.TypeFor[release.Rail](): "hold", reflect.TypeFor[Need](): "bound", reflect.TypeFor[ProxyState](): "behind", reflect.TypeFor[KeyState](): "next", reflect.TypeFor[Level](): "notice",
		reflect.TypeFor[kill.Mode](): "degrade", reflect.TypeFor[KillStep](): "proven",
	}
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(now))
		return
	case words[v.Type()] != "":
		v.SetString(words[v.Type()])
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint64:
		v.SetUint(1)
	case reflect.Float64:
		v.SetFloat(0.5)
	case reflect.String:
		v.SetString("x")
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth)
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value, depth)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("x"), value)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), depth+1)
		}
	}
}

// Whatever the handlers answer is what the document says, with every field set
// and with as few as there can be.
func TestAnswersAreAsTheDocumentSays(t *testing.T) {
	bodies := map[string]string{
		"/v1/models/{namespace}/{name}/rollout": `{"action":"pause"}`,
		"/v1/kill":                              `{"target":"all","reason":"x"}`,
		"/v1/revive":                            `{"target":"all","generation":1,"reason":"x"}`,
		"/v1/approve":                           `{"target":"all","generation":1,"ask":2,"reason":"x"}`,
	}
	queries := map[string]string{"/v1/kills/proof": "?target=all"}
	path := strings.NewReplacer("{namespace}", "default", "{name}", "fraud", "{version}", "x", "{node}", "edge-3")
	for _, full := range []bool{true, false} {
		for _, r := range routes {
			if r.answer == nil || r.hook { // a hook answers what a route does
				continue
			}
			body := bodies[r.path]
			if body == "" {
				body = `{"reason":"x"}`
			}
			w := send(New(Options{Control: &fullControl{full: full}, Trail: &fakeTrail{}, Keys: &fullControl{full: full}}), request(r.method, path.Replace(r.path)+queries[r.path], body))
			if w.Code != 200 {
				t.Errorf("%s: %d %s", r.path, w.Code, w.Body)
			}
			if !full {
				words := strings.NewReplacer(`"phase": ""`, `"phase": "steady"`)
				w.Body = bytes.NewBufferString(words.Replace(w.Body.String()))
			}
			if err := valid(t, schemaOf(t, reflect.TypeOf(r.answer).Name()), w.Body.Bytes()); err != nil {
				t.Errorf("%s %s: %v\n%s", r.method, r.path, err, w.Body)
			}
		}
	}
	w := send(serve(&fakeControl{err: Conflict(3, "no").Hinted("look")}), request("POST", rollbackPath, `{"reason":"x"}`))
	if err := valid(t, schemaOf(t, "Problem"), w.Body.Bytes()); err != nil {
		t.Error(err)
	}
}

// What the document allows as a request is taken, and what it does not is not.
func FuzzRequestsAgreeWithTheDocument(f *testing.F) {
	for _, seed := range []string{
		`{"action":"start","version":"v2","reason":"new","steps":[{"weight":5,"duration":"2m","minRequests":10,"gate":true}]}`,
		`{"action":"pause"}`, `{"action":"promote","full":true}`, `{"action":"abort","reason":"bad","expectGeneration":7}`,
		`{"to":"v1","reason":"bad","force":true}`, `{"to":3,"reason":"bad"}`, `{"reason":"gone"}`, `{"reason":"x","reason":"y"}`,
		`{"REASON":"x"}`, `{"reason":null}`, `[]`, `null`, `{"reason":"\u001b[2J"}`, `{"action":"start","steps":[{"weight":1e2}]}`,
		`{"target":"route/a/b/c","mode":"","reason":"x"}`, `{"target":"all","generation":1,"reason":"x","ramp":"1h2m"}`, `{"action":"pause","force":null}`,
		`{"expectGeneration":1e400}`, `{"a":{"b":[{}]}}`, "{\"reason\":\"\xff\"}", `{"reason":"x"}{}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, c := range []struct{ path, schema string }{
			{"/v1/models/default/fraud/rollout", "RolloutRequest"},
			{"/v1/models/default/fraud/rollback", "RollbackRequest"},
			{"/v1/policies/default/strict/rollback", "PolicyRollbackRequest"},
			{"/v1/proxies/edge-3/deregister", "ReasonRequest"},
			{"/v1/kill", "KillRequest"},
			{"/v1/revive", "ReviveRequest"},
			{"/v1/approve", "ApproveRequest"},
		} {
			control := newWilling()
			w := send(control.api(), request("POST", c.path, body))
			if done := control.changes.Load() > 0; done != (w.Code == http200) {
				t.Fatalf("%s %q: status %d, %d changes", c.path, body, w.Code, control.changes.Load())
			}
			if w.Code == http200 {
				if err := valid(t, fuzzSchema(t, c.schema), []byte(body)); err != nil {
					t.Fatalf("%s took what the document does not allow: %q: %v", c.path, body, err)
				}
				continue
			}
			var p Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Message == "" || w.Code < 400 || w.Code > 499 {
				t.Fatalf("%s %q: %d %s", c.path, body, w.Code, w.Body)
			}
			for _, r := range w.Body.String() {
				if r != '\n' && !printable(string(r)) {
					t.Fatalf("%s %q: %U in the answer", c.path, body, r)
				}
			}
		}
	})
}

const http200 = 200

var fuzzSchemas = map[string]*jsonschema.Schema{}

// fuzzSchema compiles each schema once; the fuzzer's inputs run one by one in a
// process.
func fuzzSchema(t *testing.T, name string) *jsonschema.Schema {
	if fuzzSchemas[name] == nil {
		fuzzSchemas[name] = schemaOf(t, name)
	}
	return fuzzSchemas[name]
}
