package chat

import "github.com/safestate/safestate/internal/scan"

// Breach is how a content breaks the format that was asked for. The zero value
// is none.
type Breach struct {
	Where   string // in the content, such as items[2].name; empty: the whole
	Keyword string // of the schema; JSON where the content is no JSON, or no object
}

// Found reports whether there is a breach.
func (b Breach) Found() bool { return b.Keyword != "" }

// String names the place and the keyword.
func (b Breach) String() string {
	if b.Where == "" {
		return b.Keyword
	}
	return b.Where + " " + b.Keyword
}

// breachJSON is the keyword of a content that is no JSON at all.
const breachJSON = "JSON"

// contentLimits bounds a content's JSON as that of a whole answer is.
var contentLimits = scan.Limits{Depth: 64, NumberChars: 1 << 10, Nodes: 1 << 19}

// Formatted reports whether a request's response_format asks for JSON.
func Formatted(format scan.Node) bool {
	kind, _ := format.Get("type")
	return kind.EqualText("json_object") || kind.EqualText("json_schema")
}

// CheckFormat holds a content to a request's response_format: json_object asks
// for a JSON object, json_schema for what its schema describes, strict or not.
// Some servers take a schema with json_object as well. A format of another kind
// asks for nothing. doc is scratch, and holds the content afterwards.
//
// A content past contentLimits is no JSON that anybody should read. A schema
// that takes too long (see Validate) is broken by nothing: the caller wrote it,
// and the model is not to blame.
func CheckFormat(format scan.Node, content []byte, doc *scan.Document) Breach {
	if !Formatted(format) {
		return Breach{}
	}
	if err := doc.Parse(content, contentLimits); err != nil || hasBareToken(doc.Root()) {
		return Breach{Keyword: breachJSON}
	}
	root := doc.Root()
	if kind, _ := format.Get("type"); kind.EqualText("json_object") && root.Kind() != scan.Object {
		return Breach{Keyword: breachJSON}
	}
	schema, ok := schemaOf(format)
	if !ok {
		return Breach{}
	}
	return Validate(schema, root)
}

// schemaOf finds the schema of a response_format.
func schemaOf(format scan.Node) (schema scan.Node, ok bool) {
	holder, _ := format.Get("json_schema")
	schema, _ = holder.Get("schema")
	if !schema.Exists() {
		schema, _ = format.Get("schema")
	}
	return schema, schema.Exists()
}

// hasBareToken finds NaN and its like, which the scanner reads and no reader of
// JSON does. The scanner bounds the recursion.
func hasBareToken(n scan.Node) bool {
	switch n.Kind() {
	case scan.NonFinite:
		return true
	case scan.Object, scan.Array:
		if s, flat := n.Numbers(); flat && s.FirstBad < 0 {
			return false
		}
		for it := n.Children(); it.Next(); {
			if hasBareToken(it.Value()) {
				return true
			}
		}
	}
	return false
}
