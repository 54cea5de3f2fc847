package chat

import (
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/scan"
)

func TestValidate(t *testing.T) {
	const list = `{"$defs":{"node":{"type":"object","properties":{"value":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},"required":["value","next"],"additionalProperties":false}},"$ref":"#/$defs/node"}`
	for _, c := range []struct{ schema, instance, want string }{
		{`true`, `1`, ""},
		{`false`, `1`, "false"},
		{`"x"`, `1`, ""},
		{`{}`, `1`, ""},

		{`{"type":"string"}`, `"a"`, ""},
		{`{"type":"string"}`, `1`, "type"},
		{`{"type":"string"}`, `null`, "type"},
		{`{"type":"string","nullable":true}`, `null`, ""},
		{`{"type":"integer"}`, `1.0`, ""},
		{`{"type":"integer"}`, `1e3`, ""},
		{`{"type":"integer"}`, `1.5`, "type"},
		{`{"type":"number"}`, `"1"`, "type"},
		{`{"type":"boolean"}`, `false`, ""},
		{`{"type":"null"}`, `0`, "type"},
		{`{"type":"array"}`, `[]`, ""},
		{`{"type":"array"}`, `{}`, "type"},
		{`{"type":"object"}`, `[]`, "type"},
		{`{"type":["string","null"]}`, `null`, ""},
		{`{"type":["string","null"]}`, `1`, "type"},
		{`{"type":[]}`, `1`, ""},
		{`{"type":"date"}`, `1`, ""},

		{`{"properties":{"a":{"type":"string"}}}`, `{"a":"x","b":1}`, ""},
		{`{"properties":{"a":{"type":"string"}}}`, `{"b":1,"a":1}`, "a type"},
		{`{"properties":{"a":{"type":"string"}}}`, `{"a":"x","a":1}`, "a type"},
		{`{"properties":{"a":{"type":"string"}}}`, `[1]`, ""},
		{`{"required":["a","b"]}`, `{"a":null}`, "b required"},
		{`{"required":["a"]}`, `{"\u0061":null}`, ""},
		{`{"required":["a"]}`, `"a"`, ""},
		{`{"properties":{"a":{}},"additionalProperties":false}`, `{"a":1}`, ""},
		{`{"additionalProperties":false,"properties":{"a":{}}}`, `{"a":1,"b":1}`, "b additionalProperties"},
		{`{"additionalProperties":false}`, `{"b":1}`, "b additionalProperties"},
		{`{"additionalProperties":{"type":"string"}}`, `{"b":1}`, "b type"},
		{`{"additionalProperties":true}`, `{"b":1}`, ""},
		{`{"additionalProperties":false,"patternProperties":{"^x":{}}}`, `{"b":1}`, ""},
		{`{"minProperties":1,"maxProperties":2}`, `{}`, "minProperties"},
		{`{"minProperties":1,"maxProperties":2}`, `{"a":1,"b":2,"c":3}`, "maxProperties"},

		{`{"items":{"type":"string"}}`, `["a","b"]`, ""},
		{`{"items":{"type":"string"}}`, `["a",1]`, "[1] type"},
		{`{"items":{"minimum":2}}`, `[2,3,1]`, "[2] minimum"},
		{`{"items":{"properties":{"a":{"items":{"type":"null"}}}}}`, `[{"a":[null,0]}]`, "[0].a[1] type"},
		{`{"items":false}`, `[]`, ""},
		{`{"items":false}`, `[1]`, "[0] false"},
		{`{"prefixItems":[{"type":"string"}],"items":{"type":"number"}}`, `["a",1,2]`, ""},
		{`{"prefixItems":[{"type":"string"}],"items":{"type":"number"}}`, `["a",1,"b"]`, "[2] type"},
		{`{"prefixItems":[{"type":"string"},{}],"items":false}`, `["a"]`, ""},
		{`{"prefixItems":[{"type":"string"}]}`, `[1]`, "[0] type"},
		{`{"items":[{"type":"string"}]}`, `["a",1]`, ""},
		{`{"items":[{"type":"string"}]}`, `[1]`, "[0] type"},
		{`{"minItems":1}`, `[]`, "minItems"},
		{`{"maxItems":1}`, `[1,2]`, "maxItems"},
		{`{"maxItems":1}`, `"abc"`, ""},

		{`{"enum":["a",1,null,{"x":[1]}]}`, `{"x":[1.0]}`, ""},
		{`{"enum":["a",1,null]}`, `1.0`, ""},
		{`{"enum":["a",1,null]}`, `"\u0061"`, ""},
		{`{"enum":["a",1,null]}`, `"b"`, "enum"},
		{`{"enum":["1"]}`, `1`, "enum"},
		{`{"enum":[]}`, `1`, "enum"},
		{`{"const":{"a":1,"b":2}}`, `{"b":2,"a":1}`, ""},
		{`{"const":{"a":1,"b":2}}`, `{"a":1}`, "const"},
		{`{"const":{"a":1}}`, `{"b":1}`, "const"},
		{`{"const":[1,[2]]}`, `[1,[3]]`, "const"},
		{`{"const":true}`, `false`, "const"},

		{`{"anyOf":[{"type":"string"},{"minimum":5,"type":"number"}]}`, `5`, ""},
		{`{"anyOf":[{"type":"string"},{"minimum":5,"type":"number"}]}`, `4`, "anyOf"},
		{`{"properties":{"a":{"anyOf":[{"properties":{"b":false}},{"type":"null"}]}}}`, `{"a":{"b":1}}`, "a anyOf"},
		{`{"oneOf":[{"type":"string"},{"type":"number"}]}`, `true`, "oneOf"},
		{`{"oneOf":[{"type":"integer"},{"type":"number"}]}`, `1`, "oneOf"},
		{`{"oneOf":[{"type":"integer"},{"type":"number"}]}`, `1.5`, ""},
		{`{"oneOf":[{"type":"string","pattern":"^a"},{"type":"string","pattern":"^b"}]}`, `"a"`, ""},
		{`{"allOf":[{"type":"integer"},{"maximum":5}]}`, `6`, "maximum"},
		{`{"allOf":[{"type":"integer"},{"maximum":5}]}`, `5`, ""},

		{list, `{"value":1,"next":{"value":2,"next":null}}`, ""},
		{list, `{"value":1,"next":{"value":"2","next":null}}`, "next anyOf"},
		{list, `{"value":1}`, "next required"},
		{`{"definitions":{"a b":{"x/y":{"type":"string"}}},"$ref":"#/definitions/a b/x~1y"}`, `1`, "type"},
		{`{"properties":{"child":{"$ref":"#"}},"required":["id"]}`, `{"id":1,"child":{}}`, "child.id required"},
		{`{"$defs":{"l":[{},{"type":"string"}]},"$ref":"#/$defs/l/1"}`, `1`, "type"},
		{`{"$ref":"#/nowhere"}`, `1`, ""},
		{`{"$ref":"#anchor"}`, `1`, ""},
		{`{"$ref":"https://example.com/schema"}`, `1`, ""},
		{`{"$ref":"#"}`, `1`, ""},

		{`{"minimum":1,"maximum":2}`, `1`, ""},
		{`{"minimum":1}`, `0.5`, "minimum"},
		{`{"maximum":2}`, `2.5`, "maximum"},
		{`{"exclusiveMinimum":1}`, `1`, "exclusiveMinimum"},
		{`{"exclusiveMaximum":2}`, `2`, "exclusiveMaximum"},
		{`{"minimum":true}`, `0`, ""},
		{`{"minimum":1}`, `"0"`, ""},
		{`{"minLength":2,"maxLength":3}`, `"éé"`, ""},
		{`{"minLength":2}`, `"\u00e9"`, "minLength"},
		{`{"maxLength":3}`, `"abcd"`, "maxLength"},
		{`{"pattern":"^x","format":"date","multipleOf":2,"not":{},"uniqueItems":true}`, `"a"`, ""},
	} {
		t.Run(c.schema+" "+c.instance, func(t *testing.T) {
			if got := Validate(parsed(t, c.schema), parsed(t, c.instance)).String(); got != c.want {
				t.Fatalf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestCheckFormat(t *testing.T) {
	object := `{"type":"json_object"}`
	for _, c := range []struct{ format, content, want string }{
		{`null`, `x`, ""},
		{`{"type":"text"}`, `x`, ""},
		{object, `{}`, ""},
		{object, ` {"a":[1]}` + "\n", ""},
		{object, `x`, "JSON"},
		{object, ``, "JSON"},
		{object, `[]`, "JSON"},
		{object, `{"a":NaN}`, "JSON"},
		{object, `{"a":[1,-Infinity]}`, "JSON"},
		{object, `{} {}`, "JSON"},
		{object, strings.Repeat("[", 100), "JSON"},
		{`{"type":"json_schema","json_schema":{"schema":{"type":"array"}}}`, `[]`, ""},
		{`{"type":"json_schema","json_schema":{"schema":{"type":"array"}}}`, `{}`, "type"},
		{`{"type":"json_schema","json_schema":{}}`, `1`, ""},
		{`{"type":"json_schema","schema":{"type":"array"}}`, `{}`, "type"},
	} {
		var d scan.Document
		if got := CheckFormat(parsed(t, c.format), []byte(c.content), &d).String(); got != c.want {
			t.Errorf("%s %s: got %q, want %q", c.format, c.content, got, c.want)
		}
	}
}

// A schema or a content that is made to take long ends without a breach.
func TestValidateIsBounded(t *testing.T) {
	wide := `[` + strings.Repeat(`{"$ref":"#"},`, 2000) + `{"$ref":"#"}]`
	for name, c := range map[string]struct{ schema, instance string }{
		"a reference to itself":        {`{"$ref":"#"}`, `1`},
		"many references to itself":    {`{"allOf":` + wide + `}`, `1`},
		"any of them":                  {`{"anyOf":` + wide + `}`, `1`},
		"one of them":                  {`{"oneOf":` + wide + `}`, `1`},
		"a large enum, a large list":   {`{"items":{"enum":[` + strings.Repeat(`"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",`, 5000) + `"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",1]}}`, `[` + strings.Repeat(`"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",`, 5000) + `1]`},
		"many members, many required":  {`{"required":[` + strings.Repeat(`"a",`, 20000) + `"a"]}`, `{` + strings.Repeat(`"b":1,`, 20000) + `"a":1}`},
		"many members, many described": {`{"properties":{` + strings.Repeat(`"a":{},`, 20000) + `"b":{}}}`, `{` + strings.Repeat(`"c":1,`, 20000) + `"a":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			if b := Validate(parsed(t, c.schema), parsed(t, c.instance)); b.Found() {
				t.Fatalf("a breach: %s", b)
			}
			if d := time.Since(begin); d > 2*time.Second {
				t.Fatalf("it took %s", d)
			}
		})
	}
}
