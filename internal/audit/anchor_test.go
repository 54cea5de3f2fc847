package audit

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestHeadsAreSigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{}
		l := open(t, Options{Dir: t.TempDir(), HeadEvery: 10, Anchors: []Anchor{k}})
		settle(9 * time.Second)
		if len(k.kept()) != 0 {
			t.Error("a head before its time")
		}
		settle(2 * time.Second)
		add(t, l, "a", 1, 25)
		synctest.Wait()
		heads := k.kept()
		if n := len(heads); n < 2 || heads[0].Head.Sequence != 1 || heads[n-1].Head.Sequence < 11 {
			t.Fatalf("%+v", heads)
		}
		settle(time.Hour)
		heads = k.kept()
		if last := heads[len(heads)-1]; last.Head.Sequence != 26 || last.check() != nil {
			t.Errorf("%+v", last)
		}
		add(t, l, "b", 1, 1)
		shut(t, l)
		heads = append(k.kept()[len(heads):], l.Head())
		if len(heads) != 2 || heads[0].Head.Sequence != 27 || heads[1].Head.Hash != heads[0].Head.Hash {
			t.Errorf("closed: %+v", heads)
		}
		if s := l.Status().Anchors[0]; s.Sequence != 27 || s.Error != "" || s.Anchor != "the test's anchor" {
			t.Errorf("%+v", s)
		}
		for _, h := range heads {
			if w, err := ParseWitness(h.Line()); err != nil || w.Head.Hash != h.Head.Hash {
				t.Error(err)
			}
		}
	})
}

// TestAnchorsHoldUpNobody has one that fails, one that hangs and one that works.
func TestAnchorsHoldUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		works, fails, hangs := &keeper{}, &keeper{fail: true}, &keeper{hang: make(chan struct{})}
		var said warnings
		l := open(t, Options{Dir: t.TempDir(), HeadEvery: 1, Anchors: []Anchor{fails, hangs, works}, Warn: said.add})
		begun := time.Now()
		add(t, l, "a", 1, 50)
		if took := time.Since(begun); took > 0 {
			t.Errorf("appending waited %v of the test's time", took)
		}
		settle(time.Second)
		if h := works.kept(); len(h) == 0 || h[len(h)-1].Head.Sequence != 51 {
			t.Errorf("%+v", h)
		}
		settle(5 * time.Minute)
		if n := strings.Count(said.String(), "does not keep the signed head"); n != 2 {
			t.Errorf("said %d times:\n%s", n, &said)
		}
		if s := l.Status().Anchors; s[0].Error == "" || s[1].Error == "" || s[2].Error != "" {
			t.Errorf("%+v", s)
		}
		fails.mu.Lock()
		fails.fail = false
		fails.mu.Unlock()
		add(t, l, "b", 1, 1)
		settle(time.Minute)
		if h := fails.kept(); len(h) == 0 || h[len(h)-1].Head.Sequence != 52 {
			t.Errorf("the newest head is kept once the anchor is back: %+v", h)
		}
		add(t, l, "c", 1, 1)
		begun = time.Now()
		shut(t, l)
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("closing took %v", took)
		}
		close(hangs.hang)
	})
}

func TestFileAnchor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heads.jsonl")
	l := written(t, "control-1", 5, Options{HeadEvery: 1, Anchors: []Anchor{FileAnchor{path}}})
	shut(t, l)
	if r, err := Verify(VerifyOptions{}, Folder(l.o.Dir), Path(path)); err != nil || !r.OK() || r.Chains[0].Witnessed != 6 {
		t.Errorf("%v\n%s", err, r.Text())
	}
	if err := os.RemoveAll(filepath.Join(l.o.Dir, l.Status().Writer)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(l.o.Dir, l.Status().Writer), 0o700); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(VerifyOptions{}, Folder(l.o.Dir), Path(path))
	if err != nil || r.OK() || r.Problems[0].Fault != Truncated || r.Problems[0].Sequence != 1 {
		t.Errorf("%v\n%s", err, r.Text())
	}
	if err := (FileAnchor{filepath.Join(path, "below")}).Keep(t.Context(), l.Head()); err == nil {
		t.Error("a file that cannot be")
	}
}

// An error names no address: its path may be all that keeps others out.
func TestAnchorErrorsHaveNoSecrets(t *testing.T) {
	head := written(t, "control-1", 1, Options{}).Head()
	for _, address := range []string{"http://127.0.0.1:1/hook/SECRET", "http://user:SECRET@127.0.0.1:1/x", "http://127.0.0.1:1/SECRET\x7f"} {
		if err := (WebhookAnchor{URL: address}).Keep(t.Context(), head); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%v", err)
		}
	}
}

// stuck is an anchor that heeds nothing, as a file of another machine that is gone.
type stuck struct{ back chan struct{} }

func (stuck) String() string { return "a disk that hangs" }

func (s stuck) Keep(context.Context, Witness) error {
	<-s.back
	return nil
}

// A log whose anchor hangs is closed all the same.
func TestAStuckAnchorHoldsUpNoEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := stuck{make(chan struct{})}
		l := open(t, Options{Dir: t.TempDir(), HeadEvery: 1, Anchors: []Anchor{a}})
		add(t, l, "a", 1, 3)
		settle(time.Minute)
		if s := l.Status().Anchors[0]; !strings.Contains(s.Error, "does not answer") {
			t.Errorf("%+v", s)
		}
		begun := time.Now()
		shut(t, l)
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("the end took %s", took)
		}
		close(a.back)
	})
}

func TestWebhookAnchor(t *testing.T) {
	var mu sync.Mutex
	var got [][]byte
	status := []int{http.StatusServiceUnavailable, http.StatusFound, http.StatusNoContent}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Authorization") != "Bearer x" {
			t.Errorf("%s %v %v", r.Method, r.Header, err)
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, body)
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status[min(len(got)-1, 2)])
	}))
	defer server.Close()
	a := WebhookAnchor{URL: server.URL + "/secret", Authorization: "Bearer x"}
	if s := a.String(); strings.Contains(s, "secret") || !strings.Contains(s, "127.0.0.1") {
		t.Error(s)
	}
	l := open(t, Options{Dir: t.TempDir(), Anchors: []Anchor{a}, HeadEvery: 1})
	add(t, l, "a", 1, 1)
	eventually(t, "the head is kept", func() bool { return l.Status().Anchors[0].Sequence == 2 })
	mu.Lock()
	defer mu.Unlock()
	last := got[len(got)-1]
	if w, err := ParseWitness(last); err != nil || w.Head.Sequence != 2 || !bytes.Equal(w.Key, publicKey(l)) || len(got) < 3 {
		t.Errorf("%d requests, the last %s: %v", len(got), last, err)
	}
}
