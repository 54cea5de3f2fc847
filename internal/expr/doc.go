// Package expr evaluates the CEL conditions of a policy against one request
// and one answer, on the data path and inside a WASM module: it is pure Go,
// links no CEL library, reads JSON through package scan only, and does a
// bounded amount of work whatever the body.
//
// # Wire form
//
// Package celc type-checks an expression and writes its tree as JSON; Decode
// turns that into a Program. A node is a literal (null, true, 1, "text") or an
// array that starts with its operator:
//
//	["d",0.5] ["u",7]                        double and uint literals
//	["request"] ["response"] ["status"]      the variables
//	["v",0]                                  the variable of the outermost comprehension, 1 the next
//	[".",X,"a","b"]  ["[]",X,I]              X.a.b  X[I]
//	["has",X,"a"]                            has(X.a)
//	["hdr","request",K] ["hdr?","request",K] request_headers[K], K in request_headers
//	["&&",A,B,…] ["||",A,B,…] ["!",A] ["?:",C,A,B]
//	["==",A,B] ["!=",A,B] ["<",A,B] … ["in",A,B]
//	["+",A,B] ["-",A,B] ["*",A,B] ["/",A,B] ["%",A,B] ["neg",A]
//	["size",A] ["contains",A,B] ["startsWith",A,B] ["endsWith",A,B] ["isNaN",A]
//	["int",A] ["int",A,"string"]             a conversion, the second of a string only; also uint, double, string, bool
//	["list",A,B,…] ["map",K,V,K,V,…]
//	["all",R,P] ["exists",R,P] ["exists_one",R,P] ["filter",R,P] ["map()",R,T] ["mapif",R,P,T]
//
// # Semantics
//
// Values and errors are those of cel.dev/cel-go over the same document read as
// maps and lists, with these additions. A JSON number is a double and a bare
// NaN, Infinity or -Infinity token is that double. A key that occurs more than
// once in an object is an error for whoever asks for it, because two readers
// could disagree on its value. An expression that does more than MaxSteps is an
// error that && and || do not absorb.
package expr
