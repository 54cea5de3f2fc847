package audit

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// gaps holds the parts of a chain against each other: each has to overlap or to
// follow those that begin before it. The first alone may begin late, where the
// chain is pruned.
func (v *verifier) gaps() {
	chains := map[string][]*part{}
	for _, p := range v.parts {
		if len(p.hashes) > 0 {
			chains[p.writer] = append(chains[p.writer], p)
		}
	}
	for _, parts := range chains {
		slices.SortStableFunc(parts, func(a, b *part) int { return cmp.Compare(a.first, b.first) })
		furthest := parts[0]
		for _, p := range parts[1:] {
			switch due := furthest.due(); {
			case p.first > due:
				p.earlier(&Problem{Writer: p.writer, Sequence: due, Fault: Dropped,
					Detail: fmt.Sprintf("%s ends before it, and %s goes on with entry %d", furthest.source, p.source, p.first)})
			case p.first == due && p.before != furthest.prev():
				p.earlier(&Problem{Writer: p.writer, Sequence: due, Fault: Unlinked,
					Detail: fmt.Sprintf("%s has it behind another entry %d than %s", p.source, due-1, furthest.source)})
			}
			if p.due() > furthest.due() {
				furthest = p
			}
		}
	}
}

// absent names chains that were told of and are not there. What a kept head, the
// chain that goes on for it, or a key that was given tells of has to be there;
// what another writer met in the store may be with somebody else.
func (v *verifier) absent() {
	here, keys := map[string]bool{}, map[string]bool{}
	for _, p := range v.parts {
		if len(p.hashes) > 0 || p.problem != nil { // and not a folder with nothing in it
			here[p.writer], keys[fingerprintOf(p.writer)] = true, true
		}
	}
	due := v.due(here)
	for _, writer := range slices.Sorted(maps.Keys(due)) {
		if !here[writer] {
			v.report.Problems = append(v.report.Problems, Problem{Writer: writer, Fault: Missing, Detail: "it is not here, and " + due[writer]})
		}
	}
	for _, writer := range slices.Sorted(maps.Keys(v.seen)) {
		if !here[writer] && due[writer] == "" {
			last := furthest(v.seen[writer])
			v.note("%s is not here; %s knows of its entry %d", writer, last.by, last.sequence)
		}
	}
	for fingerprint := range v.keys {
		if !keys[fingerprint] {
			v.report.Problems = append(v.report.Problems, Problem{Fault: Missing, Detail: "no chain is of the key " + fingerprint})
		}
	}
}

// due are the chains that have to be there, and how that is known.
func (v *verifier) due(here map[string]bool) map[string]string {
	due := map[string]string{}
	for name := range here {
		if w, ok := parseWriter(name); ok && w.chain > 1 {
			w.chain--
			due[w.String()] = name + " goes on for it"
		}
	}
	for name, by := range v.ended {
		due[name] = by + " goes on for it"
	}
	for name, seen := range v.seen {
		kept := slices.DeleteFunc(slices.Clone(seen), func(s sighting) bool { return s.join })
		if len(kept) > 0 {
			last := furthest(kept)
			due[name] = fmt.Sprintf("%s knows of its entry %d", last.by, last.sequence)
		}
	}
	return due
}

func furthest(seen []sighting) sighting {
	return slices.MaxFunc(seen, func(a, b sighting) int { return cmp.Compare(a.sequence, b.sequence) })
}
