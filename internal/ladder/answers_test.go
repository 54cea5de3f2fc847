package ladder

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
)

// sampleRules is the decision table of the sample policy for card payments.
func sampleRules(t *testing.T) policy.Rung {
	t.Helper()
	snapshot, problems := compile.Dir(filepath.Join("..", "..", "docs", "samples", "fraud"))
	if problems.Failed() {
		t.Fatal(problems.Err())
	}
	for _, r := range snapshot.Routes {
		if r.Policy == nil {
			continue
		}
		for _, rung := range r.Policy.Ladder {
			if rung.Rules != nil {
				return rung
			}
		}
	}
	t.Fatal("the sample has no rules")
	return policy.Rung{}
}

// reference is the table again, in hundredths: nothing of it is shared with
// the one under test.
func reference(amount, age *float64, category *string, international, history *bool) (hundredths int, reasons []string) {
	add := func(holds bool, n int, reason string) {
		if holds {
			hundredths += n
			reasons = append(reasons, reason)
		}
	}
	add(amount != nil && *amount > 5000, 30, "high_amount")
	add(age == nil || *age < 7, 25, "new_account")
	add(category != nil && slices.Contains([]string{"gambling", "crypto", "wire_transfer"}, *category), 20, "high_risk_category")
	add(international != nil && *international && (history == nil || !*history), 15, "unusual_international")
	return min(hundredths, 100), reasons
}

func either[T any](yes bool, a, b T) *T {
	if yes {
		return &a
	}
	return &b
}

// TestTheSampleTable tries every combination of the five fields, each high,
// low or missing: the 32 among them, and all cases of missing fields.
func TestTheSampleTable(t *testing.T) {
	s, _ := newState(t)
	l, _ := newLadder(t, s, fraud(sampleRules(t)))
	tried := 0
	for n := range 3 * 3 * 3 * 3 * 3 {
		digit := func() int {
			d := n % 3
			n /= 3
			return d
		}
		var (
			amount, age            *float64
			category               *string
			international, history *bool
		)
		parameters := map[string]any{}
		if d := digit(); d < 2 {
			amount = either(d == 1, 5000.01, 5000)
			parameters["amount"] = *amount
		}
		if d := digit(); d < 2 {
			age = either(d == 1, 6.0, 7.0)
			parameters["account_age_days"] = *age
		}
		if d := digit(); d < 2 {
			category = either(d == 1, []string{"gambling", "crypto", "wire_transfer"}[tried%3], "groceries")
			parameters["merchant_category"] = *category
		}
		if d := digit(); d < 2 {
			international = either(d == 1, true, false)
			parameters["is_international"] = *international
		}
		if d := digit(); d < 2 {
			history = either(d == 1, true, false)
			parameters["has_international_history"] = *history
		}
		request := map[string]any{"inputs": []any{}, "parameters": parameters}
		if len(parameters) == 0 {
			delete(request, "parameters")
		}
		body, err := json.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		hundredths, reasons := reference(amount, age, category, international, history)
		checkScore(t, l.Answer(t.Context(), asking(string(body), nil)), string(body), hundredths, reasons)
		tried++
	}
	if tried != 243 {
		t.Fatalf("%d combinations tried", tried)
	}
}

func checkScore(t *testing.T, a Answer, request string, hundredths int, reasons []string) {
	t.Helper()
	var got struct {
		Outputs    []struct{ Data []json.Number }
		Parameters struct {
			Confidence json.Number
			Reasons    []string
		}
	}
	if err := json.Unmarshal(a.Body, &got); err != nil || a.Source != Rules || len(got.Outputs) != 1 || len(got.Outputs[0].Data) != 1 {
		t.Fatalf("%s: %s answered %s (%v)", request, a.Source, a.Body, err)
	}
	v, err := got.Outputs[0].Data[0].Float64()
	if err != nil || v != float64(hundredths)/100 || got.Parameters.Confidence != "0.4" || !slices.Equal(got.Parameters.Reasons, reasons) {
		t.Errorf("%s: score %s, confidence %s, %v; want 0.%02d, 0.4, %v", request, got.Outputs[0].Data[0], got.Parameters.Confidence, got.Parameters.Reasons, hundredths, reasons)
	}
}

func TestATableThatCannotSeeTheRequestDoesNotGuess(t *testing.T) {
	s, _ := newState(t)
	l, rec := newLadder(t, s, fraud(sampleRules(t)))
	for name, body := range map[string]string{
		"no JSON":           `amount=6000`,
		"an amount of text": `{"parameters":{"amount":"6000"}}`,
	} {
		wantAnswer(t, l.Answer(t.Context(), asking(body, nil)), SafeDefault, defaultBody)
		if got := rec.took(); got != "rules failed, safe_default answered" {
			t.Errorf("%s: %s", name, got)
		}
	}
	unseen := asking(`{"parameters":{}}`, nil)
	unseen.Exchange.RequestBodySeen = false
	wantAnswer(t, l.Answer(t.Context(), unseen), SafeDefault, defaultBody)
}

// jsonPolicy has nothing but a default, for a model of any JSON.
func jsonPolicy(d policy.SafeDefault) *policy.Policy {
	p := fraud()
	p.Protocol, p.ServedName = policy.JSON, ""
	p.Ladder = []policy.Rung{{SafeDefault: &d}}
	return p
}

func TestTheStaticDefault(t *testing.T) {
	s, _ := newState(t)
	l, rec := newLadder(t, s, jsonPolicy(policy.SafeDefault{Status: 203, ContentType: "application/vnd.x+json", Body: `{"a":1}`}))
	a := l.Answer(t.Context(), asking(`{"id":"7"}`, nil))
	wantAnswer(t, a, SafeDefault, `{"a":1}`)
	if a.Status != 203 || a.ContentType != "application/vnd.x+json" {
		t.Errorf("%d %s", a.Status, a.ContentType)
	}
	if got := rec.took(); got != "safe_default answered" {
		t.Errorf("rungs: %q: the last rung is one too", got)
	}
}

func TestTheTemplateOfADefault(t *testing.T) {
	s, _ := newState(t)
	l, _ := newLadder(t, s, jsonPolicy(policy.SafeDefault{
		Template: `{"order":{{sort request.candidates by at desc}}}`, Body: `{"order":[]}`,
	}))
	for request, want := range map[string]string{
		`{"candidates":[{"at":1},{"at":2}]}`: `{"order":[{"at":2},{"at":1}]}`,
		`{"other":[]}`:                       `{"order":[]}`,
		`{"candidates":{}}`:                  `{"order":[]}`,
		`{"candidates":`:                     `{"order":[]}`,
		``:                                   `{"order":[]}`,
	} {
		wantAnswer(t, l.Answer(t.Context(), asking(request, nil)), SafeDefault, want)
	}
}

func TestARefreshedDefault(t *testing.T) {
	file := filepath.Join(t.TempDir(), "popular.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	s, _ := newState(t)
	l, _ := newLadder(t, s, jsonPolicy(policy.SafeDefault{
		Body: `{"items":[]}`, Template: `{"items":{{request.items}}}`,
		Refresh: &policy.Refresh{File: file, Interval: policy.Duration(time.Millisecond)},
	}))
	ask := func() string { return string(l.Answer(t.Context(), asking(`{"items":[9]}`, nil)).Body) }
	if got := ask(); got != `{"items":[9]}` {
		t.Fatalf("before the file is there: %s, want the template's", got)
	}
	write(`{"items":[1]}`)
	until(t, "the file's body", func() bool { return ask() == `{"items":[1]}` })
	write(`{"items":[2]}`)
	until(t, "the file's new body", func() bool { return ask() == `{"items":[2]}` })
	before := l.last.refresh.Stats().Failures
	write(`{"items":`)
	until(t, "the bad file to be read", func() bool { return l.last.refresh.Stats().Failures > before })
	if got := ask(); got != `{"items":[2]}` {
		t.Fatalf("with a bad file: %s, want the last good body", got)
	}
}

// A caller that matches answers to its requests by their ids needs its own in
// every answer.
func TestTheRequestsIDIsEchoed(t *testing.T) {
	with := func(body, id string) string { return `{"id":` + id + `,` + body[1:] }
	s, _ := newState(t)
	def, _ := newLadder(t, s, fraud())
	table, _ := newLadder(t, s, fraud(rulesRungOf(rulesBody)))
	own, _ := newLadder(t, s, fraud(rulesRungOf(`{"id":{{id}},`+rulesBody[1:])))
	for id, want := range map[string]string{
		`"abc"`: `"abc"`, `"a\",\"outputs\":[],\"b"`: `"a\",\"outputs\":[],\"b"`, `42`: `42`,
		`null`: "", `""`: "", `{"x":1}`: "", `true`: "",
	} {
		request := withID(id)
		for l, body := range map[*Ladder]string{def: defaultBody, table: rulesBody} {
			if want != "" {
				body = with(body, want)
			}
			a := l.Answer(t.Context(), asking(request, nil))
			if string(a.Body) != body || !json.Valid(a.Body) {
				t.Errorf("request id %s: %s\nwant %s", id, a.Body, body)
			}
		}
	}
	for request, want := range map[string]string{withID(`"x"`): with(rulesBody, `"x"`), askBody: rulesBody} {
		wantAnswer(t, own.Answer(t.Context(), asking(request, nil)), Rules, want)
	}
	unseen := asking(withID(`"x"`), nil)
	unseen.Exchange.RequestBodySeen = false
	wantAnswer(t, def.Answer(t.Context(), unseen), SafeDefault, defaultBody)
	p := fraud()
	p.Protocol = policy.OpenInferenceV1
	v1, _ := newLadder(t, s, p)
	wantAnswer(t, v1.Answer(t.Context(), asking(withID(`"x"`), nil)), SafeDefault, defaultBody)
	p = fraud()
	p.Ladder = []policy.Rung{{SafeDefault: &policy.SafeDefault{Body: "no JSON at all"}}}
	odd, _ := newLadder(t, s, p)
	wantAnswer(t, odd.Answer(t.Context(), asking(withID(`"x"`), nil)), SafeDefault, "no JSON at all")
}

func TestAnswersInParallel(t *testing.T) {
	e, _ := server(t, says(200, smallNaN))
	s, _ := newState(t)
	l, _ := newLadder(t, s, fraud(cached(policy.OnFailure), small(e), rulesRungOf(strings.Replace(rulesBody, `"by":"rules"`, `"by":{{request.n}}`, 1))))
	done := make(chan error)
	for worker := range 8 {
		go func() {
			var err error
			for i := range 20 {
				body := fmt.Sprintf(`{"id":"%d.%d","n":%d,"inputs":[]}`, worker, i, i)
				want := fmt.Sprintf(`{"id":"%d.%d",%s`, worker, i, strings.Replace(rulesBody[1:], `"rules"`, itoa(i), 1))
				if a := l.Answer(t.Context(), asking(body, nil)); string(a.Body) != want {
					err = fmt.Errorf("%s answered %s, want %s", a.Source, a.Body, want)
				}
			}
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
