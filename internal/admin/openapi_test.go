package admin

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/release"
)

var update = flag.Bool("update", false, "write openapi.json anew")

// The document is made from the routes and the types that they take and give,
// its texts from the comments in the code. A text that was reworded fails
// nothing; a route, a field or a type that is not in the document does.
func TestOpenAPIDocument(t *testing.T) {
	made := newDocument(t).make()
	text, err := json.MarshalIndent(made, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	if *update {
		if err := os.WriteFile("openapi.json", text, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, want := withoutTexts(t, openAPIDocument), withoutTexts(t, text); !bytes.Equal(got, want) {
		t.Error("openapi.json is not what the routes and their types are: go test ./internal/admin -run OpenAPI -update writes it anew")
	}
}

// withoutTexts is a document without its descriptions and summaries.
func withoutTexts(t *testing.T, text []byte) []byte {
	t.Helper()
	var doc any
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	var strip func(any, bool)
	strip = func(v any, names bool) { // names: the keys are names of ours
		switch v := v.(type) {
		case map[string]any:
			for key, value := range v {
				if text, ok := value.(string); ok && !names && (key == "description" || key == "summary") && text != "" {
					delete(v, key)
					continue
				}
				strip(value, key == "properties" || key == "schemas")
			}
		case []any:
			for _, value := range v {
				strip(value, false)
			}
		}
	}
	strip(doc, false)
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

type object = map[string]any

// document makes the OpenAPI document.
type document struct {
	t       *testing.T
	schemas object
	types   map[string]reflect.Type
	sources map[string]*source // by import path
}

// source is what a package's code says of its types.
type source struct {
	docs   map[string]string   // of types, of fields as Type.Field and of functions
	values map[string][]string // of types that have constants
}

func newDocument(t *testing.T) *document {
	return &document{t: t, schemas: object{}, types: map[string]reflect.Type{}, sources: map[string]*source{}}
}

// summaries say what each route is for.
var summaries = map[string]string{
	"/v1/openapi.json":              "This document",
	"/v1/status":                    "How everything is, and what is not well",
	"/v1/models/{namespace}/{name}": "How one model stands",
	"/v1/models/{namespace}/{name}/versions/{version}":                           "What is known of one version, for a program that moves its traffic",
	"/v1/models/{namespace}/{name}/versions/{version}/flagger/rollback":          "Flagger's webhook of type rollback: 200 where the version is bad, 409 where that is not known",
	"/v1/models/{namespace}/{name}/versions/{version}/flagger/confirm-promotion": "Flagger's webhook of type confirm-promotion: 200 where the version is good, 409 where that is not known",
	"/v1/history":                              "What happened, newest first",
	"/v1/models/{namespace}/{name}/rollout":    "Start a rollout, or act on the one that runs",
	"/v1/models/{namespace}/{name}/rollback":   "Take a model back to a version that was good",
	"/v1/policies/{namespace}/{name}/rollback": "Take a policy back to an earlier number and hold it there",
	"/v1/policies/{namespace}/{name}/unpin":    "Let a policy follow its file again",
	"/v1/proxies/{node}/deregister":            "Take a proxy that is gone for good out of what proofs expect",
	"/v1/keys":                                 "The keys that sign policies",
	"/v1/keys/rotate":                          "Have another key sign policies, once every host has it",
	"/v1/kills":                                "Everything that was ever killed",
	"/v1/kills/proof":                          "What is proven of a kill, or of a revive, at each proxy",
	"/v1/kill":                                 "Stop a model, a version, a route or everything",
	"/v1/revive":                               "Give what was killed its traffic back",
	"/v1/audit":                                "Entries of the audit trail, newest first",
	"/v1/audit/export":                         "The whole audit trail, for safestate audit verify",
	"/v1/approve":                              "Approve another person's revive",
	"/v1/store/backup":                         "All that the store holds, as a file for safestate store restore",
}

// needed writes the roles for an action.
func needed(a access.Action) string {
	roles := access.RolesFor(a)
	if len(roles) == len(access.Roles()) {
		return "any role"
	}
	words := make([]string, len(roles))
	for i, role := range roles {
		words[i] = string(role)
	}
	return "the role " + strings.Join(words, " or ")
}

func (d *document) make() object {
	paths := object{}
	for _, r := range routes {
		operation := object{
			"operationId": operationID(r), "summary": summaries[r.path],
			"description": "Needs " + needed(r.action) + ".",
			"responses":   d.responses(r),
		}
		if summaries[r.path] == "" {
			d.t.Errorf("no summary of %s", r.path)
		}
		if params := d.params(r); len(params) > 0 {
			operation["parameters"] = params
		}
		if r.body != nil {
			operation["requestBody"] = object{"required": true, "content": object{"application/json": object{
				"schema": d.request(reflect.TypeOf(r.body)), "examples": object{"one": object{"value": json.RawMessage(wellFormed[r.path].body)}},
			}}}
		}
		if r.hook {
			operation["requestBody"] = object{"required": true, "content": object{"application/json": object{
				"schema": object{"type": "object", "description": "Flagger's own, of which nothing is read."},
			}}}
		}
		item, ok := paths[r.path].(object)
		if !ok {
			item = object{}
			paths[r.path] = item
		}
		item[strings.ToLower(r.method)] = operation
	}
	d.schema(reflect.TypeFor[Problem]())
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title": "safestate", "version": "v1",
			"description": "Releases and kills of models: how they stand, what happened, and what a person can do. Changes are POSTs of application/json of at most 64 KiB. Who may do what the access file says; without one this machine may everything, and others may read. The same by gRPC is safestate.admin.v1.Admin.",
		},
		"servers":  []any{object{"url": "http://127.0.0.1:8686"}},
		"paths":    paths,
		"security": []any{object{}, object{"token": []any{}}},
		"components": object{
			"schemas": d.schemas, "headers": headers,
			"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer", "description": "A token of the access file, or an OIDC token. A client certificate takes its place."}},
		},
	}
}

func operationID(r route) string {
	words := strings.FieldsFunc(strings.TrimPrefix(r.path, "/v1/"), func(c rune) bool { return c == '/' || c == '.' })
	words = slices.DeleteFunc(words, func(w string) bool { return strings.HasPrefix(w, "{") })
	return strings.ToLower(r.method) + "-" + strings.Join(words, "-")
}

// request is the schema of a request's body: nothing else may be in it.
func (d *document) request(t reflect.Type) object {
	ref := d.schema(t)
	d.schemas[t.Name()].(object)["additionalProperties"] = false
	return ref
}

func (d *document) schema(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[release.Duration]():
		return object{"type": "string", "pattern": durationPattern, "examples": []any{"1m30s"}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.schema(t.Elem())
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Uint64:
		return object{"type": "integer", "minimum": 0, "maximum": uint64(math.MaxUint64)}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.String:
		s := object{"type": "string"}
		if values := d.source(t).values[t.Name()]; len(values) > 0 {
			s["enum"] = values
		}
		return s
	case reflect.Slice:
		return object{"type": "array", "items": d.schema(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": d.schema(t.Elem())}
	case reflect.Struct:
		return d.structure(t)
	}
	d.t.Fatalf("no schema of %s", t)
	return nil
}

func (d *document) structure(t reflect.Type) object {
	ref := object{"$ref": "#/components/schemas/" + t.Name()}
	if known, ok := d.types[t.Name()]; ok {
		if known != t {
			d.t.Fatalf("%s and %s have one name", known, t)
		}
		return ref
	}
	d.types[t.Name()] = t
	properties, required := object{}, []any{}
	s := object{"type": "object", "properties": properties}
	if text := d.source(t).docs[t.Name()]; text != "" {
		s["description"] = text
	}
	d.schemas[t.Name()] = s
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		if name == "" {
			d.t.Fatalf("%s.%s has no name in JSON", t, f.Name)
		}
		property := d.schema(f.Type)
		if text := d.source(t).docs[t.Name()+"."+f.Name]; text != "" {
			property["description"] = text
		}
		for key, value := range limits[t.Name()+"."+name] {
			property[key] = value
		}
		properties[name] = property
		if options == "" {
			required = append(required, name)
		}
	}
	if len(required) > 0 {
		s["required"] = required
	}
	return ref
}

// source reads a type's package.
func (d *document) source(t reflect.Type) *source {
	path := t.PkgPath()
	if s := d.sources[path]; s != nil {
		return s
	}
	s := &source{docs: map[string]string{}, values: map[string][]string{}}
	d.sources[path] = s
	rel, ours := strings.CutPrefix(path, "github.com/safestate/safestate/")
	if !ours {
		return s
	}
	files, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(rel), "*.go"))
	if err != nil || len(files) == 0 {
		d.t.Fatalf("no files of %s: %v", path, err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			d.t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			if g, ok := decl.(*ast.GenDecl); ok {
				s.read(g)
			}
		}
	}
	return s
}

func (s *source) read(g *ast.GenDecl) {
	for _, spec := range g.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			s.docs[spec.Name.Name] = sentence(g.Doc.Text(), spec.Doc.Text())
			if body, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range body.Fields.List {
					for _, name := range f.Names {
						s.docs[spec.Name.Name+"."+name.Name] = sentence(f.Doc.Text(), f.Comment.Text())
					}
				}
			}
		case *ast.ValueSpec:
			kind, ok := spec.Type.(*ast.Ident)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, value := range spec.Values {
				if lit, ok := value.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					text, _ := strconv.Unquote(lit.Value)
					s.values[kind.Name] = append(s.values[kind.Name], text)
				}
			}
		}
	}
}

// sentence is the first text that there is, on one line.
func sentence(texts ...string) string {
	for _, text := range texts {
		if text = strings.Join(strings.Fields(text), " "); text != "" {
			return text
		}
	}
	return ""
}
