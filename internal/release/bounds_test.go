package release

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// storeValue is what a store takes as one value, in bytes.
const storeValue = 1 << 20

// A pipeline that builds, forces, promotes and rolls back for years leaves a state
// that a store takes, with what is needed in it.
func TestYearsOfReleasesStayBounded(t *testing.T) {
	w := newWorld(t)
	now, s, largest := start, w.s, 0
	why := strings.Repeat("<it is said at length> ", 4)
	step := func(next State, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(next)
		if err != nil {
			t.Fatal(err)
		}
		if largest = max(largest, len(b)); largest > MaxSize {
			t.Fatalf("%d bytes after %d records", len(b), next.Sequence)
		}
		s, _ = Ack(next, next.Sequence)
	}
	ask := func(c Command) {
		t.Helper()
		c.By, c.Reason = "mia", why
		step(Apply(s, c, w.in, now))
	}
	const builds = 650
	for i := range builds {
		v := fmt.Sprintf("build-%04d", i)
		w.in.Versions[v] = VersionInfo{URI: "s3://models/fraud/" + v, Digest: "sha256:" + strings.Repeat("0", 64)}
		delete(w.in.Versions, fmt.Sprintf("build-%04d", i-5))
		now = now.Add(48 * time.Hour)
		ask(Command{Do: Start, Version: v, Force: true, Steps: []Step{{Weight: 5}, {Weight: 100}}})
		if i%10 == 9 { // one that is well
			ask(Command{Do: Promote, Full: true})
			e := w.in.Evidence[v]
			e.Verdict, e.Requests = Success, 5000
			w.in.Evidence[v] = e
			now = now.Add(time.Hour)
		} else {
			now = now.Add(time.Minute)
			ask(Command{Do: Rollback})
		}
		next, _, _, err := Advance(s, w.in, now)
		step(next, err)
	}
	if n := len(s.Versions); n < mostGone || n > mostGone+100 {
		t.Errorf("%d versions are remembered", n)
	}
	if n := len(s.Condemned); n > mostGone+10 {
		t.Errorf("%d are condemned", n)
	}
	if len(s.Holds) > 1 || len(s.Marks) > 80 {
		t.Errorf("%d holds and %d marks", len(s.Holds), len(s.Marks))
	}
	newest := fmt.Sprintf("build-%04d", builds-7) // gone for two builds
	if _, known := s.Versions[newest]; !known {
		t.Errorf("%s is forgotten", newest)
	}
	w.in.Versions[newest] = VersionInfo{URI: "s3://models/fraud/" + newest, Digest: "sha256:another"}
	if _, errs := Register(s, w.in.Versions, now); len(errs) != 1 {
		t.Errorf("%v: a version that left came back as another", errs)
	}
	t.Logf("the largest state had %d bytes", largest)
}

// Whatever comes, a state stays below what a store takes: what matters least goes.
func TestAStateStaysBelowWhatAStoreTakes(t *testing.T) {
	long := strings.Repeat("\x01", maxLine)
	for name, grow := range map[string]func(w *world){
		"reasons that JSON makes six times as long": func(w *world) {
			for i := range mostGone {
				v := fmt.Sprintf("old-%d", i)
				put(&w.s.Versions, v, Registered{At: start})
				put(&w.s.Condemned, v, Condemned{At: start, By: "mia", Reason: long})
			}
		},
		"the same of versions that are in the files": func(w *world) {
			for i := range mostGone {
				v := fmt.Sprintf("old-%d", i)
				w.version(v, nil)
				put(&w.s.Versions, v, Registered{At: start})
				put(&w.s.Condemned, v, Condemned{At: start, By: "mia", Reason: long})
			}
		},
		"records that do not get into the history": func(w *world) {
			for range 2000 {
				w.s.Sequence++
				w.s.Outbox = append(w.s.Outbox, Record{Sequence: w.s.Sequence, At: start, Reason: long[:200],
					Evidence: map[string]Evidence{"v1": {Why: long[:200]}}})
			}
		},
		"as many versions as there may be": func(w *world) {
			for i := range mostArtifacts / 200 {
				v := fmt.Sprintf("v-%0180d", i)
				w.version(v, func(v *VersionInfo) { v.FileWeight = 1 })
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.s.Released = true
			grow(w)
			sequence := w.s.Sequence
			w.fail("v1")
			next, err := Apply(w.s, Command{Do: Start, Version: "v2", By: "mia", Reason: "because", Force: true}, w.in, start.Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range []State{next, advanced(t, next, w.in, start.Add(2*time.Hour))} {
				if n := len(text(s)); n > MaxSize || n > storeValue*3/4 {
					t.Errorf("%d bytes", n)
				}
				if err := s.Validate(); err != nil {
					t.Error(err)
				}
				if n := len(s.Outbox); n == 0 || s.Outbox[n-1].Sequence != s.Sequence || s.Sequence <= sequence {
					t.Errorf("%d records, at sequence %d", n, s.Sequence)
				}
			}
			if next.Weights["v2"] != 1 {
				t.Errorf("weights %v", next.Weights)
			}
			last := next.Outbox[len(next.Outbox)-1]
			want := strings.HasPrefix(name, "reasons") || strings.HasPrefix(name, "as many") // there old versions go first
			if kept := last.Evidence["v1"].Bad == 10; kept != want {
				t.Errorf("what was decided on is kept: %v", kept)
			}
		})
	}
}

func advanced(t *testing.T, s State, in Input, now time.Time) State {
	t.Helper()
	next, _, _, err := Advance(s, in, now)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func TestMoreVersionsThanCanBeKept(t *testing.T) {
	w := newWorld(t)
	for i := range mostArtifacts / 1000 {
		w.version(fmt.Sprintf("v%d", i), func(v *VersionInfo) { v.URI = strings.Repeat("x", 1100) })
	}
	_, errs := Register(w.s, w.in.Versions, w.now)
	if len(errs) != 1 {
		t.Fatal(errs)
	}
	refused(t, errs[0], "shop/fraud", "take old ones out of the files")
}

// What is over, or of versions that are gone, is dropped at once.
func TestWhatIsOverIsDropped(t *testing.T) {
	w := newWorld(t)
	w.in.Plan.Checks = []string{"latency"}
	w.apply(Command{Do: Start, Version: "v2", Force: true})
	w.in.Checks["latency"] = CheckResult{Verdict: Failure, At: w.now.Add(time.Second)}
	w.pass(time.Second)
	if len(w.s.Holds) != 1 || len(w.s.Marks) != 2 || len(w.s.Checks) != 1 {
		t.Fatalf("%s", text(w.s))
	}
	w.in.Plan.Checks = []string{"errors"}
	w.pass(30 * time.Minute)
	if len(w.s.Holds) != 0 || len(w.s.Checks) != 0 {
		t.Errorf("%s", text(w.s))
	}
	w.apply(Command{Do: Abort})
	w.ack()
	w.pass(time.Second)
	w.version("v3", nil)
	w.apply(Command{Do: Rollback, Version: "v3"}) // v2 has no part any more
	delete(w.in.Versions, "v2")
	w.advance()
	if _, marked := w.s.Marks["v2"]; marked {
		t.Errorf("%s", text(w.s))
	}
	if _, known := w.s.Versions["v2"]; !known {
		t.Error("what v2 is, is forgotten")
	}
}

// A next state that cannot be is told of; what can be of it is kept.
func TestAWrongNextStateIsToldOf(t *testing.T) {
	w := newWorld(t)
	w.version("v3", func(v *VersionInfo) { v.URI, v.FileWeight = strings.Repeat("x", 200<<10), 1 })
	for i := range mostArtifacts / 1000 {
		w.version(fmt.Sprintf("w%d", i), func(v *VersionInfo) { v.URI = strings.Repeat("x", 1100) })
	}
	next, changed, wake, err := Advance(w.s, w.in, w.now) // v3 gets a weight, and is not registered
	refused(t, err, "generation 1", `"v3"`, "not registered")
	if changed || !wake.IsZero() || text(next) != text(w.s) {
		t.Errorf("%s", text(next))
	}
	if _, err := Apply(w.s, Command{Do: Start, Version: "v3", By: "mia", Reason: "because"}, w.in, w.now); err == nil {
		t.Error("a person was told that it is done")
	}
}
