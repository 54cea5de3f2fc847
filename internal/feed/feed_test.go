package feed

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/signing"
)

func keyOf(t testing.TB, b byte) signing.Public {
	t.Helper()
	key, err := signing.FromSeed(bytes.Repeat([]byte{b}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key.Public()
}

// TestTold: a host enforces what it is told, at once, and the control plane knows
// that it does.
func TestTold(t *testing.T) {
	p := startPlane(t)
	h := startHost(t, "", p.address)
	version := p.kills()
	p.proof(version, "proven")
	if !h.enforced.Known() {
		t.Error("it was told that nothing is killed, and does not know it")
	}
	version = p.say(textOfStates(t, state(fraud, 1, true)), KeysText([]signing.Public{keyOf(t, 1), keyOf(t, 2)}))
	p.proof(version, "proven")
	h.enforces("model/default/fraud 1!;")
	if ids := h.keys.Current().IDs(); len(ids) != 2 {
		t.Errorf("it trusts %v", ids)
	}
	version = p.say(textOfStates(t, state(fraud, 2, false)), "")
	p.proof(version, "proven")
	h.enforces("model/default/fraud 2;")
	if ids := h.keys.Current().IDs(); len(ids) != 0 {
		t.Errorf("nobody signs any more, and it trusts %v", ids)
	}
}

// TestUnchanged: who follows what is in force is not woken by the same word again.
func TestUnchanged(t *testing.T) {
	e, err := OpenEnforced("", nil)
	if err != nil {
		t.Fatal(err)
	}
	word := textOfStates(t, state(fraud, 1, true))
	for range 2 {
		if err := e.Take(word); err != nil {
			t.Fatal(err)
		}
	}
	_, changed := e.Live().Load()
	if err := e.Take(word); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
		t.Error("it is in force anew")
	default:
	}
}

// TestUnreadable: what cannot be read is refused in words, and what was in force
// stays; the keys that came with it are taken.
func TestUnreadable(t *testing.T) {
	good := state(fraud, 1, true)
	for name, word := range map[string]string{
		"no JSON":           "kill them all",
		"nothing":           "",
		"another thing":     `{"killed": true}`,
		"a mode of tomorow": strings.Replace(textOfStates(t, state(fraud, 2, true)), "degrade", "explode", 1),
		"a scope":           strings.Replace(textOfStates(t, state(fraud, 2, true)), `"model"`, `"galaxy"`, 1),
		"half of it":        textOfStates(t, state(fraud, 2, true))[:20],
	} {
		t.Run(name, func(t *testing.T) {
			p := startPlane(t)
			h := startHost(t, "", p.address)
			p.proof(p.kills(good), "proven")
			version := p.say(word, KeysText([]signing.Public{keyOf(t, 1)}))
			until(t, "refused", func() string {
				for _, m := range p.xds.ProcessorProof(version).Missing {
					if strings.Contains(m.Message, "safestate.kills: the set of kills cannot be read, and the one before stays in force: ") {
						return string(m.Reason)
					}
				}
				return "nobody is missing"
			})
			h.enforces("model/default/fraud 1!;")
			if len(h.keys.Current().IDs()) != 1 {
				t.Error("the key was not taken")
			}
			p.proof(p.kills(state(fraud, 3, true)), "proven")
			h.enforces("model/default/fraud 3!;")
		})
	}
}

// TestUnreadableKeys is that for keys.
func TestUnreadableKeys(t *testing.T) {
	p := startPlane(t)
	h := startHost(t, "", p.address)
	p.proof(p.say(textOfStates(t), KeysText([]signing.Public{keyOf(t, 1)})), "proven")
	version := p.say(textOfStates(t, state(fraud, 1, true)), "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n")
	p.proof(version, "refused: safestate.policy-keys: the keys of policies cannot be read, and those before are trusted still: there is a PEM block \"PRIVATE KEY\": want PUBLIC KEY blocks alone")
	h.enforces("model/default/fraud 1!;")
	if len(h.keys.Current().IDs()) != 1 {
		t.Errorf("it trusts %v", h.keys.Current().IDs())
	}
}

// TestSetBack: a control plane that has lost what it knew is told so, for each target,
// and gives nothing back by that; what it stops is stopped.
func TestSetBack(t *testing.T) {
	first := startPlane(t)
	second := startPlane(t)
	h := startHost(t, "", first.address)
	first.proof(first.kills(state(fraud, 5, true), state(rank, 2, false)), "proven")
	h.end()

	dir := t.TempDir()
	e, err := OpenEnforced(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Take(textOfStates(t, state(fraud, 5, true), state(rank, 2, false))); err != nil {
		t.Fatal(err)
	}
	e.Close()
	h = startHost(t, dir, second.address)
	version := second.kills(state(fraud, 4, false), state(rank, 3, true), state(kill.Everything, 1, true))
	second.proof(version, "refused: safestate.kills: older than what is in force here: model default/fraud is at generation 5 (killed, degrade), and this says 4 (not killed)")
	h.enforces("all 1!;model/default/fraud 5!;model/default/rank 3!;")
	version = second.kills(state(kill.Everything, 2, false))
	second.proof(version, "refused: safestate.kills: older than what is in force here: model default/fraud is at generation 5 (killed, degrade), and this says 0 (never killed); and so are 1 more")
	h.enforces("all 2;model/default/fraud 5!;model/default/rank 3!;")

	// It catches up by a kill and a revive.
	second.proof(second.kills(state(kill.Everything, 2, false), state(fraud, 6, false), state(rank, 3, true)), "proven")
	h.enforces("all 2;model/default/fraud 6;model/default/rank 3!;")
}

// TestControlPlaneAway: what was in force stays while there is none, and after a
// restart of the host; the next one there is is found.
func TestControlPlaneAway(t *testing.T) {
	dir := t.TempDir()
	first, second := startPlane(t), startPlane(t)
	h := startHost(t, dir, first.address)
	first.proof(first.say(textOfStates(t, state(fraud, 1, true)), KeysText([]signing.Public{keyOf(t, 1)})), "proven")
	first.stop()
	h.link("rpc error")
	h.enforces("model/default/fraud 1!;")
	h.end()
	for _, name := range []string{EnforcedFile, TrustedFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}

	h = startHost(t, dir, first.address)
	if !h.enforced.Known() || inForce(h.enforced) != "model/default/fraud 1!;" || len(h.keys.Current().IDs()) != 1 {
		t.Errorf("after a restart %s is in force, and %v are trusted", inForce(h.enforced), h.keys.Current().IDs())
	}
	h.link("rpc error")
	h.end()

	h = startHost(t, dir, first.address, second.address)
	second.proof(second.kills(state(fraud, 2, false)), "proven")
	h.enforces("model/default/fraud 2;")
	h.link("")
}

// TestFileThatCannotBeRead is no start without kills.
func TestFileThatCannotBeRead(t *testing.T) {
	for name, text := range map[string]string{EnforcedFile: `[{"target": {"scope": "model"`, TrustedFile: "no keys"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := OpenEnforced(dir, nil)
		if name == TrustedFile {
			_, err = OpenTrusted(dir, &signing.Keys{}, "test", nil)
		}
		if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, name)) || !strings.Contains(err.Error(), "move it away") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFileThatCannotBeWritten: what is in force does not depend on it, it is told
// once, and made up for.
func TestFileThatCannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "away")
	var problems []error
	e, err := OpenEnforced(dir, func(err error) { problems = append(problems, err) })
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for generation := range uint64(3) {
		if err := e.Take(textOfStates(t, state(fraud, 1+generation, true))); err != nil {
			t.Fatal(err)
		}
	}
	if inForce(e) != "model/default/fraud 3!;" || len(problems) != 1 || e.Unsaved() == nil {
		t.Errorf("in force %s, told %v, unsaved %v", inForce(e), problems, e.Unsaved())
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	until(t, "saved", func() string {
		if e.Unsaved() == nil {
			return "saved"
		}
		return e.Unsaved().Error()
	})
	again, err := OpenEnforced(dir, nil)
	if err != nil || inForce(again) != "model/default/fraud 3!;" {
		t.Errorf("%s was saved, %v", inForce(again), err)
	}
}

// TestGoodBye: a host that ends is not expected any more; one that breaks off is.
func TestGoodBye(t *testing.T) {
	p := startPlane(t)
	h := startHost(t, "", p.address)
	version := p.kills(state(fraud, 1, true))
	p.proof(version, "proven")
	h.end()
	until(t, "0", func() string { return fmt.Sprint(p.xds.ProcessorProof(version).Expected) })
	if _, said := p.xds.Departed()[Node("", "one")]; !said {
		t.Errorf("departed are %v", p.xds.Departed())
	}
	startHost(t, "", p.address)
	p.proof(version, "proven")
	p.grpc.Stop() // every connection breaks
	version = p.kills(state(fraud, 2, true))
	p.proof(version, "silent: ")
}

func TestNode(t *testing.T) {
	for _, x := range []struct{ below, replica, node string }{
		{"", "host-1", "safestate-extproc/host-1"},
		{"spiffe://mesh/host", "host-1", "spiffe://mesh/host/safestate-extproc/host-1"},
		{"", "a/b", "safestate-extproc/a/b"},
	} {
		node := Node(x.below, x.replica)
		name, ok := Replica(node)
		if node != x.node || name != x.replica || !ok {
			t.Errorf("%q of %q: %q, %q", x.replica, x.below, node, name)
		}
	}
	if n := len(Node("a", strings.Repeat("x", 500))); n != maxNode {
		t.Errorf("a node id of %d bytes", n)
	}
	for _, node := range []string{"proxy", "not-safestate-extproc/x", ""} {
		if _, ok := Replica(node); ok {
			t.Errorf("%q is a processor", node)
		}
	}
}

func TestPause(t *testing.T) {
	for failures, longest := range map[int]time.Duration{0: base, 1: 2 * base, 5: 32 * base, 6: most, 1000: most} {
		if shortest, got := pause(failures, 0), pause(failures, 1); shortest != 0 || got != longest {
			t.Errorf("after %d failures: %s to %s, want 0 to %s", failures, shortest, got, longest)
		}
	}
}

// FuzzWord: no word panics, takes a generation back or gives anything back by an
// older or an equal one.
func FuzzWord(f *testing.F) {
	f.Add(textOfStates(f, state(fraud, 1, true)))
	f.Add(textOfStates(f, state(fraud, 4, false), state(kill.Everything, 1, true)))
	f.Add(`[{"target":{"scope":"model","name":"default/fraud"},"generation":3,"killed":true,"mode":"blackhole","ramp":null}]`)
	f.Add("[]")
	f.Fuzz(func(t *testing.T, word string) {
		e, err := OpenEnforced("", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Take(textOfStates(t, state(fraud, 3, true), state(rank, 2, false))); err != nil {
			t.Fatal(err)
		}
		_ = e.Take(word)
		set, _ := e.Live().Load()
		if s := set.Get(fraud); s.Generation < 3 || s.Generation == 3 && !s.Killed {
			t.Errorf("%q makes it %+v", word, s)
		}
		if s := set.Get(rank); s.Generation < 2 {
			t.Errorf("%q makes it %+v", word, s)
		}
	})
}
