package audit

import (
	"fmt"
	"strings"
)

// Text writes a report for people, a finding a line, the verdict last.
func (r *Report) Text() string {
	var b strings.Builder
	entries := uint64(0)
	for _, c := range r.Chains {
		fmt.Fprintf(&b, "%s (%s)\n", c.Writer, c.Source)
		if c.Last > 0 {
			entries += c.Last - c.First + 1
			fmt.Fprintf(&b, "  entries %d to %d are as written, the last at %s\n", c.First, c.Last, c.To.Format("2006-01-02 15:04:05 UTC"))
			fmt.Fprintf(&b, "  hash of entry %d: %s\n", c.Last, c.Hash)
		}
		switch {
		case c.Witnessed == 0:
			b.WriteString("  no head or join confirms its length\n")
		case c.Witnessed < c.Last:
			fmt.Fprintf(&b, "  heads and joins confirm it up to entry %d\n", c.Witnessed)
		default:
			b.WriteString("  heads and joins confirm all of it\n")
		}
	}
	for _, n := range r.Notes {
		b.WriteString("note: " + n + "\n")
	}
	for _, p := range r.Problems {
		b.WriteString("PROBLEM: " + p.String() + "\n")
	}
	switch {
	case len(r.Chains) == 0:
		b.WriteString("no chain was found\n")
	case r.OK():
		fmt.Fprintf(&b, "ok: %d entries in %d chains\n", entries, len(r.Chains))
	default:
		fmt.Fprintf(&b, "NOT OK: %d problems\n", len(r.Problems))
	}
	return b.String()
}
