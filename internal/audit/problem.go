package audit

import "fmt"

// Fault is what is wrong with a chain.
type Fault string

// The faults. Those up to Unlinked are found by the chain and its signatures
// alone, the others by heads and joins.
const (
	Changed   Fault = "changed"   // the entry is not what the writer wrote
	Dropped   Fault = "dropped"   // it is not there, and later ones are
	Inserted  Fault = "inserted"  // something stands before it that the writer did not write there
	Reordered Fault = "reordered" // it stands further down
	Unlinked  Fault = "unlinked"  // the writer's key signed two entries of this number: the folder was copied, or the key stolen
	Truncated Fault = "truncated" // the chain ends before it
	Rewritten Fault = "rewritten" // signed by the key, but another hash was witnessed: a chain made anew by who has the key
	Unsigned  Fault = "unsigned"  // no public key is there to check it
	BadHead   Fault = "bad head"  // a head that is not its writer's; entries are not concerned
	Missing   Fault = "missing"   // a chain that had to be there is not
)

// Problem is one fault.
type Problem struct {
	Writer string `json:"writer,omitempty"`
	// Sequence is the first entry concerned: all before it are as they were
	// written. It may be one up to Until, where that is not 0.
	Sequence uint64 `json:"sequence,omitempty"`
	Until    uint64 `json:"until,omitempty"`
	Fault    Fault  `json:"fault"`
	Where    string `json:"where,omitempty"` // file:line
	Detail   string `json:"detail"`
}

func (p Problem) String() string {
	s := string(p.Fault) + ": " + p.Detail
	switch {
	case p.Until > p.Sequence:
		s = fmt.Sprintf("one of the entries %d to %d of %s is %s", p.Sequence, p.Until, p.Writer, s)
	case p.Sequence > 0:
		s = fmt.Sprintf("entry %d of %s is %s", p.Sequence, p.Writer, s)
	case p.Writer != "":
		s = p.Writer + ": " + s
	}
	if p.Where != "" {
		s += " (" + p.Where + ")"
	}
	return s
}
