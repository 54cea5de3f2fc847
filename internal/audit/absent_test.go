package audit

import (
	"bytes"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// faultsOf are the problems of a report, as FAULT WRITER.
func faultsOf(t *testing.T, o VerifyOptions, sources ...Source) []string {
	t.Helper()
	r, err := Verify(o, sources...)
	if err != nil {
		t.Fatal(err)
	}
	found := []string{}
	for _, p := range r.Problems {
		found = append(found, string(p.Fault)+" "+p.Writer)
	}
	t.Log(r.Text())
	return found
}

// TestLostChainIsFound removes the key and the whole chain: only the anchor has
// heard of it.
func TestLostChainIsFound(t *testing.T) {
	l := written(t, "control-1", 5, Options{})
	lost := l.Status().Writer
	anchor := append(l.Head().Line(), '\n')
	shut(t, l)
	dir := l.o.Dir
	for _, name := range []string{keyFile, publicFile, lost} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, continued(t, dir, "after"))
	found := faultsOf(t, VerifyOptions{}, Folder(dir), Reader("anchor", bytes.NewReader(anchor)))
	if !slices.Equal(found, []string{"missing " + lost}) {
		t.Errorf("a chain that an anchor names is gone, and found is %q", found)
	}
	// A folder of its name with nothing in it is no chain.
	if err := os.Mkdir(filepath.Join(dir, lost), 0o700); err != nil {
		t.Fatal(err)
	}
	if found := faultsOf(t, VerifyOptions{}, Folder(dir), Reader("anchor", bytes.NewReader(anchor))); len(found) != 1 {
		t.Errorf("its folder is empty, and found is %q", found)
	}
}

// continued goes on in a folder with an entry.
func continued(t *testing.T, dir, id string) *Log {
	t.Helper()
	l := open(t, Options{Dir: dir})
	add(t, l, id, 1, 1)
	return l
}

// TestLostPredecessorIsFound removes a damaged chain that another of the same key
// goes on for.
func TestLostPredecessorIsFound(t *testing.T) {
	l := written(t, "control-1", 5, Options{})
	dir, lost, key := l.o.Dir, l.Status().Writer, publicKey(l)
	shut(t, l)
	path := filepath.Join(dir, lost, segmentName(1))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(text, []byte("alice"), []byte("malic"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	shut(t, continued(t, dir, "after"))
	trusted := VerifyOptions{Keys: []ed25519.PublicKey{key}}
	if found := faultsOf(t, trusted, Folder(dir)); !slices.Equal(found, []string{"changed " + lost}) {
		t.Fatalf("%q", found)
	}
	if err := os.RemoveAll(filepath.Join(dir, lost)); err != nil {
		t.Fatal(err)
	}
	if found := faultsOf(t, trusted, Folder(dir)); !slices.Equal(found, []string{"missing " + lost}) {
		t.Errorf("the damaged chain is gone, and found is %q", found)
	}
	// An empty folder in its place, and a third chain that goes on for no second.
	if err := os.Mkdir(filepath.Join(dir, lost), 0o700); err != nil {
		t.Fatal(err)
	}
	if found := faultsOf(t, trusted, Folder(dir)); !slices.Equal(found, []string{"missing " + lost}) {
		t.Errorf("its folder is empty, and found is %q", found)
	}
}

// TestJoinedChainsMayBeElsewhere has the chain of one replica, which met another.
func TestJoinedChainsMayBeElsewhere(t *testing.T) {
	a, b := written(t, "control-1", 3, Options{}), written(t, "control-2", 3, Options{})
	if _, err := b.append(t.Context(), own(KindJoin, a.Status().Writer, "", a.Head())); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(VerifyOptions{}, Folder(b.o.Dir))
	if err != nil || !r.OK() || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "knows of its entry 4") {
		t.Errorf("%v\n%s", err, r.Text())
	}
}

// TestPartsOfAChain takes an export apart: with Pruned a chain may begin late, and
// yet has nothing left out.
func TestPartsOfAChain(t *testing.T) {
	a := written(t, "control-1", 20, Options{})
	lines := linesOf(t, a)
	writer := a.Status().Writer
	begin := title{writer, publicKey(a)}.line()
	export := func(parts ...[][]byte) Source {
		var all [][]byte
		for _, p := range parts {
			all = append(append(all, begin), p...)
		}
		return Reader("export", bytes.NewReader((&edit{lines: all}).content()))
	}
	// Another end, by who has the key.
	anew := (&editor{lines: lines, stolen: a.key}).anew(10)
	for name, c := range map[string]struct {
		parts [][][]byte
		want  string // of the problem; empty: none
	}{
		"whole":                {[][][]byte{lines}, ""},
		"the middle is cut":    {[][][]byte{lines[:8], lines[12:]}, "entry 9 of " + writer + " is dropped"},
		"in the wrong order":   {[][][]byte{lines[12:], lines[:8]}, "entry 9 of " + writer + " is dropped"},
		"two are cut":          {[][][]byte{lines[:3], lines[5:8], lines[12:]}, "entry 4 of " + writer + " is dropped"},
		"it begins late":       {[][][]byte{lines[4:8], lines[8:]}, ""},
		"parts overlap":        {[][][]byte{lines[4:12], lines[6:9], lines[12:]}, ""},
		"the end is elsewhere": {[][][]byte{lines[:10], anew[10:]}, "entry 11 of " + writer + " is unlinked"},
	} {
		r, err := Verify(VerifyOptions{Pruned: true}, export(c.parts...))
		if err != nil {
			t.Fatal(err)
		}
		if c.want == "" && !r.OK() || c.want != "" && (r.OK() || !strings.Contains(r.Problems[0].String(), c.want)) {
			t.Errorf("%s: want %q\n%s", name, c.want, r.Text())
		}
	}
}

// anew writes a chain anew from entry i on, with the key, and another entry there.
func (r *editor) anew(i int) [][]byte {
	lines := slices.Clone(r.lines)
	prev := r.parsed(i - 1).Prev
	for j := i - 1; j < len(lines); j++ {
		e := r.parsed(j)
		if j == i-1 {
			e.Reason += "!"
		}
		e = e.sealed(e.Writer, e.Sequence, e.At, prev, r.stolen)
		prev, lines[j] = e.Hash, e.Line()
	}
	return lines
}
