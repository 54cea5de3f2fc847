package access

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/internal/certtest"
)

// open writes an access file into dir and opens it.
func open(t *testing.T, dir, text string, o Options) *Gate {
	t.Helper()
	path := filepath.Join(dir, "access.yaml")
	write(t, path, text)
	g, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// asks returns who the gate takes a bearer for; empty: nobody.
func asks(t *testing.T, g *Gate, token string) string {
	t.Helper()
	r := httptest.NewRequest("GET", "/v1/status", nil)
	r.RemoteAddr = "10.0.0.5:1"
	r.Header.Set("Authorization", "Bearer "+token)
	p, _ := g.Authenticate(r)
	return p.ID
}

// hearing collects what is told.
type hearing struct {
	mu   sync.Mutex
	said []string
}

func (h *hearing) told(text string, bad bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if bad {
		text = "bad: " + text
	}
	h.said = append(h.said, text)
}

func (h *hearing) take() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := strings.Join(h.said, "|")
	h.said = nil
	return out
}

func TestReload(t *testing.T) {
	dir, h := t.TempDir(), &hearing{}
	path := filepath.Join(dir, "access.yaml")
	alice := "tokens:\n- {name: alice, sha256: " + digestOf(t, aliceToken) + "}\n"
	bob := "tokens:\n- {name: bob, sha256: " + digestOf(t, bobToken) + "}\n"
	g := open(t, dir, alice, Options{Told: h.told})
	step := func(name string, change func(), told, first, second string, bad bool) {
		t.Helper()
		change()
		g.Reload()
		if got := h.take(); got != "" {
			t.Errorf("%s: told at once, it may be half written: %q", name, got)
		}
		g.Reload()
		if got := h.take(); !strings.Contains(got, told) || told == "" && got != "" {
			t.Errorf("%s: told %q, want %q", name, got, told)
		}
		g.Reload()
		if got := h.take(); got != "" {
			t.Errorf("%s: told again: %q", name, got)
		}
		if a, b := asks(t, g, aliceToken), asks(t, g, bobToken); a != first || b != second {
			t.Errorf("%s: %q and %q", name, a, b)
		}
		if (g.Problem() != nil) != bad {
			t.Errorf("%s: problem %v", name, g.Problem())
		}
	}
	nothing := func() {}
	step("as opened", nothing, "", "token:alice", "", false)
	step("broken", func() { write(t, path, bob+"x: 1\n") }, "bad: the access file is not used as it is now, the last good one stays: "+path+":3: x: is no field", "token:alice", "", true)
	step("another mistake", func() { write(t, path, "tokens: x") }, "want a list", "token:alice", "", true)
	step("gone", func() { _ = os.Remove(path) }, "no such file", "token:alice", "", true)
	step("as before", func() { write(t, path, alice) }, "is used", "token:alice", "", false)
	step("writable by others", func() { write(t, path, bob); _ = os.Chmod(path, 0o666) }, "may be written by others", "token:alice", "", true)
	step("mended", func() { _ = os.Chmod(path, 0o600) }, "is used", "", "token:bob", false)
	step("empty", func() { write(t, path, " \n") }, "is empty", "", "token:bob", true)
	step("nobody", func() { write(t, path, "# nobody may\n") }, "is used", "", "", false)
}

func TestAFileBesideIsReloaded(t *testing.T) {
	dir, h := t.TempDir(), &hearing{}
	first, second := certtest.New(t, "authority"), certtest.New(t, "authority")
	write(t, filepath.Join(dir, "ca.pem"), string(first.PEM))
	g := open(t, dir, "clientCA: ca.pem\ncertificates:\n- {name: c, email: ann@example.org}\n", Options{Told: h.told})
	knows := func(a *certtest.Authority) bool {
		der, _ := issue(t, a, holder{email: "ann@example.org"})
		_, err := g.current.Load().authenticate(t.Context(), Credentials{Certificates: parsed(t, der)})
		return err == nil
	}
	if !knows(first) || knows(second) {
		t.Fatal("not the authority of the file")
	}
	write(t, filepath.Join(dir, "ca.pem"), string(second.PEM))
	g.Reload()
	g.Reload()
	if knows(first) || !knows(second) {
		t.Error("still the old authority")
	}
	write(t, filepath.Join(dir, "ca.pem"), "x")
	g.Reload()
	g.Reload()
	if !knows(second) || !strings.Contains(h.take(), "no certificate in PEM") {
		t.Error("the last good authority is gone")
	}
}

// A file that is being written says for a moment that a revive takes nobody else, and
// never counts.
func TestAHalfWrittenFileIsNotUsed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "access.yaml")
	half := "tokens:\n- {name: alice, sha256: " + digestOf(t, aliceToken) + "}\n"
	text := half + "revive:\n- {approvals: 1, models: [\"*\"]}\n"
	g := open(t, dir, text, Options{})
	for _, now := range []string{half, text + "# one\n", half + "#\n", "", text} {
		write(t, path, now)
		g.Reload()
		if g.Approvals(Everything()) != 1 || asks(t, g, aliceToken) != "token:alice" {
			t.Fatalf("a file that was read once is used: %q", now)
		}
	}
}

func TestRunFollowsTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "access.yaml")
	synctest.Test(t, func(t *testing.T) {
		h := &hearing{}
		g := open(t, dir, "# nobody", Options{Told: h.told})
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { g.Run(ctx) })
		synctest.Wait()
		write(t, path, "tokens:\n- {name: alice, sha256: "+digestOf(t, aliceToken)+"}\n")
		time.Sleep(2 * recheck) // of the bubble
		synctest.Wait()
		if asks(t, g, aliceToken) != "token:alice" {
			t.Errorf("not followed: %q", h.take())
		}
		stop()
		running.Wait()
	})
}

func TestWhoAsksWhileTheFileChanges(t *testing.T) {
	dir := t.TempDir()
	text := "tokens:\n- {name: alice, sha256: " + digestOf(t, aliceToken) + "}\n"
	g := open(t, dir, text, Options{})
	var asking sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if asks(t, g, aliceToken) != "token:alice" {
					t.Error("alice is nobody")
					return
				}
			}
		})
	}
	for i := range 50 {
		// As tools do it: a reader sees the old file or the new one.
		next := filepath.Join(dir, "next")
		write(t, next, text+strings.Repeat("#", i+1)+"\n")
		if err := os.Rename(next, filepath.Join(dir, "access.yaml")); err != nil {
			t.Fatal(err)
		}
		g.Reload()
	}
	close(stop)
	asking.Wait()
}
