package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestChainGoesOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "audit")
	l := open(t, Options{Dir: dir, About: []byte(`{"version": "1.2.3"}`), SegmentBytes: 4000})
	add(t, l, "a", 1, 20)
	shut(t, l)
	l = open(t, Options{Dir: dir, SegmentBytes: 4000})
	add(t, l, "b", 1, 5)

	entries := entriesIn(t, linesOf(t, l))
	if len(entries) != 27 {
		t.Fatalf("%d entries, want 2 starts and 25", len(entries))
	}
	for i, e := range entries {
		if e.Sequence != uint64(i+1) || i > 0 && (e.Prev != entries[i-1].Hash || e.At.Before(entries[i-1].At)) {
			t.Errorf("entry %d: sequence %d, prev %s", i+1, e.Sequence, e.Prev)
		}
	}
	if e := entries[0]; e.Kind != KindStart || string(e.After) != `{"version":"1.2.3"}` || keyOf(&e) == nil {
		t.Errorf("start: %s", e.Line())
	}
	if e := entries[1]; e.Kind != KindKill || string(e.Before) != `{"v2":100}` || e.Outcome != OutcomeDone || e.Generation != 7 {
		t.Errorf("first: %s", e.Line())
	}
	end, _ := l.position()
	segments, err := segmentsOf(l.dirOf(end.writer))
	if err != nil || len(segments) < 4 {
		t.Errorf("segments: %v, %v", segments, err)
	}
	if r := sound(t, dir); r.Chains[0].Last != 27 {
		t.Errorf("%s", r.Text())
	}
	info, err := os.Stat(filepath.Join(dir, keyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info.Mode(), err)
	}
	if k, err := ReadPublicKey(filepath.Join(dir, publicFile)); err != nil || !k.Equal(publicKey(l)) {
		t.Errorf("the public key: %v", err)
	}
}

func TestSameIDIsOnce(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir, SegmentBytes: 4000})
	add(t, l, "a", 1, 20)
	first, err := l.Append(t.Context(), sample("x"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		add(t, l, "b", 1, 20)
		again := sample("x")
		again.Reason = "told otherwise"
		got, err := l.Append(t.Context(), again)
		if err != nil || got.Sequence != first.Sequence || got.Reason != first.Reason || got.Hash != first.Hash {
			t.Errorf("again: %s, %v", got.Line(), err)
		}
		shut(t, l)
		l = open(t, Options{Dir: dir, SegmentBytes: 4000})
	}
	if n := countID(t, l, "x"); n != 1 {
		t.Errorf("%d entries x", n)
	}
	a, errA := l.Append(t.Context(), sample(""))
	b, errB := l.Append(t.Context(), sample(""))
	if errA != nil || errB != nil || a.ID == b.ID || a.Sequence == b.Sequence {
		t.Errorf("without an ID: %s %s %v %v", a.ID, b.ID, errA, errB)
	}
}

func countID(t *testing.T, l *Log, id string) (n int) {
	for _, e := range entriesIn(t, linesOf(t, l)) {
		if e.ID == id {
			n++
		}
	}
	return n
}

func TestConcurrentAppends(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir, SegmentBytes: 20_000, HeadEvery: 10})
	var group sync.WaitGroup
	var mu sync.Mutex
	got := map[string]uint64{}
	for w := range 16 {
		group.Go(func() {
			for i := range 25 {
				id := fmt.Sprintf("%d", w%8*25+i) // each ID twice
				e, err := l.Append(t.Context(), sample(id))
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				if s, ok := got[id]; ok && s != e.Sequence {
					t.Errorf("%s is entry %d and %d", id, s, e.Sequence)
				}
				got[id] = e.Sequence
				mu.Unlock()
				if i%10 == 0 {
					_ = l.Head()
					if _, err := l.List(t.Context(), Filter{Limit: 5}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
	for id, sequence := range got {
		if n := countID(t, l, id); n != 1 {
			t.Fatalf("%s is there %d times (entry %d)", id, n, sequence)
		}
	}
	if s := l.Status(); s.Sequence != 201 || len(got) != 200 {
		t.Errorf("%d entries of %d IDs", s.Sequence, len(got))
	}
	sound(t, dir)
}

func TestRefusedEntries(t *testing.T) {
	l := open(t, Options{Dir: t.TempDir()})
	for want, change := range map[string]func(*Entry){
		`no kind "nonsense`:  func(e *Entry) { e.Kind = "nonsense\x1b" },
		"the log's own":      func(e *Entry) { e.Kind = KindJoin },
		"an ID of 201 bytes": func(e *Entry) { e.ID = strings.Repeat("x", 201) },
		"a text that prints": func(e *Entry) { e.ID = "a\u202eb" },
		"who did it":         func(e *Entry) { e.Actor.Name = "" },
		"no outcome":         func(e *Entry) { e.Outcome = "fine" },
	} {
		e := sample("x")
		change(&e)
		if _, err := l.Append(t.Context(), e); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if s := l.Status(); s.Sequence != 1 {
		t.Errorf("%d entries", s.Sequence)
	}
	shut(t, l)
	if _, err := l.Append(t.Context(), sample("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestOneProcessAFolder(t *testing.T) {
	dir := t.TempDir()
	open(t, Options{Dir: dir})
	_, err := Open(Options{Dir: dir, Name: "control-2"})
	if err == nil || !strings.Contains(err.Error(), "in use by another process (pid ") {
		t.Error(err)
	}
	for _, name := range []string{"", "a b", "../x", ".x", "a~b", strings.Repeat("x", 64)} {
		if _, err := Open(Options{Dir: t.TempDir(), Name: name}); err == nil {
			t.Errorf("a replica called %q", name)
		}
	}
}

// TestTornEndIsCut cuts a chain at every byte of its last two lines, as a crash
// may.
func TestTornEndIsCut(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir})
	add(t, l, "a", 1, 3)
	lines := linesOf(t, l)
	shut(t, l)
	end, _ := l.position()
	// The head that Close signs knows of all entries; a crash has none.
	if err := os.Remove(filepath.Join(l.dirOf(end.writer), headFile)); err != nil {
		t.Fatal(err)
	}
	whole := append(bytes.Join(lines, []byte("\n")), '\n')
	fresh := len(whole) - len(lines[2]) - len(lines[3]) - 2
	for size := fresh; size <= len(whole); size += 7 {
		crashed := copyFolder(t, dir)
		segment := filepath.Join(crashed, end.writer.String(), segmentName(1))
		if err := os.Truncate(segment, int64(size)); err != nil {
			t.Fatal(err)
		}
		var said warnings
		l := open(t, Options{Dir: crashed, Warn: said.add})
		entries := entriesIn(t, linesOf(t, l))
		kept := bytes.Count(whole[:size], []byte("\n"))
		torn := whole[size-1] != '\n'
		if len(entries) != kept+1+map[bool]int{true: 1}[torn] || entries[kept].Kind != KindStart {
			t.Fatalf("cut at %d: %d entries of %d", size, len(entries), kept)
		}
		if cut := entries[len(entries)-1]; torn && (cut.Kind != KindCut || !strings.Contains(said.String(), "unfinished")) {
			t.Errorf("cut at %d: the last entry is %s, and said was %q", size, cut.Line(), &said)
		}
		add(t, l, "b", 1, 1)
		sound(t, crashed)
		shut(t, l)
	}
}

// TestDamagedChainIsLeft damages chains, and sees a new one begin.
func TestDamagedChainIsLeft(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir, SegmentBytes: 3000})
	add(t, l, "a", 1, 12)
	shut(t, l)
	writer := l.Status().Writer
	segments, err := segmentsOf(filepath.Join(dir, writer))
	if err != nil || len(segments) < 3 {
		t.Fatal(segments, err)
	}
	edit := func(name string, change func([]byte) []byte) func(string) {
		return func(dir string) {
			path := filepath.Join(dir, writer, name)
			text, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path, change(text), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		damage func(dir string)
		want   string
	}{
		"a changed entry": {edit(segments[0], func(b []byte) []byte {
			return bytes.Replace(b, []byte("wrong"), []byte("right"), 1)
		}), "entry 2 of " + writer + " is changed: its hash is not that of its content (" + segments[0] + ":2)"},
		"a segment that is gone": {func(dir string) {
			_ = os.Remove(filepath.Join(dir, writer, segments[1]))
		}, "is dropped"},
		"a last line that is cut": {edit(segments[len(segments)-1], func(b []byte) []byte {
			return b[:len(b)-20]
		}), "entry 13 of " + writer + " is truncated: the chain ends before it, and its head file knows of entry 13"},
		"a first segment without its end": {edit(segments[0], func(b []byte) []byte { return b[:len(b)-1] }), "is changed"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyFolder(t, dir)
			c.damage(dir)
			before, err := os.ReadFile(filepath.Join(dir, writer, segments[0]))
			if err != nil {
				t.Fatal(err)
			}
			var said warnings
			l := open(t, Options{Dir: dir, Warn: said.add})
			add(t, l, "b", 1, 1)
			entries := entriesIn(t, linesOf(t, l))
			if len(entries) != 3 || entries[0].Kind != KindStart || entries[1].Kind != KindBreak || entries[1].Target != writer {
				t.Fatalf("the new chain: %+v", entries)
			}
			if e := entries[2]; e.Writer != writer+".2" || l.Status().Writer != e.Writer {
				t.Errorf("goes on as %s", e.Writer)
			}
			for _, text := range []string{entries[1].Reason, said.String(), l.Status().Damage} {
				if !strings.Contains(text, c.want) {
					t.Errorf("told: %s\nwant: %s", text, c.want)
				}
			}
			shut(t, l)
			l = open(t, Options{Dir: dir, Warn: said.add}) // goes on with the new one
			add(t, l, "c", 1, 1)
			if s := l.Status(); s.Sequence != 5 || s.Writer != writer+".2" {
				t.Errorf("opened again: %+v", s)
			}
			r, err := Verify(VerifyOptions{}, Folder(dir))
			if err != nil || len(r.Problems) != 1 || !strings.Contains(r.Problems[0].String(), strings.Split(strings.Split(c.want, ":")[0], "(")[0]) {
				t.Errorf("%v\n%s", err, r.Text())
			}
			if after, err := os.ReadFile(filepath.Join(dir, writer, segments[0])); err != nil || !bytes.Equal(before, after) {
				t.Error("the old files were changed")
			}
		})
	}
}

func TestLostKeyBeginsAChain(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir})
	shut(t, l)
	old := l.Status().Writer
	for _, name := range []string{keyFile, publicFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	l = open(t, Options{Dir: dir})
	entries := entriesIn(t, linesOf(t, l))
	if len(entries) != 2 || entries[1].Kind != KindBreak || entries[1].Target != old || entries[1].Writer == old {
		t.Errorf("%+v", entries)
	}
	sound(t, dir)
	shut(t, l)
	if err := os.WriteFile(filepath.Join(dir, keyFile), []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir, Name: "control-1"}); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Error(err)
	}
}

func TestEndedContext(t *testing.T) {
	l := open(t, Options{Dir: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 { // either way, the error says which
		_, err := l.Append(ctx, sample("x"))
		there := countID(t, l, "x") == 1
		if err == nil != there && errors.Is(err, ErrNotWritten) == there {
			t.Fatalf("there: %v, %v", there, err)
		}
	}
	if _, err := l.Append(t.Context(), sample("x")); err != nil || countID(t, l, "x") != 1 {
		t.Error(err)
	}
}

func TestKindsAreTold(t *testing.T) {
	for kind := range kinds {
		if len(kind) > 32 || strings.ContainsFunc(string(kind), func(r rune) bool { return r != '-' && (r < 'a' || r > 'z') }) {
			t.Errorf("%q is no word that Parse takes", kind)
		}
	}
	if slices.ContainsFunc([]Kind{"", "Kill", "other"}, Kind.Known) {
		t.Error("kinds that are none")
	}
}

// TestClockThatGoesBack has times that never do, nor the hashes of two entries.
func TestClockThatGoesBack(t *testing.T) {
	l := open(t, Options{Dir: t.TempDir()})
	add(t, l, "a", 1, 1)
	e, err := sample("b").prepared()
	if err != nil {
		t.Fatal(err)
	}
	at := l.chain.at // the writing goroutine has nothing to do
	written, err := l.chain.write([]Entry{e}, at.Add(-time.Hour))
	if err != nil || !written[0].At.Equal(at) {
		t.Errorf("%v, written after %v, %v", written[0].At, at, err)
	}
	// It is in the file and was not acknowledged: it is not listed either.
	list, err := l.List(t.Context(), Filter{})
	if err != nil || len(list.Entries) != 2 || list.Entries[0].ID != "a-1" {
		t.Errorf("%+v, %v", list, err)
	}
}
