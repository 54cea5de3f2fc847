package expr_test

import (
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/expr"
	"github.com/safestate/safestate/internal/scan"
)

func benchmarkBool(b *testing.B, wire, body string) {
	p, err := expr.Decode([]byte(wire))
	if err != nil {
		b.Fatal(err)
	}
	var doc scan.Document
	if err := doc.Parse([]byte(body), scan.Limits{}); err != nil {
		b.Fatal(err)
	}
	env := &expr.Env{Request: doc.Root(), Response: doc.Root(), Status: 200}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Bool(env); err != nil {
			b.Fatal(err)
		}
	}
}

const path = `[".",["[]",[".",["response"],"outputs"],0],"data"]`

func tensor(n int) string {
	return `{"outputs":[{"name":"score","data":[` + strings.TrimSuffix(strings.Repeat("0.123456,", n), ",") + `]}]}`
}

func BenchmarkExistsBounds(b *testing.B) {
	benchmarkBool(b, `["exists",`+path+`,["<",["v",0],["d",0]]]`, tensor(10_000))
}

func BenchmarkExistsEach(b *testing.B) {
	benchmarkBool(b, `["exists",`+path+`,["<",["*",["v",0],["d",2]],["d",0]]]`, tensor(10_000))
}

func BenchmarkField(b *testing.B) {
	benchmarkBool(b, `["&&",["has",["request"],"parameters"],[">",[".",["request"],"parameters","amount"],["d",5000]]]`,
		`{"id":"1","parameters":{"amount":6000,"merchant_category":"crypto"}}`)
}
