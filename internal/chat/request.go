package chat

import (
	"strings"

	"github.com/safestate/safestate/internal/scan"
)

// Request is what a request asks for, as far as its answer depends on it. The
// zero value is a request whose body was not seen.
type Request struct {
	Known        bool // the body was seen and is an object
	Stream       bool
	IncludeUsage bool // stream_options.include_usage: a stream ends with its usage
	Logprobs     bool // the probability of each token was asked for
	Legacy       bool // …/completions, not …/chat/completions
	Echo         bool // legacy: the prompt comes back in front of the answer
	// N is how many choices the answer has: n, times the prompts of a legacy
	// request that has a list of them; 1 where the request does not say, or is
	// not known. It is the caller's number, from 1 to MaxChoices: make no room
	// for it in advance.
	N int
	// Model and Format are the request's model and response_format; they may not
	// exist, may be of any kind, and are valid as long as the request's document.
	Model, Format scan.Node
}

// Shape is the form of the answer that a request asks for.
type Shape struct{ Stream, IncludeUsage, Legacy bool }

// MaxChoices bounds Request.N.
const MaxChoices = 1 << 20

// Inference reports whether a path, with or without a query, is that of chat
// completions or of legacy completions. Only its end counts: routes and
// gateways add prefixes.
func Inference(path string) bool { return strings.HasSuffix(cleanPath(path), "/completions") }

// Legacy reports whether a path is that of legacy completions.
func Legacy(path string) bool {
	path = cleanPath(path)
	return strings.HasSuffix(path, "/completions") && !strings.HasSuffix(path, "/chat/completions")
}

// cleanPath drops the query, the fragment and slashes at the end, which servers
// built on Starlette do not need but redirect or take.
func cleanPath(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	return strings.TrimRight(path, "/")
}

// ReadRequest reads the body of a request to path. Known is false where root is
// no object; path alone decides Legacy. Of a key that occurs twice the last
// counts, as it does in the servers' own parsers.
func ReadRequest(root scan.Node, path string) Request {
	r := Request{Legacy: Legacy(path), N: 1}
	if root.Kind() != scan.Object {
		return r
	}
	r.Known = true
	n, prompts := 1, 1
	for it := root.Children(); it.Next(); {
		v := it.Value()
		switch string(it.Key()) {
		case "stream":
			r.Stream = truth(v)
		case "stream_options":
			usage, _ := v.Get("include_usage")
			r.IncludeUsage = truth(usage)
		case "logprobs":
			r.Logprobs = v.Kind() == scan.Number && r.Legacy || truth(v)
		case "echo":
			r.Echo = r.Legacy && truth(v)
		case "n":
			n = count(v)
		case "prompt":
			prompts = countPrompts(v)
		case "model":
			r.Model = v
		case "response_format":
			r.Format = v
		}
	}
	r.N = n
	if r.Legacy {
		r.N = min(n*prompts, MaxChoices)
	}
	return r
}

// Shape returns the form of the answer that is asked for.
func (r Request) Shape() Shape {
	return Shape{Stream: r.Stream, IncludeUsage: r.Stream && r.IncludeUsage, Legacy: r.Legacy}
}

// truth reads a flag. Servers that validate with pydantic take 1, "true" and
// their like for true, and then stream: who takes them for false answers a
// stream with what its reader takes for silence.
func truth(v scan.Node) bool {
	switch v.Kind() {
	case scan.True:
		return true
	case scan.Number:
		f, _ := v.Float()
		return f == 1
	case scan.String:
		var buf [8]byte
		switch strings.ToLower(string(v.Text(buf[:0]))) {
		case "true", "t", "1", "on", "yes", "y":
			return true
		}
	}
	return false
}

// count reads n. What is no count is the model's to refuse.
func count(v scan.Node) int {
	n, ok := v.Int()
	if !ok || n < 1 {
		return 1
	}
	return int(min(n, MaxChoices))
}

// countPrompts counts the prompts of a legacy request: a text or a list of
// token numbers is one, any other list has one in each element.
func countPrompts(v scan.Node) int {
	if v.Kind() != scan.Array || v.Len() == 0 {
		return 1
	}
	if _, tokens := v.Numbers(); tokens {
		return 1
	}
	return min(v.Len(), MaxChoices)
}
