package audit

import "fmt"

// sighting is what somebody has seen of a chain.
type sighting struct {
	sequence uint64
	hash     Hash
	by       string
	join     bool // by another writer, in passing: not by who keeps heads, nor by the chain that goes on for it
}

// against holds the good part of a chain against witnesses, sorted by sequence.
func (w *walker) against(seen []sighting) *Problem {
	vouched, below := uint64(0), uint64(0) // the last entry that a witness confirms; and before s
	for _, s := range seen {
		if s.sequence > vouched {
			below = vouched
		}
		switch last := w.first + uint64(len(w.hashes)); {
		case len(w.hashes) > 0 && s.sequence < w.first: // pruned
		case len(w.hashes) == 0 || s.sequence >= last:
			if w.bad != nil {
				return nil // what is wrong there is known
			}
			due := max(w.due(), 1)
			return &Problem{Writer: w.writer, Sequence: due, Fault: Truncated,
				Detail: fmt.Sprintf("the chain ends before it, and %s knows of entry %d", s.by, s.sequence)}
		case w.hashes[s.sequence-w.first] != s.hash:
			return &Problem{Writer: w.writer, Sequence: max(below+1, w.first), Until: s.sequence, Fault: Rewritten,
				Detail: fmt.Sprintf("%s has another hash for entry %d", s.by, s.sequence)}
		default:
			vouched = s.sequence
		}
	}
	return nil
}
