package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// edit is one that somebody made to a chain, and what is to be found.
type edit struct {
	name     string
	lines    [][]byte
	text     []byte // instead of lines
	sequence uint64 // the entry to be named
	faults   []Fault
}

func (e *edit) content() []byte {
	if e.text != nil {
		return e.text
	}
	return append(bytes.Join(e.lines, []byte("\n")), '\n')
}

// editor makes edits at random.
type editor struct {
	*mathrand.Rand
	lines  [][]byte
	other  [][]byte           // of another writer
	thief  ed25519.PrivateKey // of nobody
	stolen ed25519.PrivateKey // the writer's
}

func (r *editor) parsed(i int) Entry {
	e, err := Parse(r.lines[i])
	if err != nil {
		panic(err)
	}
	return e
}

// flip changes a byte, line ends included.
func (r *editor) flip() edit {
	text := append(bytes.Join(r.lines, []byte("\n")), '\n')
	at := r.IntN(len(text))
	text[at] ^= byte(1 + r.IntN(255))
	sequence, seen := uint64(1), 0
	for _, line := range r.lines {
		if seen += len(line) + 1; at < seen {
			break
		}
		sequence++
	}
	faults := []Fault{Changed}
	if at == len(text)-1 {
		faults = []Fault{Truncated}
	}
	return edit{"flip", nil, text, sequence, faults}
}

func (r *editor) drop() edit {
	i := r.IntN(len(r.lines))
	fault := Dropped
	if i == len(r.lines)-1 {
		fault = Truncated
	}
	return edit{"drop", slices.Delete(slices.Clone(r.lines), i, i+1), nil, uint64(i + 1), []Fault{fault}}
}

func (r *editor) insertAt(name string, at int, line []byte) edit {
	return edit{name, slices.Insert(slices.Clone(r.lines), at, line), nil, uint64(at + 1), []Fault{Inserted}}
}

func (r *editor) duplicate() edit {
	i := r.IntN(len(r.lines))
	return r.insertAt("duplicate", i+1+r.IntN(len(r.lines)-i), r.lines[i])
}

func (r *editor) swap() edit {
	i, j := r.IntN(len(r.lines)), r.IntN(len(r.lines)-1)
	if j >= i {
		j++
	}
	lines := slices.Clone(r.lines)
	lines[i], lines[j] = lines[j], lines[i]
	return edit{"swap", lines, nil, uint64(min(i, j) + 1), []Fault{Reordered}}
}

// insert puts an entry between two that has the right number and the right hash
// before it.
func (r *editor) insert() edit {
	i := 1 + r.IntN(len(r.lines)-1)
	before := r.parsed(i - 1)
	e := before.sealed(before.Writer, uint64(i+1), before.At, before.Hash, r.thief)
	return r.insertAt("insert", i, e.Line())
}

func (r *editor) truncate() edit {
	text := append(bytes.Join(r.lines, []byte("\n")), '\n')
	text = text[:r.IntN(len(text))]
	return edit{"truncate", nil, append([]byte{}, text...), uint64(bytes.Count(text, []byte("\n")) + 1), []Fault{Truncated}}
}

// reseal edits an entry and gives it a hash that is right, and a signature of
// whoever's key it is, or the old one.
func (r *editor) reseal(i int, prev Hash, change bool, key ed25519.PrivateKey) Entry {
	e := r.parsed(i)
	if change {
		switch r.IntN(4) {
		case 0:
			e.Reason += "!"
		case 1:
			e.Generation += 1 + r.Uint64N(9)
		case 2:
			e.Actor.Name = "mallory"
		case 3:
			e.Target = "shop/other"
		}
	}
	if key != nil {
		return e.sealed(e.Writer, e.Sequence, e.At, prev, key)
	}
	e.Prev = prev
	e.Hash = hashOf(prev, e.appendSignature(e.appendMembers(nil)))
	return e
}

func (r *editor) anybody() ed25519.PrivateKey {
	if r.IntN(2) == 0 {
		return r.thief
	}
	return nil
}

func (r *editor) rehashOne() edit {
	i := r.IntN(len(r.lines))
	lines := slices.Clone(r.lines)
	e := r.reseal(i, r.parsed(i).Prev, true, r.anybody())
	lines[i] = e.Line()
	return edit{"edit and re-hash", lines, nil, uint64(i + 1), []Fault{Changed}}
}

func (r *editor) rehashTail(name string, key ed25519.PrivateKey, faults ...Fault) edit {
	i := r.IntN(len(r.lines))
	lines := slices.Clone(r.lines)
	prev := r.parsed(i).Prev
	for j := i; j < len(lines); j++ {
		e := r.reseal(j, prev, j == i, key)
		prev, lines[j] = e.Hash, e.Line()
	}
	return edit{name, lines, nil, uint64(i + 1), faults}
}

func (r *editor) splice() edit {
	from := r.other[r.IntN(len(r.other))]
	i := r.IntN(len(r.lines))
	if r.IntN(2) == 0 {
		return r.insertAt("splice in", i, from)
	}
	lines := slices.Clone(r.lines)
	lines[i] = from
	return edit{"splice over", lines, nil, uint64(i + 1), []Fault{Changed, Inserted}}
}

// next is an edit of any kind.
func (r *editor) next() edit {
	switch r.IntN(10) {
	case 0, 1:
		return r.flip()
	case 2:
		return r.drop()
	case 3:
		return r.duplicate()
	case 4:
		return r.swap()
	case 5:
		return r.insert()
	case 6:
		return r.truncate()
	case 7:
		return r.rehashOne()
	case 8:
		return r.splice()
	}
	if r.IntN(2) == 0 {
		return r.rehashTail("re-hash the tail without the key", r.anybody(), Changed)
	}
	return r.rehashTail("write the tail anew with the key", r.stolen, Rewritten)
}

// written makes a chain with some entries of all sorts.
func written(t testing.TB, name string, count int, o Options) *Log {
	o.Dir, o.Name = t.TempDir(), name
	l := open(t, o)
	for i := range count {
		e := sample(fmt.Sprintf("%s-%d", name, i))
		e.Kind = []Kind{KindKill, KindRevive, KindRefused, KindDecision}[i%4]
		e.Reason = strings.Repeat("because \u202e \"quoted\" ", i%5)
		if i%3 == 0 {
			e.Evidence = []byte(`{"requests": [1, 2.5e3, "\u001b[31m"], "nested": {"deep": null}}`)
		}
		if _, err := l.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// TestEditsAreFound makes 10,000 edits to a chain, one at a time. Each is found,
// and the first entry that is not what was written is named.
func TestEditsAreFound(t *testing.T) {
	l, other := written(t, "control-1", 16, Options{}), written(t, "control-2", 16, Options{})
	_, thief, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	lines, others := linesOf(t, l), linesOf(t, other)
	// The anchor has the head of every eighth entry, and so of the last.
	var anchor bytes.Buffer
	for i, e := range entriesIn(t, lines) {
		if i%8 == 0 {
			head := newHead(e.Writer, e.Sequence, e.Hash, e.At, l.key)
			anchor.Write(append(head.Line(), '\n'))
		}
	}
	check := func(content []byte) *Report {
		r, err := Verify(VerifyOptions{Keys: []ed25519.PublicKey{publicKey(l)}},
			Reader("chain", bytes.NewReader(content)), Reader("anchor", bytes.NewReader(anchor.Bytes())))
		if err != nil {
			t.Error(err)
		}
		return r
	}
	if r := check((&edit{lines: lines}).content()); !r.OK() || r.Chains[0].Witnessed != 17 {
		t.Fatal(r.Text())
	}
	begin := append(title{l.Status().Writer, publicKey(l)}.line(), '\n')
	for part := range uint64(4) {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			random := &editor{Rand: mathrand.New(mathrand.NewPCG(1, part)), lines: lines, other: others, thief: thief, stolen: l.key}
			counts := map[string]int{}
			for i := range 2500 {
				e := random.next()
				counts[e.name]++
				text := e.content()
				if i%2 == 0 { // an export, and not the entries alone
					text = append(begin[:len(begin):len(begin)], text...)
				}
				r := check(text)
				if r.OK() {
					t.Fatalf("%s at entry %d is not found", e.name, e.sequence)
				}
				p := r.Problems[0]
				named := p.Sequence == e.sequence || p.Fault == Rewritten && p.Sequence <= e.sequence && e.sequence <= p.Until && p.Until-p.Sequence < 8
				if !named || !slices.Contains(e.faults, p.Fault) {
					t.Fatalf("%s at entry %d, want %v: found %s\n%q", e.name, e.sequence, e.faults, p, text)
				}
			}
			t.Logf("%v", counts)
		})
	}
}

// TestEditedFolderIsNotContinued edits the files behind a log's back: opened
// again it leaves the chain, or says that it cut its end.
func TestEditedFolderIsNotContinued(t *testing.T) {
	l := written(t, "control-1", 10, Options{SegmentBytes: 4000})
	shut(t, l)
	writer := l.Status().Writer
	random := mathrand.New(mathrand.NewPCG(3, 4))
	for range 100 {
		dir := copyFolder(t, l.o.Dir)
		segments, err := segmentsOf(filepath.Join(dir, writer))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, writer, segments[random.IntN(len(segments))])
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		at := random.IntN(len(text))
		if random.IntN(2) == 0 {
			text[at] ^= byte(1 + random.IntN(255))
		} else {
			text = text[:at]
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		before, err := Verify(VerifyOptions{}, Folder(dir))
		if err != nil || before.OK() {
			t.Fatalf("%s at %d is not found: %v", path, at, err)
		}
		again := open(t, Options{Dir: dir})
		if s := again.Status(); s.Writer != writer+".2" || untilWhere(s.Damage) != untilWhere(before.Problems[0].String()) && before.Problems[0].Fault != Truncated {
			t.Fatalf("%s at %d: goes on with %s\nfor: %s\nverify: %s", path, at, s.Writer, s.Damage, before.Problems[0])
		}
		shut(t, again)
	}
}

// untilWhere leaves out where it is: one says the file, the other its path.
func untilWhere(s string) string {
	s, _, _ = strings.Cut(s, " (")
	s, _, _ = strings.Cut(s, ", at ")
	s, _, _ = strings.Cut(s, "; the entry itself")
	return s
}

// TestJoinsWitness cuts and rewrites a chain whose writer has the key; the other
// replica's chain tells.
func TestJoinsWitness(t *testing.T) {
	a, b := written(t, "control-1", 12, Options{}), written(t, "control-2", 3, Options{})
	lines := linesOf(t, a)
	for _, at := range []int{4, 9} {
		e := entriesIn(t, lines)[at-1]
		join := own(KindJoin, e.Writer, "", newHead(e.Writer, e.Sequence, e.Hash, e.At, a.key))
		if _, err := b.append(t.Context(), join); err != nil {
			t.Fatal(err)
		}
	}
	check := func(a, b [][]byte) *Report {
		r, err := Verify(VerifyOptions{}, Reader("a", bytes.NewReader((&edit{lines: a}).content())), Reader("b", bytes.NewReader((&edit{lines: b}).content())))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	joins := linesOf(t, b)
	r := check(lines, joins)
	if !r.OK() || r.Chains[0].Witnessed != 9 || r.Chains[1].Witnessed != 0 {
		t.Error(r.Text())
	}
	if r := check(lines[:7], joins); r.OK() || r.Problems[0].Fault != Truncated || r.Problems[0].Sequence != 8 ||
		!strings.Contains(r.Problems[0].Detail, "entry 6 of "+b.Status().Writer+" knows of entry 9") {
		t.Error(r.Text())
	}
	random := &editor{Rand: mathrand.New(mathrand.NewPCG(5, 6)), lines: lines}
	for range 50 {
		e := random.rehashTail("", a.key)
		r := check(e.lines, joins)
		switch p := r.Problems; {
		case e.sequence > 9: // nobody saw those
			if !r.OK() {
				t.Error(r.Text())
			}
		case r.OK() || p[0].Fault != Rewritten || p[0].Sequence > e.sequence || p[0].Until < e.sequence:
			t.Errorf("entry %d: %s", e.sequence, r.Text())
		}
	}
	// What a chain says after it was changed itself is no witness.
	forged := slices.Clone(joins)
	forged[2] = bytes.Replace(forged[2], []byte("alice"), []byte("bob"), 1)
	if r := check(lines[:7], forged); len(r.Problems) != 1 || r.Problems[0].Writer != b.Status().Writer {
		t.Error(r.Text())
	}
}

// TestForgedWitnesses has joins and heads that nobody signed who may.
func TestForgedWitnesses(t *testing.T) {
	a, b := written(t, "control-1", 5, Options{}), written(t, "control-2", 3, Options{})
	_, thief, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	head := newHead(a.Status().Writer, 6, Hash{1}, time.Now(), a.key) // as if the key had signed it
	join, err := own(KindJoin, a.Status().Writer, "", head).prepared()
	if err != nil {
		t.Fatal(err)
	}
	joins := linesOf(t, b)
	last := entriesIn(t, joins)[len(joins)-1]
	forged := join.sealed(last.Writer, last.Sequence+1, last.At, last.Hash, thief)
	r, err := Verify(VerifyOptions{}, Folder(a.o.Dir), Reader("b", bytes.NewReader((&edit{lines: append(joins, forged.Line())}).content())))
	if err != nil || len(r.Problems) != 1 || r.Problems[0].Writer != last.Writer {
		t.Errorf("%v\n%s", err, r.Text())
	}
	for name, head := range map[string]Witness{
		"another key":  newHead(a.Status().Writer, 9, Hash{1}, time.Now(), thief),
		"no entry":     newHead(a.Status().Writer, 0, Hash{}, time.Now(), a.key),
		"no signature": {Head{Writer: a.Status().Writer, Sequence: 9, At: time.Now()}, publicKey(a)},
		"no writer":    newHead("control-1", 9, Hash{1}, time.Now(), a.key),
	} {
		if _, err := ParseWitness(head.Line()); err == nil {
			t.Errorf("%s is taken", name)
		}
		r, err := Verify(VerifyOptions{}, Folder(a.o.Dir), Reader("anchor", bytes.NewReader(append(head.Line(), '\n'))))
		if err != nil || len(r.Problems) != 1 || r.Problems[0].Fault != BadHead {
			t.Errorf("%s: %v\n%s", name, err, r.Text())
		}
	}
}

func TestVerifyOptions(t *testing.T) {
	a, b := written(t, "control-1", 12, Options{}), written(t, "control-2", 3, Options{})
	lines := linesOf(t, a)
	text := func(lines [][]byte) Source {
		return Reader("chain", bytes.NewReader((&edit{lines: lines}).content()))
	}
	title := title{a.Status().Writer, publicKey(a)}.line()
	head := a.Head()
	for name, c := range map[string]struct {
		o       VerifyOptions
		sources []Source
		want    string // of the first problem; empty: none
	}{
		"plain":                      {sources: []Source{text(lines)}},
		"twice":                      {sources: []Source{text(lines), text(lines[:5])}},
		"with its key":               {VerifyOptions{Keys: []ed25519.PublicKey{publicKey(a)}}, []Source{text(lines)}, ""},
		"with another key":           {VerifyOptions{Keys: []ed25519.PublicKey{publicKey(b)}}, []Source{text(lines)}, "no entry is of a key among those"},
		"with a key more":            {VerifyOptions{Keys: []ed25519.PublicKey{publicKey(a), publicKey(b)}}, []Source{text(lines)}, "missing: no chain is of the key " + Fingerprint(publicKey(b))},
		"pruned":                     {VerifyOptions{Pruned: true, Keys: []ed25519.PublicKey{publicKey(a)}}, []Source{text(lines[6:])}, ""},
		"pruned, with a title":       {VerifyOptions{Pruned: true}, []Source{text(append([][]byte{title}, lines[6:]...))}, ""},
		"pruned, without a key":      {VerifyOptions{Pruned: true}, []Source{text(lines[6:])}, "no public key"},
		"pruned, and that is wrong":  {VerifyOptions{}, []Source{text(append([][]byte{title}, lines[6:]...))}, "entry 1 of " + a.Status().Writer + " is dropped"},
		"pruned and changed":         {VerifyOptions{Pruned: true}, []Source{text(append([][]byte{title, head.Line()}, slices.Concat(lines[6:8], lines[9:])...))}, "entry 9 of " + a.Status().Writer + " is dropped"},
		"two chains without a title": {sources: []Source{text(slices.Concat(lines, linesOf(t, b)))}, want: "an entry of another chain stands at the chain's end"},
		"a head that is edited":      {sources: []Source{text(slices.Insert(slices.Clone(lines), 0, bytes.Replace(head.Line(), []byte(`"sequence":1`), []byte(`"sequence":2`), 1)))}, want: "bad head"},
		"a head of the end":          {sources: []Source{text(slices.Insert(slices.Clone(lines), 0, head.Line()))}},
		"garbage first":              {sources: []Source{text(slices.Insert(slices.Clone(lines), 0, []byte("garbage")))}, want: "entry 1 of " + a.Status().Writer + " is inserted: a line that is no entry"},
		"a line without end":         {sources: []Source{text([][]byte{bytes.Repeat([]byte("x"), 3*MaxLine)})}, want: "a line of"},
	} {
		r, err := Verify(c.o, c.sources...)
		if err != nil {
			t.Fatal(err)
		}
		if c.want == "" && !r.OK() || c.want != "" && (r.OK() || !strings.Contains(r.Problems[0].String(), c.want)) {
			t.Errorf("%s: want %q\n%s", name, c.want, r.Text())
		}
	}
	if r, err := Verify(VerifyOptions{}); err != nil || r.OK() || !strings.Contains(r.Text(), "no chain was found") {
		t.Error("nothing at all is no proof")
	}
	if _, err := Verify(VerifyOptions{}, Path(filepath.Join(t.TempDir(), "none"))); err == nil {
		t.Error("a file that is not there")
	}
}

// TestCopiesAreCompared has two chains of one key: what a stolen key, or a copied
// folder, makes.
func TestCopiesAreCompared(t *testing.T) {
	a := written(t, "control-1", 5, Options{})
	shut(t, a)
	dir := copyFolder(t, a.o.Dir)
	for i, d := range []string{a.o.Dir, dir} {
		l := open(t, Options{Dir: d})
		add(t, l, fmt.Sprint("x", i), 1, 3)
		shut(t, l)
	}
	r, err := Verify(VerifyOptions{}, Folder(a.o.Dir), Path(dir))
	if err != nil || r.OK() || r.Problems[0].Sequence != 7 {
		t.Errorf("%v %s", err, r.Text())
	}
}
