package faultmodel

import (
	"bytes"
	"compress/gzip"
	"strconv"
	"strings"
	"sync"
)

// Sizes of the answers that are too much.
const (
	deepLevels   = 100_000
	longDigits   = 10_000
	hugeBytes    = 16 << 20
	bombInflated = 256 << 20
)

func emptyBody(_ Protocol, r *reply) { r.body = nil }

func wholeBody(s string) func(Protocol, *reply) {
	return func(p Protocol, r *reply) {
		r.body = []byte(s)
		jsonHead(p, r, len(s))
	}
}

// jsonHead says of a binary answer how long its JSON is now.
func jsonHead(p Protocol, r *reply, n int) {
	if p == V2B {
		r.header.Set("Inference-Header-Content-Length", strconv.Itoa(n))
	}
}

// splice replaces the first occurrence of old in the JSON part and keeps the
// length of a binary answer's header right.
func splice(p Protocol, r *reply, old, replacement string) {
	r.body = bytes.Replace(r.body, []byte(old), []byte(replacement), 1)
	if n, err := strconv.Atoi(r.header.Get("Inference-Header-Content-Length")); err == nil {
		jsonHead(p, r, n+len(replacement)-len(old))
	}
}

func html(_ Protocol, r *reply) {
	r.header.Set("Content-Type", "text/html; charset=utf-8")
	r.header.Del("Inference-Header-Content-Length")
	r.body = []byte("<!doctype html><title>Welcome</title><p>It works!</p>")
}

// truncated ends in the middle with an honest content-length: the transport is
// whole, the answer is not.
func truncated(_ Protocol, r *reply) { r.body = r.body[:len(r.body)-9] }

func trailing(_ Protocol, r *reply) { r.body = append(r.body, `{"score":0}`...) }

func wrongCharset(_ Protocol, r *reply) {
	r.header.Set("Content-Type", r.header.Get("Content-Type")+"; charset=utf-16")
}

// invalidUTF8 puts a lone continuation byte and a surrogate into a string.
func invalidUTF8(p Protocol, r *reply) {
	splice(p, r, "{", "{\"note\":\"\x80\xed\xa0\x80\",")
}

// duplicateKey has the inspected member twice: harmless first, then another.
func duplicateKey(p Protocol, r *reply) {
	if p == V2 {
		splice(p, r, `"data":`, `"data":[0.5],"data":`)
		return
	}
	splice(p, r, `"score":`, `"score":0.5,"score":`)
}

// otherCase has the inspected member in a second case.
func otherCase(p Protocol, r *reply) {
	if p == V2 {
		splice(p, r, `"data":`, `"DATA":[0.5],"data":`)
		return
	}
	splice(p, r, `"score":`, `"SCORE":0.5,"score":`)
}

func deep(p Protocol, r *reply) {
	splice(p, r, "{", `{"deep":`+strings.Repeat("[", deepLevels)+strings.Repeat("]", deepLevels)+",")
}

func huge(p Protocol, r *reply) {
	splice(p, r, "{", `{"padding":"`+strings.Repeat("x", hugeBytes-len(r.body))+`",`)
}

// bomb is a small gzip body that inflates to 256 MiB, though nobody asked for
// compression.
func bomb(p Protocol, r *reply) {
	r.header.Set("Content-Encoding", "gzip")
	jsonHead(p, r, bombInflated)
	r.body = bombBytes()
}

// bombBytes takes a second to make and is made once.
var bombBytes = sync.OnceValue(func() []byte {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil // the level is a constant that exists
	}
	chunk := bytes.Repeat([]byte(" "), 1<<20)
	for range bombInflated >> 20 {
		_, _ = z.Write(chunk) // a bytes.Buffer takes everything
	}
	_ = z.Close()
	return out.Bytes()
})

func unknownEncoding(_ Protocol, r *reply) { r.header.Set("Content-Encoding", "x-rot13") }

func errorObject(p Protocol, r *reply) {
	switch p {
	case V2:
		r.body = []byte(`{"error":"CUDA error: out of memory at /opt/models/fraud/model.py:31"}`)
	case ML:
		r.body = []byte(`{"error_code":"INTERNAL_ERROR","message":"boom","stack_trace":"File \"/opt/serve.py\""}`)
	default:
		r.body = []byte(`{"error":{"code":500,"message":"feature store: connection refused"}}`)
	}
}
