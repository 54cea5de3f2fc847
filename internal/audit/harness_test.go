package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// warnings collects what a log warns of.
type warnings struct {
	mu   sync.Mutex
	text []string
}

func (w *warnings) add(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, text)
}

func (w *warnings) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.text, "\n")
}

// open opens a log in dir, to be closed with the test.
func open(t testing.TB, o Options) *Log {
	t.Helper()
	if o.Name == "" {
		o.Name = "control-1"
	}
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, l) })
	return l
}

func shut(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func sample(id string) Entry {
	return Entry{
		ID: id, Kind: KindKill, Actor: Actor{Name: "alice", How: "token", Address: "10.0.0.9"}, Target: "shop/fraud/v2",
		Reason: "wrong scores", Before: []byte(`{"v2": 100}`), After: []byte(`{"v2": 0}`), Generation: 7,
	}
}

// add appends samples with the IDs id-FROM to id-TO.
func add(t testing.TB, l *Log, id string, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if _, err := l.Append(t.Context(), sample(fmt.Sprintf("%s-%d", id, i))); err != nil {
			t.Fatal(err)
		}
	}
}

// linesOf are the lines of all segments of a log's present chain.
func linesOf(t testing.TB, l *Log) [][]byte {
	t.Helper()
	end, _ := l.position()
	var out bytes.Buffer
	if err := exportSegments(&out, l.dirOf(end.writer)); err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSuffix(out.Bytes(), []byte("\n")), []byte("\n"))
}

// entriesIn reads the entries of the lines.
func entriesIn(t testing.TB, lines [][]byte) []Entry {
	t.Helper()
	var out []Entry
	for i, line := range lines {
		e, err := Parse(line)
		if err != nil {
			t.Fatalf("line %d: %v: %s", i+1, err, line)
		}
		out = append(out, e)
	}
	return out
}

// sound verifies a folder.
func sound(t testing.TB, dir string) *Report {
	t.Helper()
	r, err := Verify(VerifyOptions{}, Folder(dir))
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() {
		t.Fatalf("%s", r.Text())
	}
	return r
}

// copyFolder copies a log's folder.
func copyFolder(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	limit := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(limit) {
			t.Fatalf("never: %s", what)
		}
		wait := time.NewTimer(2 * time.Millisecond)
		<-wait.C
	}
}

// keeper is an anchor for tests.
type keeper struct {
	mu    sync.Mutex
	heads []Witness
	fail  bool
	hang  chan struct{} // not nil: Keep waits for it, or for its context
}

func (k *keeper) String() string { return "the test's anchor" }

func (k *keeper) Keep(ctx context.Context, head Witness) error {
	if k.hang != nil {
		select {
		case <-k.hang:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail {
		return errors.New("the anchor is away")
	}
	k.heads = append(k.heads, head)
	return nil
}

func (k *keeper) kept() []Witness {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]Witness(nil), k.heads...)
}

func publicKey(l *Log) ed25519.PublicKey { return publicOf(l.key) }
