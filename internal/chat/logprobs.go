package chat

import (
	"strconv"

	"github.com/safestate/safestate/internal/scan"
)

// Logprob is the log probability of one token of an answer.
type Logprob struct {
	// List is where it stands in the choice's logprobs: content, refusal or, in
	// a legacy choice, token_logprobs.
	List  string
	Index int // in List; -1 for the list itself, where Ambiguous is set
	// Node is the value; it does not exist where a token has none.
	Node scan.Node
	// Ambiguous: the key occurs twice, or a second time in another case.
	Ambiguous bool
}

// EachLogprob calls f with the log probability of every token of logprobs (a
// choice's, whole or of one chunk, chat or legacy) until f returns false. The
// alternatives in top_logprobs are not visited: servers write sentinels there
// for tokens that could not be.
func EachLogprob(logprobs scan.Node, f func(Logprob) bool) {
	lists := [...]scan.Field{{Name: "content"}, {Name: "refusal"}, {Name: "token_logprobs"}}
	if dup := scan.Collect(logprobs, lists[:]); dup != "" {
		f(Logprob{List: dup, Index: -1, Ambiguous: true})
		return
	}
	for i := range lists {
		l := Logprob{List: lists[i].Name}
		if lists[i].Node.Kind() != scan.Array {
			continue
		}
		for it := lists[i].Node.Children(); it.Next(); {
			l.Index, l.Node = it.Index(), it.Value()
			if l.Node.Kind() == scan.Object {
				value := [...]scan.Field{{Name: "logprob"}}
				l.Ambiguous = scan.Collect(l.Node, value[:]) != ""
				l.Node = value[0].Node
			}
			if !f(l) {
				return
			}
		}
	}
}

// First reports whether it is that of the first token of a legacy choice, which
// is null where the prompt was echoed: nothing stands before it.
func (l Logprob) First() bool { return l.Index == 0 && l.List == "token_logprobs" }

// Place names it, of choice i.
func (l Logprob) Place(i int) string {
	where := Place(i, "logprobs."+l.List)
	if l.Index >= 0 {
		where += "[" + strconv.Itoa(l.Index) + "]"
		if l.List != "token_logprobs" {
			where += ".logprob"
		}
	}
	return where
}
