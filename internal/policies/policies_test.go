package policies_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/policies"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// clock gives each step a second.
func clock(step int) time.Time { return start.Add(time.Duration(step) * time.Second) }

func spec(name string) json.RawMessage {
	return json.RawMessage(`{"mode": "Enforce", "enforcePercent": 25, "deadline": "` + name + `"}`)
}

// run does steps, "file A", "back", "back 2" or "unpin", each after it was
// held that no step changes the state before it.
func run(t *testing.T, steps ...string) (policies.State, error) {
	t.Helper()
	var s policies.State
	for i, step := range steps {
		before, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		old := s
		word, rest, _ := strings.Cut(step, " ")
		switch word {
		case "file":
			s, _, err = policies.Observe(s, spec(rest), clock(i))
		case "back":
			number := 0
			if rest != "" {
				if _, err := fmt.Sscan(rest, &number); err != nil {
					t.Fatal(err)
				}
			}
			s, err = policies.Rollback(s, number, "anna", "it floods", clock(i))
		case "unpin":
			s, err = policies.Unpin(s, "anna", "mended", clock(i))
		}
		after, _ := json.Marshal(old)
		if string(before) != string(after) {
			t.Fatalf("%s changed what it was given: %s to %s", step, before, after)
		}
		if err != nil {
			return s, err
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if parsed, err := policies.Parse(again); err != nil || !reflect.DeepEqual(parsed, s) {
			t.Fatalf("%s: read back as %+v, %v", again, parsed, err)
		}
	}
	return s, nil
}

// show writes a state: the content in force by number, "!" where it is pinned,
// and what the files say where they drift.
func show(t *testing.T, s policies.State) string {
	t.Helper()
	content := func(c policies.Change) string {
		var fields struct{ Deadline string }
		if err := json.Unmarshal(c.Spec, &fields); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s#%d", fields.Deadline, c.Number)
	}
	current, _ := s.Change(s.Current)
	out := content(current)
	if s.Pinned != 0 {
		out += "!"
	}
	if drift, ok := s.Drift(); ok {
		out += " files:" + content(drift)
	}
	return out
}

func TestHistory(t *testing.T) {
	for steps, want := range map[string]string{
		"file A":                                             "A#1",
		"file A,file A":                                      "A#1",
		"file A,file B":                                      "B#2",
		"file A,file B,file A":                               "A#3",
		"file A,file B,back":                                 "A#3! files:B#2",
		"file A,file B,back 1":                               "A#3! files:B#2",
		"file A,file B,back,file B":                          "A#3! files:B#2",
		"file A,file B,back,file C":                          "A#3! files:C#4",
		"file A,file B,back,file C,file D":                   "A#3! files:D#5",
		"file A,file B,back,file A":                          "A#3!",
		"file A,file B,back,file A,file B":                   "A#3! files:B#4",
		"file A,file B,back,file C,back 4":                   "C#5!",
		"file A,file B,back,unpin":                           "B#4",
		"file A,file B,back,file C,unpin":                    "C#5",
		"file A,file B,back,file A,unpin":                    "A#4",
		"file A,file B,back,unpin,file C":                    "C#5",
		"file A,file B,file C,back,back":                     "anna took it back to what change 2 says at 03:04:08Z: to go further back, name the change",
		"file A,file B,file C,back,back 1":                   "A#5! files:C#3",
		"file A,file B,back,unpin,back":                      "A#5! files:B#4",
		"file A,file B,back,file C,unpin,back":               "A#6! files:C#5",
		"file A,file B,file A,back":                          "B#4! files:A#3",
		"file A,back":                                        "nothing else was in force before: the history has change 1 alone",
		"file A,file B,back,back":                            "anna took it back to what change 1 says at 03:04:07Z: to go further back, name the change",
		"file A,file B,back 3":                               "there is no change 3: the history has changes 1 to 2",
		"file A,file B,back 2":                               "what change 2 says is in force already",
		"file A,file B,back,back 1":                          "what change 1 says is in force already",
		"file A,unpin":                                       "the policy follows the files already",
		"back":                                               "the policy has no history yet",
		"unpin":                                              "the policy follows the files already",
		"file A,file B,file C,back 1,unpin,unpin":            "the policy follows the files already",
		"file A,file B,file C,back 1,back 2,unpin,file C":    "C#6",
		"file A,file B,back,file C,file B,unpin,back,file B": "A#7! files:B#6",
	} {
		s, err := run(t, strings.Split(steps, ",")...)
		got := fmt.Sprint(err)
		if err == nil {
			got = show(t, s)
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", steps, got, want)
		}
	}
}

func TestChangesSayWhoWhyAndWhat(t *testing.T) {
	s, err := run(t, "file A", "file B")
	if err != nil {
		t.Fatal(err)
	}
	s = s.Counted(policies.Counts{Clean: 1}).Counted(policies.Counts{Clean: 90, Bad: 8, Observed: 2})
	if s, err = policies.Rollback(s, 0, "anna", "it floods", clock(9)); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	digest := func(name string) string {
		_, digest, err := policies.Canonical(spec(name))
		if err != nil {
			t.Fatal(err)
		}
		return digest
	}
	want := `{"current":3,"pinned":3,"file":2,"changes":[` +
		`{"number":1,"at":"2026-01-02T03:04:05Z","by":"files","digest":"` + digest("A") + `","mode":"Enforce","enforcePercent":25,` +
		`"from":"2026-01-02T03:04:05Z","until":"2026-01-02T03:04:06Z","spec":{"deadline":"A","enforcePercent":25,"mode":"Enforce"}},` +
		`{"number":2,"at":"2026-01-02T03:04:06Z","by":"files","digest":"` + digest("B") + `","mode":"Enforce","enforcePercent":25,` +
		`"from":"2026-01-02T03:04:06Z","until":"2026-01-02T03:04:14Z","counts":{"clean":90,"bad":8,"observed":2},` +
		`"spec":{"deadline":"B","enforcePercent":25,"mode":"Enforce"}},` +
		`{"number":3,"at":"2026-01-02T03:04:14Z","by":"anna","reason":"it floods","restores":1,"digest":"` + digest("A") + `",` +
		`"mode":"Enforce","enforcePercent":25,"from":"2026-01-02T03:04:14Z","spec":{"deadline":"A","enforcePercent":25,"mode":"Enforce"}}]}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

func TestAnUnpinIsToldFromARollback(t *testing.T) {
	s, err := run(t, "file A", "file B", "back", "unpin")
	if err != nil {
		t.Fatal(err)
	}
	if s.Changes[2].Unpins || !s.Changes[3].Unpins || s.Changes[3].Restores != 2 {
		t.Errorf("%+v", s.Changes)
	}
}

func TestWhoAndWhyAreAsked(t *testing.T) {
	s, err := run(t, "file A", "file B")
	if err != nil {
		t.Fatal(err)
	}
	for _, asked := range [][2]string{{"", "why"}, {" ", "why"}, {policies.Files, "why"}, {"anna", ""}, {"anna", " \n"}} {
		if _, err := policies.Rollback(s, 0, asked[0], asked[1], start); err == nil {
			t.Errorf("a rollback by %q because %q was taken", asked[0], asked[1])
		}
		if _, err := policies.Unpin(s, asked[0], asked[1], start); err == nil || !strings.HasPrefix(err.Error(), "say ") {
			t.Errorf("an unpin by %q because %q: %v", asked[0], asked[1], err)
		}
	}
}

func TestEffectiveSpec(t *testing.T) {
	for steps, want := range map[string]string{
		"":                         `{"as":"given"}`,
		"file A":                   `{"as":"given"}`,
		"file A,file B,back":       `{"deadline":"A","enforcePercent":25,"mode":"Enforce"}`,
		"file A,file B,back,unpin": `{"as":"given"}`,
	} {
		var s policies.State
		var err error
		if steps != "" {
			s, err = run(t, strings.Split(steps, ",")...)
		}
		if got := s.Effective(json.RawMessage(`{"as":"given"}`)); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", steps, got, err)
		}
	}
}

func TestContentIsWhatCounts(t *testing.T) {
	same := []string{
		`{"mode":"Enforce","a":{"x":1.50,"y":[1,2]},"b":"<&>"}`,
		` { "b" : "<&>", "a":{"y":[1, 2],"x":1.50},"mode":"Enforce"}`,
		`{"b":"\u003c&>","a":{"y":[1,2],"x":1.50},"mode":"Enforce"}`,
	}
	canonical, want, err := policies.Canonical(json.RawMessage(same[0]))
	if err != nil || string(canonical) != `{"a":{"x":1.50,"y":[1,2]},"b":"<&>","mode":"Enforce"}` {
		t.Fatal(string(canonical), err)
	}
	for _, text := range same {
		if _, got, err := policies.Canonical(json.RawMessage(text)); err != nil || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	if _, got, _ := policies.Canonical(json.RawMessage(`{"mode":"Enforce","a":{"x":1.50,"y":[2,1]},"b":"<&>"}`)); got == want {
		t.Error("an array's order is content")
	}
	for _, bad := range []string{"", "null", "[]", "7", "{", `{"a":1} {}`, `{"mode":7}`} {
		if _, changed, err := policies.Observe(policies.State{}, json.RawMessage(bad), start); err == nil || changed {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestEnforcement(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                 "Observe 0",
		`{"mode":"Observe"}`: "Observe 0",
		`{"mode":"Enforce"}`: "Enforce 100",
		`{"mode":"Enforce","enforcePercent":2.5}`: "Enforce 2.5",
	} {
		s, _, err := policies.Observe(policies.State{}, json.RawMessage(text), start)
		c, _ := s.Change(1)
		if got := fmt.Sprint(c.Mode, " ", c.EnforcePercent); err != nil || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
}

func TestHistoryIsBounded(t *testing.T) {
	steps := []string{"file A", "file B", "back"}
	for i := range 80 {
		steps = append(steps, fmt.Sprint("file ", i))
	}
	s, err := run(t, steps...)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Changes) != policies.MaxChanges || show(t, s) != "A#3! files:79#83" {
		t.Errorf("%d changes, %s", len(s.Changes), show(t, s))
	}
	// Dropped numbers are not given again, and what is left can be gone back to.
	oldest := s.Changes[1].Number
	if s, err = policies.Rollback(s, oldest, "anna", "why", start); err != nil || s.Current != 84 {
		t.Errorf("at %d, %v", s.Current, err)
	}

	var large policies.State
	for i := range 20 {
		text := fmt.Sprintf(`{"n":%d,"text":%q}`, i, strings.Repeat("x", 100<<10))
		if large, _, err = policies.Observe(large, json.RawMessage(text), start); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := json.Marshal(large); err != nil || len(text) > 1<<20 || len(large.Changes) < 3 {
		t.Errorf("%d bytes in %d changes, %v", len(text), len(large.Changes), err)
	}
}

func TestStateThatContradictsItself(t *testing.T) {
	for _, text := range []string{
		"", "[]", `{"current":1}`, `{"current":1,"pinned":2,"changes":[{"number":1,"spec":{}}]}`,
		`{"changes":[{"number":2,"spec":{}},{"number":1,"spec":{}}]}`,
		`{"changes":[{"number":1,"spec":{}},{"number":1,"spec":{}}]}`,
	} {
		if s, err := policies.Parse([]byte(text)); err == nil {
			t.Errorf("%s was read as %+v", text, s)
		}
	}
}
