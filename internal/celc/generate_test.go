package celc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// generator makes documents and expressions over them. It is loose about types
// on purpose: what cel-go's checker refuses is thrown away, and what fails when
// it runs is wanted.
//
// Fields l1 and l2 of a document are lists or scalars, never maps, because the
// order of a map's keys is random in cel-go and map and filter would show it.
type generator struct {
	*rand.Rand
	vars []string // comprehension variables in scope
}

func newGenerator(seed uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 0x5afe))}
}

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

func (g *generator) depth() int { return 1 + g.IntN(4) }

// document is a JSON text and the same for cel-go.
func (g *generator) document() (string, any) {
	if g.Float64() < 0.03 {
		return g.value(2)
	}
	names := []string{"a", "b", "n", "s", "l1", "l2", "m1", "m2", "t", "x-y"}
	return g.object(names, 0.93, 3)
}

func (g *generator) object(names []string, share float64, depth int) (string, any) {
	var members []string
	out := map[string]any{}
	for _, name := range names {
		if g.Float64() > share {
			continue
		}
		text, v := g.field(name, depth)
		members = append(members, strconv.Quote(name)+":"+text)
		out[name] = v
	}
	return "{" + strings.Join(members, ",") + "}", out
}

func (g *generator) field(name string, depth int) (string, any) {
	odd := g.Float64() < 0.1
	switch {
	case odd && name[0] != 'l':
		return g.value(depth)
	case odd:
		return g.scalar()
	case name == "n":
		return g.number()
	case name == "s":
		return g.text()
	case name == "t":
		return g.truth()
	case name[0] == 'l':
		return g.array(depth)
	case name[0] == 'm' && depth > 0:
		return g.object([]string{"a", "n", "s", "l1", "m1", "k"}, 0.6, depth-1)
	}
	return g.value(depth)
}

func (g *generator) value(depth int) (string, any) {
	if depth <= 0 || g.Float64() < 0.6 {
		return g.scalar()
	}
	if g.Float64() < 0.5 {
		return g.array(depth)
	}
	return g.object([]string{"a", "n", "s", "l1", "k"}, 0.6, depth-1)
}

func (g *generator) scalar() (string, any) {
	switch g.IntN(5) {
	case 0:
		return "null", nil
	case 1:
		return g.truth()
	case 2:
		return g.text()
	}
	return g.number()
}

func (g *generator) truth() (string, any) {
	b := g.IntN(2) == 0
	return strconv.FormatBool(b), b
}

func (g *generator) number() (string, any) {
	text := pick(g, "0", "1", "-1", "2", "3", "0.5", "-0.0", "5000", "5001", "7", "1e308", "-1e308", "1e999", "1e-400",
		"9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "18446744073709551615",
		"1e19", "0.1", "NaN", "Infinity", "-Infinity", "17")
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		panic(err) // the list above is wrong
	}
	return text, f
}

func (g *generator) text() (string, any) {
	s := pick(g, "", "a", "abc", "b", "k", "1", "-5", "1.5", "true", "9223372036854775808", "é漢", "NaN", "gambling", "x-tenant", `q"\`)
	return strconv.Quote(s), s
}

func (g *generator) array(depth int) (string, any) {
	var texts []string
	out := []any{}
	numbers := g.Float64() < 0.5
	pure := g.Float64() < 0.5
	for range g.IntN(5) {
		var text string
		var v any
		switch {
		case numbers && pure:
			v, _ = strconv.ParseFloat(pick(g, "0", "0.1", "1", "5000", "-1", "2.5", "1e308"), 64)
			text = strconv.FormatFloat(v.(float64), 'g', -1, 64)
		case numbers && g.Float64() < 0.9:
			text, v = g.number()
		case numbers:
			text, v = "null", nil
		default:
			text, v = g.value(depth - 1)
		}
		texts = append(texts, text)
		out = append(out, v)
	}
	return "[" + strings.Join(texts, ",") + "]", out
}

// boolean is an expression that is a bool, or should be.
func (g *generator) boolean(d int) string {
	if d <= 0 {
		return pick(g, "true", "false", "request.t", "response.t", "(request.n > 1)", "(response.n != 0)", g.path(), "has("+g.field2()+")", `"x-tenant" in request_headers`, "has(request_headers.accept)")
	}
	switch g.IntN(18) {
	case 17:
		return g.limits()
	case 0, 1:
		return fmt.Sprintf("(%s && %s)", g.boolean(d-1), g.boolean(d-1))
	case 2, 3:
		return fmt.Sprintf("(%s || %s)", g.boolean(d-1), g.boolean(d-1))
	case 4:
		return "!" + g.boolean(d-1)
	case 5, 6, 7:
		return fmt.Sprintf("(%s %s %s)", g.num(d-1), pick(g, "<", "<=", ">", ">=", "==", "!="), g.num(d-1))
	case 8:
		return fmt.Sprintf("(dyn(%s) %s dyn(%s))", g.any(d-1), pick(g, "==", "!=", "<", ">="), g.any(d-1))
	case 9:
		return fmt.Sprintf("(dyn(%s) in %s)", g.any(d-1), pick(g, g.list(d-1), g.mapping(d-1)))
	case 10:
		return fmt.Sprintf("%s.%s(%s)", g.str(d-1), pick(g, "contains", "startsWith", "endsWith"), g.str(d-1))
	case 11:
		return "has(" + g.field2() + ")"
	case 12, 13:
		over := pick(g, g.list(d-1), g.list(d-1), g.mapping(d-1), "request", g.path())
		return g.bound(func(v string) string {
			return fmt.Sprintf("%s.%s(%s, %s)", over, pick(g, "all", "exists", "exists_one"), v, g.boolean(d-1))
		})
	case 14:
		return fmt.Sprintf("(%s ? %s : %s)", g.boolean(d-1), g.boolean(d-1), g.boolean(d-1))
	case 15:
		return fmt.Sprintf("isNaN(%s)", pick(g, g.dbl(d-1), g.path()))
	}
	return pick(g, fmt.Sprintf("bool(%s)", pick(g, "request.t", g.str(d-1), g.boolean(d-1))), fmt.Sprintf("(%s == %s)", g.list(d-1), g.list(d-1)))
}

// limits is a quantifier that the bounds of a numeric array can decide.
func (g *generator) limits() string {
	return g.bound(func(v string) string {
		limit := func() string {
			to := pick(g, "0.0", "1.0", "0", "1u", "5000", "-1", "0.1")
			op := pick(g, "<", "<=", ">", ">=")
			if g.IntN(3) == 0 {
				return fmt.Sprintf("%s %s %s", to, op, v)
			}
			return fmt.Sprintf("%s %s %s", v, op, to)
		}
		pred := limit()
		if g.IntN(2) == 0 {
			pred += pick(g, " && ", " || ") + limit()
		}
		return fmt.Sprintf("%s.%s(%s, %s)", pick(g, "request.l1", "request.l2", "response.l1"), pick(g, "all", "exists"), v, pred)
	})
}

// bound makes an expression with one more variable.
func (g *generator) bound(f func(v string) string) string {
	if len(g.vars) >= 3 {
		return "true"
	}
	v := pick(g, "x", "y", "z")
	g.vars = append(g.vars, v)
	defer func() { g.vars = g.vars[:len(g.vars)-1] }()
	return f(v)
}

// path is a place in a document, or a variable.
func (g *generator) path() string {
	if len(g.vars) > 0 && g.Float64() < 0.6 {
		return g.vars[g.IntN(len(g.vars))] + pick(g, "", "", "", ".a", ".n", "[0]")
	}
	root := pick(g, "request", "request", "response")
	return root + pick(g, ".a", ".b", ".n", ".n", ".n", ".s", ".s", ".t", ".t", ".l1", ".l2", ".m1", ".l1[0]", ".l2[1]", ".m1.n", ".m1.s", ".m1.a", ".m2.m1.k",
		`["x-y"]`, `["n"]`, ".missing", "", ".m1[request.s]", ".l1[request.n]", ".l2[int(request.n)]", ".l1[1.0]", ".l1[0u]")
}

// field2 is a path that has() takes.
func (g *generator) field2() string {
	return pick(g, "request", "response", "request.m1", "request.m2.m1", "response.m1", "request.n", "request.l1", "request.missing", g.path()) +
		pick(g, ".a", ".n", ".k", ".missing", ".m1")
}

func (g *generator) num(d int) string {
	return pick(g, g.dbl(d), g.integer(d), g.unsigned(d), "request.n", "response.n", "request.n", g.path(), "dyn("+g.integer(d)+")", "dyn("+g.dbl(d)+")")
}

func (g *generator) integer(d int) string {
	if d <= 0 {
		return pick(g, "0", "1", "1", "-1", "2", "2", "3", "3", "5", "7", "11", "200", "status", "9223372036854775807", "-9223372036854775808", "3037000500")
	}
	switch g.IntN(7) {
	case 0, 1, 2:
		return fmt.Sprintf("(%s %s %s)", g.integer(d-1), pick(g, "+", "-", "*", "/", "%"), g.integer(d-1))
	case 3:
		return fmt.Sprintf("size(%s)", pick(g, g.list(d-1), g.str(d-1), g.mapping(d-1), "request.l1", g.path()))
	case 4:
		return "(-" + g.integer(d-1) + ")"
	case 5:
		return fmt.Sprintf("int(%s)", pick(g, g.path(), "request.n", "request.m1.n", g.dbl(d-1), g.str(d-1), g.unsigned(d-1), g.integer(d-1)))
	}
	return fmt.Sprintf("(%s ? %s : %s)", g.boolean(d-1), g.integer(d-1), g.integer(d-1))
}

func (g *generator) unsigned(d int) string {
	if d <= 0 {
		return pick(g, "0u", "1u", "2u", "3u", "1u", "2u", "7u", "18446744073709551615u", "9223372036854775808u", "4294967296u")
	}
	if g.IntN(3) == 0 {
		return fmt.Sprintf("uint(%s)", pick(g, g.path(), "request.n", g.dbl(d-1), g.str(d-1), g.integer(d-1), g.unsigned(d-1)))
	}
	return fmt.Sprintf("(%s %s %s)", g.unsigned(d-1), pick(g, "+", "-", "*", "/", "%"), g.unsigned(d-1))
}

func (g *generator) dbl(d int) string {
	if d <= 0 {
		return pick(g, "0.0", "1.0", "-1.0", "0.5", "2.5", "5000.0", "1e308", "9223372036854775808.0", "request.n", "response.n", "0.1")
	}
	switch g.IntN(6) {
	case 0, 1, 2:
		return fmt.Sprintf("(%s %s %s)", g.dbl(d-1), pick(g, "+", "-", "*", "/"), g.dbl(d-1))
	case 3:
		return "(-" + g.dbl(d-1) + ")"
	case 4:
		return fmt.Sprintf("double(%s)", pick(g, g.path(), "request.n", g.integer(d-1), g.str(d-1), g.unsigned(d-1)))
	}
	return fmt.Sprintf("(%s %s %s)", pick(g, "request.a", "request.n", "response.n"), pick(g, "+", "-", "*", "/", "%"), pick(g, g.dbl(d-1), g.num(d-1)))
}

func (g *generator) str(d int) string {
	if d <= 0 {
		return pick(g, `""`, `"a"`, `"abc"`, `"bc"`, `"c"`, `"b"`, `"1"`, `"é"`, `"x-tenant"`, `"NaN"`, "request.s", "response.s", "request.m1.s", "request.s",
			`request_headers["x-tenant"]`, `request_headers["x-number"]`, "request_headers.missing", "request_headers[request.s]")
	}
	if g.IntN(2) == 0 {
		return fmt.Sprintf("string(%s)", pick(g, g.num(d-1), g.str(d-1), g.str(d-1), "request.n"))
	}
	return fmt.Sprintf("(%s + %s)", g.str(d-1), g.str(d-1))
}

// list is never a map.
func (g *generator) list(d int) string {
	if d <= 0 {
		return pick(g, "[]", "request.l1", "request.l2", "response.l1", "request.m1.l1", `["a", "abc", "gambling"]`, "[1, 2, 3]", "[1u, 2.5, null]")
	}
	switch g.IntN(6) {
	case 0:
		return fmt.Sprintf("[%s, %s]", g.any(d-1), g.any(d-1))
	case 1:
		return fmt.Sprintf("(%s + %s)", g.list(d-1), g.list(d-1))
	case 2, 3:
		over := g.list(d - 1)
		return g.bound(func(v string) string { return fmt.Sprintf("%s.filter(%s, %s)", over, v, g.boolean(d-1)) })
	case 4:
		over := g.list(d - 1)
		return g.bound(func(v string) string { return fmt.Sprintf("%s.map(%s, %s)", over, v, g.any(d-1)) })
	}
	over := g.list(d - 1)
	return g.bound(func(v string) string {
		return fmt.Sprintf("%s.map(%s, %s, %s)", over, v, g.boolean(d-1), g.any(d-1))
	})
}

func (g *generator) mapping(d int) string {
	key := func() string {
		return pick(g, `"a"`, `"b"`, `"n"`, "1", "2u", "true", "dyn(request.s)", "dyn(request.n)", "dyn(1)")
	}
	if d <= 0 {
		return pick(g, "request.m1", "response.m1", "request", "{}", `{"a": 1, "b": 2.0}`, `{1: "a", 2u: "b", true: null}`)
	}
	return fmt.Sprintf("{%s: %s, %s: %s}", key(), g.any(d-1), key(), g.any(d-1))
}

func (g *generator) any(d int) string {
	switch g.IntN(10) {
	case 0:
		return "null"
	case 1:
		return g.str(d)
	case 2:
		return g.list(d)
	case 3:
		return g.mapping(d)
	case 4:
		return g.boolean(d)
	case 5:
		return fmt.Sprintf("%s[%s]", pick(g, g.list(d-1), g.mapping(d-1), "[1, 2, 3]", `{"a": 1, 1: 2}`), pick(g, "0", "1", `"a"`, "dyn(1u)", g.num(d-1), g.path()))
	case 6, 7:
		return g.path()
	}
	return g.num(d)
}
