// Package config reads a configuration: HTTPRoute, GRPCRoute, ReferenceGrant, Model
// and FailSafePolicy objects from the YAML and JSON files of a folder. It is
// strict, and reports every mistake in one go, at its file, line and field.
// What needs an expression compiled is checked by package compile, which
// reports in the same way.
package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

// File is the name and the text of one file.
type File struct {
	Name string
	Data []byte
}

// Load reads every *.yaml, *.yml and *.json file of a folder, not those of
// folders inside it, and validates them together. The world is there even when
// there are problems, so that package compile can report its own too; it must
// not be applied when Problems.Failed.
func Load(dir string) (*World, Problems) {
	names, err := list(dir)
	if err != nil {
		return &World{}, Problems{{File: dir, Message: plain(err).Error()}}
	}
	if len(names) == 0 {
		return &World{}, Problems{{File: dir, Message: "has no *.yaml, *.yml or *.json file; a configuration needs at least one"}}
	}
	var l loader
	for _, name := range names {
		data, err := read(name)
		if err != nil {
			l.refuse(name, 0, err)
			continue
		}
		l.file(File{Name: name, Data: data})
	}
	return l.finish()
}

// Parse is Load for texts that are in memory.
func Parse(files ...File) (*World, Problems) {
	var l loader
	for _, f := range files {
		l.file(f)
	}
	return l.finish()
}

// ParseMesh is Parse for a configuration whose routes a mesh serves, and whose
// ReferenceGrants it has checked.
func ParseMesh(rules []Rule, grants []*gatewayv1.ReferenceGrant, files ...File) (*World, Problems) {
	l := loader{world: World{mesh: true}}
	l.world.Mesh, l.world.twins = apart(rules)
	for _, g := range grants {
		l.world.Grants = append(l.world.Grants, &Object[gatewayv1.ReferenceGrant]{Namespace: cmp.Or(g.Namespace, DefaultNamespace), Name: g.Name, Value: g})
	}
	for _, f := range files {
		l.file(f)
	}
	return l.finish()
}

// loader collects objects and problems.
type loader struct {
	world    World
	problems Problems
}

func (l *loader) refuse(file string, line int, err error) {
	l.world.partial = true
	l.problems = append(l.problems, Problem{File: file, Line: line, Message: err.Error()})
}

func (l *loader) finish() (*World, Problems) {
	w := &l.world
	sortObjects(w.Routes)
	sortObjects(w.GRPCRoutes)
	sortObjects(w.Grants)
	sortObjects(w.Models)
	sortObjects(w.Policies)
	return w, append(l.problems, validate(w)...).Sorted()
}

func sortObjects[T any](objects []*Object[T]) {
	slices.SortStableFunc(objects, func(a, b *Object[T]) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}

// file reads the documents of one file. After a mistake of syntax nothing more
// can be read from it.
func (l *loader) file(f File) {
	if err := check(f.Data); err != nil {
		l.refuse(f.Name, 0, err)
		return
	}
	dec := yaml.NewDecoder(bytes.NewReader(f.Data))
	found := false
	for {
		root, err := next(dec)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			line, text := syntax(err)
			l.refuse(f.Name, line, errors.New(text))
			return
		}
		if isNull(root) {
			continue
		}
		found = true
		l.document(f.Name, root)
	}
	if !found {
		l.refuse(f.Name, 0, errors.New("is empty; write an object into it or remove it"))
	}
}

// next parses one document. The parser is another project's and reads what
// strangers write: should it panic, that is a mistake in the file and not the
// end of the process.
func next(dec *yaml.Decoder) (root *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: the parser gave up: %v", r)
		}
	}()
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		return nil, err
	}
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		return doc.Content[0], nil
	}
	return &doc, nil
}

var syntaxLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// grammar are the mistakes for which the parser counts lines from 0; for all
// others it counts from 1.
var grammar = regexp.MustCompile(`^did not find expected (<document start>|node content|'-' indicator|key|',' or '[]}]')`)

// syntax splits the parser's message into line and text; line 0: unknown.
func syntax(err error) (line int, text string) {
	text = err.Error()
	if m := syntaxLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1]) // absent: 0
		text = text[len(m[0]):]
	}
	if grammar.MatchString(text) {
		line++
	}
	return line, "is not YAML: " + text
}

func isNull(n *yaml.Node) bool {
	return n.Kind == 0 || n.Kind == yaml.ScalarNode && n.Tag == "!!null"
}

const (
	gatewayAPIVersion = gatewayv1.GroupName + "/v1"
	// grantAPIVersion is what most have of a ReferenceGrant: its v1 came late.
	grantAPIVersion = gatewayv1.GroupName + "/v1beta1"
)

// document reads one object.
func (l *loader) document(file string, root *yaml.Node) {
	refuse := func(line int, field, format string, args ...any) {
		l.problems = append(l.problems, Problem{File: file, Line: line, Field: field, Message: fmt.Sprintf(format, args...)})
		l.world.partial = true
	}
	if root.Kind != yaml.MappingNode {
		refuse(root.Line, "", "is %s; want an object with apiVersion, kind, metadata and spec", describe(root))
		return
	}
	apiVersion, versionLine := text(root, "apiVersion")
	kind, kindLine := text(root, "kind")
	if kind == "" {
		refuse(root.Line, "kind", "is missing; want HTTPRoute, GRPCRoute, ReferenceGrant, Model or FailSafePolicy")
		return
	}
	if apiVersion == "" {
		refuse(root.Line, "apiVersion", "is missing; want %s for an HTTPRoute, a GRPCRoute or a ReferenceGrant, %s for a Model or a FailSafePolicy", gatewayAPIVersion, v1alpha1.APIVersion)
		return
	}
	want := map[string]string{
		KindHTTPRoute:               gatewayAPIVersion,
		KindGRPCRoute:               gatewayAPIVersion,
		KindReferenceGrant:          gatewayAPIVersion,
		v1alpha1.KindModel:          v1alpha1.APIVersion,
		v1alpha1.KindFailSafePolicy: v1alpha1.APIVersion,
	}[kind]
	switch {
	case kind == v1alpha1.KindStateRecord:
		refuse(kindLine, "kind", "%s is safestate's own state, which nobody else writes; want HTTPRoute, GRPCRoute, ReferenceGrant, Model or FailSafePolicy", quote(kind))
	case want == "":
		refuse(kindLine, "kind", "%s is not read here; want HTTPRoute, GRPCRoute, ReferenceGrant, Model or FailSafePolicy", quote(kind))
	case apiVersion != want && (kind != KindReferenceGrant || apiVersion != grantAPIVersion):
		refuse(versionLine, "apiVersion", "is %s; want %s for kind %s", quote(apiVersion), want, kind)
	case kind == KindHTTPRoute:
		l.world.Routes = add(l, l.world.Routes, file, kind, root, func(o *gatewayv1.HTTPRoute) (string, string) { return o.Namespace, o.Name })
	case kind == KindGRPCRoute:
		l.world.GRPCRoutes = add(l, l.world.GRPCRoutes, file, kind, root, func(o *gatewayv1.GRPCRoute) (string, string) { return o.Namespace, o.Name })
	case kind == KindReferenceGrant:
		l.world.Grants = add(l, l.world.Grants, file, kind, root, func(o *gatewayv1.ReferenceGrant) (string, string) { return o.Namespace, o.Name })
	case kind == v1alpha1.KindModel:
		l.world.Models = add(l, l.world.Models, file, kind, root, func(o *v1alpha1.Model) (string, string) { return o.Namespace, o.Name })
	default:
		l.world.Policies = add(l, l.world.Policies, file, kind, root, func(o *v1alpha1.FailSafePolicy) (string, string) { return o.Namespace, o.Name })
	}
}

// add decodes a document into an object and keeps it, mistakes and all.
func add[T any](l *loader, to []*Object[T], file, kind string, root *yaml.Node, names func(*T) (string, string)) []*Object[T] {
	o := &Object[T]{Value: new(T)}
	namespace, name := identity(root)
	o.Source = &Source{file: file, kind: kind, object: cmp.Or(namespace, DefaultNamespace) + "/" + name,
		lines: map[string]int{}, broken: map[string]bool{}}
	l.problems = append(l.problems, decode(root, o.Value, o.Source)...)
	namespace, o.Name = names(o.Value)
	o.Namespace = cmp.Or(namespace, DefaultNamespace)
	if o.Source.Unreadable("metadata.name") || o.Source.Unreadable("metadata.namespace") {
		l.world.partial = true // what refers to it is not to blame
	}
	return append(to, o)
}

// identity reads an object's names before it is decoded, for the messages.
func identity(root *yaml.Node) (namespace, name string) {
	meta := member(root, "metadata")
	if meta == nil || meta.Kind != yaml.MappingNode {
		return "", ""
	}
	namespace, _ = text(meta, "namespace")
	name, _ = text(meta, "name")
	return namespace, name
}

// member returns a mapping's value; nil: there is none.
func member(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// text returns a mapping's scalar value and its line; empty: there is none.
func text(n *yaml.Node, key string) (value string, line int) {
	v := member(n, key)
	if v == nil || v.Kind != yaml.ScalarNode || v.Tag == "!!null" {
		return "", n.Line
	}
	return v.Value, v.Line
}
