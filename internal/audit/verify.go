package audit

import (
	"cmp"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// VerifyOptions say what is trusted.
type VerifyOptions struct {
	// Keys of the writers, known from elsewhere. With some, a chain of another
	// key, and a key without a chain, are problems. Without, each chain is checked
	// by the key that its writer's name tells of.
	Keys []ed25519.PublicKey
	// Pruned takes chains that begin later than with entry 1, as the store's do.
	Pruned bool
}

// Report is what Verify found.
type Report struct {
	Chains []ChainReport `json:"chains"`
	// Problems: at most one a chain, the first, and heads that are not true.
	Problems []Problem `json:"problems"`
	// Notes are what is no problem, and yet worth knowing.
	Notes []string `json:"notes"`
}

// OK reports whether all chains are as they were written, as far as can be known.
func (r *Report) OK() bool { return len(r.Problems) == 0 && len(r.Chains) > 0 }

// ChainReport tells of one chain.
type ChainReport struct {
	Writer string `json:"writer"`
	Source string `json:"source"`
	// First to Last are the good entries; both 0: there are none.
	First uint64    `json:"first"`
	Last  uint64    `json:"last"`
	Hash  Hash      `json:"hash"` // of Last
	To    time.Time `json:"to,omitzero"`
	// Witnessed is the last entry that a head or another writer's join confirms.
	// What comes later could be dropped without being seen.
	Witnessed uint64   `json:"witnessed"`
	Problem   *Problem `json:"problem,omitempty"`
}

// Verify reads all sources, and holds the chains in them against their
// signatures, against the heads (signed, whoever kept them), against each other's
// joins, and copies of a chain against each other. Its memory is bounded by 32
// bytes an entry. The error says that a source cannot be read.
func Verify(o VerifyOptions, sources ...Source) (*Report, error) {
	v := &verifier{o: o, keys: map[string]ed25519.PublicKey{}, seen: map[string][]sighting{}, ended: map[string]string{}, report: &Report{
		Chains: []ChainReport{}, Problems: []Problem{}, Notes: []string{},
	}}
	for _, key := range o.Keys {
		v.keys[Fingerprint(key)] = key
	}
	for _, s := range sources {
		if err := s.read(v); err != nil {
			return v.report, err
		}
	}
	v.conclude()
	return v.report, nil
}

type verifier struct {
	o      VerifyOptions
	keys   map[string]ed25519.PublicKey // given, by fingerprint
	parts  []*part
	seen   map[string][]sighting // by writer
	ended  map[string]string     // by writer: the entry that says that its chain ended
	report *Report
}

// part is a chain in one source.
type part struct {
	walker
	source     string
	folder     bool
	unfinished string // where there is a last line without an end
	torn       bool   // and a crash, or a process that writes, may have left it
	joins      []joined
	problem    *Problem
}

// joined is what an entry says of another chain.
type joined struct {
	sequence uint64
	head     Witness
	known    bool   // there is a head, signed by its writer
	damaged  string // the writer whose chain this one goes on for; empty: it is a join
	damage   string // and why
}

// begin takes up a chain; what is not known of it is empty.
func (v *verifier) begin(source, name string, key ed25519.PublicKey) *part {
	if trusted := v.keys[fingerprintOf(name)]; trusted != nil {
		key = trusted
	}
	p := &part{source: source, walker: walker{writer: name, key: key, keys: v.keys, pruned: v.o.Pruned}}
	p.good = func(e *Entry, _ []byte) {
		if e.Kind != KindJoin && e.Kind != KindBreak {
			return
		}
		j := joined{sequence: e.Sequence}
		j.known = json.Unmarshal(e.Evidence, &j.head) == nil && j.head.check() == nil
		if e.Kind == KindBreak {
			j.damaged, j.damage = e.Target, e.Reason
		}
		p.joins = append(p.joins, j)
	}
	v.parts = append(v.parts, p)
	return p
}

// head takes a signed head.
func (v *verifier) head(line []byte, where string) {
	head, err := ParseWitness(line)
	if err != nil {
		v.report.Problems = append(v.report.Problems, Problem{Fault: BadHead, Where: where, Detail: clip(err.Error())})
		return
	}
	v.witness(head, sighting{by: "the head in " + where})
}

func (v *verifier) witness(head Witness, s sighting) {
	s.sequence, s.hash = head.Head.Sequence, head.Head.Hash
	v.seen[head.Head.Writer] = append(v.seen[head.Head.Writer], s)
}

func (v *verifier) conclude() {
	v.parts = slices.DeleteFunc(v.parts, func(p *part) bool { // heads of a chain that is elsewhere
		return !p.folder && len(p.hashes) == 0 && p.bad == nil && p.unfinished == ""
	})
	for _, p := range v.parts {
		p.problem = p.end()
		for _, j := range p.joins {
			if j.sequence >= p.first+uint64(len(p.hashes)) || p.key == nil {
				continue // nobody knows who wrote that
			}
			by := fmt.Sprintf("entry %d of %s", j.sequence, p.writer)
			if j.known {
				v.witness(j.head, sighting{by: by, join: j.damaged == ""})
			}
			if j.damaged != "" {
				v.ended[j.damaged] = by
				v.note("%s says why another chain ended: %s", by, j.damage)
			}
		}
	}
	v.compare()
	v.gaps()
	for _, p := range v.parts {
		v.held(p)
	}
	v.absent()
}

// held holds a chain against who has seen it.
func (v *verifier) held(p *part) {
	seen := v.seen[p.writer]
	slices.SortStableFunc(seen, func(a, b sighting) int { return cmp.Compare(a.sequence, b.sequence) })
	p.earlier(p.against(seen))
	switch due := max(p.due(), 1); {
	case p.unfinished == "" || p.bad != nil:
	case p.torn && p.problem == nil:
		v.note("%s ends with a line without an end: a crash left it, or a process is writing it", p.unfinished)
	default:
		p.earlier(&Problem{Writer: p.writer, Sequence: due, Fault: Truncated, Where: p.unfinished, Detail: "its line has no end"})
	}
	if p.writer != "" && len(v.keys) > 0 && v.keys[fingerprintOf(p.writer)] == nil {
		p.earlier(&Problem{Writer: p.writer, Sequence: max(p.first, 1), Fault: Unsigned, Detail: "its key is not among those that were given"})
	}
	report := ChainReport{Writer: p.writer, Source: p.source, Problem: p.problem}
	if n := uint64(len(p.hashes)); n > 0 {
		report.First, report.Last, report.Hash, report.To = p.first, p.first+n-1, p.hashes[n-1], p.last.At
	}
	for _, s := range seen {
		if s.sequence <= report.Last && s.sequence >= report.First && p.hashes[s.sequence-p.first] == s.hash {
			report.Witnessed = s.sequence
		}
	}
	v.report.Chains = append(v.report.Chains, report)
	if p.problem != nil {
		v.report.Problems = append(v.report.Problems, *p.problem)
	}
}

// earlier keeps the problem that is first in the chain. One that names an entry
// says more than one that names a range around it.
func (p *part) earlier(other *Problem) {
	if other != nil && (p.problem == nil || max(other.Sequence, other.Until) < max(p.problem.Sequence, p.problem.Until)) {
		p.problem = other
	}
}

// compare holds copies of a chain against each other. One may be older, and so
// shorter.
func (v *verifier) compare() {
	for i, a := range v.parts {
		for _, b := range v.parts[i+1:] {
			if a.writer != b.writer || len(a.hashes) == 0 || len(b.hashes) == 0 {
				continue
			}
			from := max(a.first, b.first)
			to := min(a.first+uint64(len(a.hashes)), b.first+uint64(len(b.hashes)))
			for s := from; s < to; s++ {
				if a.hashes[s-a.first] != b.hashes[s-b.first] {
					for _, p := range []*part{a, b} {
						p.earlier(&Problem{Writer: p.writer, Sequence: s, Fault: Unlinked,
							Detail: fmt.Sprintf("%s and %s have different entries, both signed by the writer's key", a.source, b.source)})
					}
					break
				}
			}
		}
	}
}

func (v *verifier) note(format string, arguments ...any) {
	v.report.Notes = append(v.report.Notes, fmt.Sprintf(format, arguments...))
}
