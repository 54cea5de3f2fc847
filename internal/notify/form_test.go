package notify

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// postable is the published shape of what an Alertmanager takes.
func postable(t *testing.T) *jsonschema.Schema {
	t.Helper()
	f, err := os.Open("testdata/postable-alerts.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	doc, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft4)
	c.AssertFormat()
	if err := c.AddResource("postable.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("postable.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// posted reads what an Alertmanager got, as it would.
func posted(t *testing.T, body []byte) []alert {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	if err := postable(t).Validate(doc); err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	var alerts []alert
	if err := json.Unmarshal(body, &alerts); err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts {
		if a.Labels["alertname"] == "" || !a.EndsAt.After(a.StartsAt) {
			t.Errorf("%+v", a)
		}
		for name, value := range a.Labels {
			if !labelName.MatchString(name) || value == "" || !utf8.ValidString(value) {
				t.Errorf("label %q=%q", name, value)
			}
		}
	}
	return alerts
}

func manager(x *target, more string) string {
	return "receivers:\n- {name: am, form: alertmanager, url: \"" + x.server.URL + "/prefix/\"" + more + "}\n"
}

func TestAnAlertmanagerIsToldWhileItFires(t *testing.T) {
	now, c, x := newClock(), &counts{}, newTarget(t, nil)
	holds := true
	r := one(t, x, manager(x, ", labels: [team=ml]"), Options{Now: now.now, Observe: c.observe, Holds: func(string) bool { return holds }})
	step := func(pass time.Duration) (alerts []alert) {
		t.Helper()
		before := len(x.requests())
		now.pass(pass)
		for m, _ := r.due(); m != nil; m, _ = r.due() {
			r.deliver(t.Context(), *m)
		}
		r.again(t.Context())
		got := x.requests()[before:]
		for _, q := range got {
			if q.path != "/prefix/api/v2/alerts" {
				t.Errorf("posted to %s", q.path)
			}
			alerts = append(alerts, posted(t, q.body)...)
		}
		return alerts
	}
	fire := condition("1", "degraded/a/b", "", Firing)
	fire.Model, fire.Reason = "a/b", "<b>why</b>"
	r.offer(fire)
	first := step(0)
	if len(first) != 1 || !first[0].StartsAt.Equal(start) || !first[0].EndsAt.Equal(start.Add(4*time.Minute)) || first[0].Labels["team"] != "ml" || first[0].Labels["model"] != "a/b" || first[0].Labels["alertname"] != "SafestateDegraded" {
		t.Fatalf("%+v", first)
	}
	if got := step(30 * time.Second); len(got) != 0 {
		t.Errorf("before its time: %+v", got)
	}
	for i := 1; i <= 3; i++ {
		again := step(time.Minute)
		if len(again) != 1 || !again[0].StartsAt.Equal(start) || !again[0].EndsAt.After(first[0].EndsAt) || !again[0].EndsAt.After(now.now().Add(3*time.Minute)) {
			t.Errorf("resend %d: %+v", i, again)
		}
	}
	over := condition("2", "degraded/a/b", "", Resolved)
	over.Model, over.At, over.Severity = "a/b", now.now(), Info
	r.offer(over)
	end := step(0)
	if len(end) != 1 || !end[0].EndsAt.Equal(now.now()) {
		t.Fatalf("%+v", end)
	}
	if a, b := first[0].Labels, end[0].Labels; len(a) != len(b) {
		t.Errorf("%v ends as %v", a, b)
	} else {
		for name := range a {
			if a[name] != b[name] {
				t.Errorf("%v ends as %v", a, b)
			}
		}
	}
	if got := step(time.Hour); len(got) != 0 {
		t.Errorf("after its end: %+v", got)
	}

	// Another replica has told of the end: this one must not fire on.
	fire.ID, fire.At = "3", now.now()
	r.offer(fire)
	if got := step(0); len(got) != 1 {
		t.Errorf("%+v", got)
	}
	holds = false
	if got := step(time.Hour); len(got) != 0 {
		t.Errorf("what does not hold: %+v", got)
	}
	if len(r.book.firing()) != 0 {
		t.Error("it is remembered as firing")
	}
}

func TestAMomentIsAnAlertOfItsOwn(t *testing.T) {
	body, err := alertsOf([]Event{once("release/a/b/1", Info), once("release/a/b/2", Warning)}, settings{Resend: time.Minute}, start)
	if err != nil {
		t.Fatal(err)
	}
	alerts := posted(t, body)
	if alerts[0].Labels["event"] == alerts[1].Labels["event"] || !alerts[0].EndsAt.Equal(start.Add(5*time.Minute)) {
		t.Errorf("%+v", alerts)
	}
}

func TestEveryKindHasAnAlert(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Kinds() {
		name := alertNames[k]
		if name == "" || seen[name] {
			t.Errorf("%s: %q", k, name)
		}
		seen[name] = true
	}
}

func TestSlackShowsWhatOthersWroteAsItIs(t *testing.T) {
	e := once("a", Critical)
	e.Summary = "model <!channel> & <https://evil.example|click> *bold* `code` _i_ ~s~ <@U123> @here"
	e.Reason, e.By = "> quote <!here>\u202e\x07", "eve <@U1>"
	body, err := slackOf(newMessage([]Event{e.cleaned()}, start))
	if err != nil {
		t.Fatal(err)
	}
	checkSlack(t, body)
	if !strings.Contains(string(body), "channel") || !strings.Contains(string(body), "evil.example") {
		t.Errorf("nothing is left: %s", body)
	}
}

// checkSlack holds a payload against Slack's bounds, and looks for what it would
// act on.
func checkSlack(t *testing.T, body []byte) {
	t.Helper()
	var got slackBody
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	if got.Text == "" || len(got.Blocks) == 0 || len(got.Blocks) > maxBlocks || got.UnfurlLinks || got.UnfurlMedia {
		t.Errorf("%s", body)
	}
	texts := []string{got.Text}
	for _, b := range got.Blocks {
		if b.Text != nil {
			texts = append(texts, b.Text.Text)
		}
		for _, e := range b.Elements {
			texts = append(texts, e.Text)
		}
	}
	for _, text := range texts {
		if len(text) > maxSection+200 || text == "" || utf8.RuneCountInString(text) > maxSection {
			t.Errorf("a text of %d bytes", len(text))
		}
		if strings.ContainsAny(text, "<>*`~\r\x1b\u202e") || strings.Contains(strings.NewReplacer("&amp;", "", "&lt;", "", "&gt;", "").Replace(text), "&") {
			t.Errorf("Slack would act on %q", text)
		}
		if i := strings.Index(text, "@"); i >= 0 && !strings.HasPrefix(text[i:], "@\u200b") {
			t.Errorf("Slack would call %q", text)
		}
	}
}

func FuzzSlack(f *testing.F) {
	f.Add("a <b> & c", "because *x*", "eve")
	f.Add(strings.Repeat("&", 5000), strings.Repeat("<", 5000), "\xff\x00")
	f.Fuzz(func(t *testing.T, summary, reason, by string) {
		var events []Event
		for range 30 {
			e := once("a", Warning)
			e.Summary, e.Reason, e.By = "x"+summary, reason, by
			events = append(events, e.cleaned())
		}
		body, err := slackOf(newMessage(events, start))
		if err != nil {
			t.Fatal(err)
		}
		checkSlack(t, body)
		hook, err := webhookOf(newMessage(events, start))
		if err != nil || !json.Valid(hook) {
			t.Fatalf("%v: %s", err, hook)
		}
	})
}
