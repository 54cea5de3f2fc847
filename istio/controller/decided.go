package controller

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// decidedRule is what the text of a decision says of one rule, see saying.
var decidedRule = regexp.MustCompile(`^(.+): generation (\d+)(?:, kills (\d+))?: (.+)$`)

// made is how far releases and kills were when a rule's weights were decided.
type made struct {
	generation, kills uint64
	destinations      string
}

// madeOf is that of each rule of a decision's text. What says something else is left
// out.
func madeOf(text string) map[string]made {
	out := map[string]made{}
	for part := range strings.SplitSeq(text, "; ") {
		m := decidedRule.FindStringSubmatch(part)
		if m == nil {
			continue
		}
		var of made
		of.generation, _ = strconv.ParseUint(m[2], 10, 64)
		of.kills, _ = strconv.ParseUint(m[3], 10, 64)
		for d := range strings.SplitSeq(m[4], ", ") {
			name, _, _ := strings.Cut(d, " ")
			of.destinations += name + " "
		}
		out[m[1]] = of
	}
	return out
}

// later reports whether one decision knows of a release or a kill that the other does
// not. Both only grow, but where a rule leads elsewhere: then nobody can tell.
func later(one, other string) bool {
	others := madeOf(other)
	for name, a := range madeOf(one) {
		b, there := others[name]
		if there && a.destinations == b.destinations && (a.generation > b.generation || a.kills > b.kills) {
			return true
		}
	}
	return false
}

// A decision that is later than ours was written by who leads now, or by somebody from
// whom we have not heard yet. It is not written over. Where this lasts for long while
// we lead, it is of a state that was lost, or came with a copy of the object: then what
// holds is ours.
const (
	longAhead  = time.Minute
	triesAhead = 4 // one that was stopped for a while has not looked in between
)

// ahead is a later decision in an object.
type ahead struct {
	since time.Time
	tries int
}

// waits reports whether our decision is not to be written now, as the object has a
// later one.
func (a *ahead) waits(there, ours string, now time.Time) error {
	if !later(there, ours) {
		*a = ahead{}
		return nil
	}
	if a.tries++; a.tries == 1 {
		a.since = now
	}
	if a.tries > triesAhead && now.Sub(a.since) >= longAhead {
		*a = ahead{}
		return nil
	}
	return fmt.Errorf("a later decision is written there (%s), and is written over in a minute unless it is heard of here", there)
}
