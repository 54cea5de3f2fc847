package notify

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/release"
)

func TestEachMistakeOfANotifyFile(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "url"), "https://hooks.example/s3cret")
	write(t, filepath.Join(dir, "plain"), "http://hooks.example/s3cret")
	write(t, filepath.Join(dir, "two"), "a\nb")
	write(t, filepath.Join(dir, "token"), "s3cret")
	path := filepath.Join(dir, "notify.yaml")
	for row, want := range map[string]string{
		"form: webhook, url: \"https://a.example\"":                                            "receivers[0].name: is missing",
		"name: a b, form: webhook, url: \"https://a.example\"":                                 "receivers[0].name: is no name",
		"name: a, url: \"https://a.example\"":                                                  "receivers[0].form: is missing; want webhook, slack or alertmanager",
		"name: a, form: email, url: \"https://a.example\"":                                     `receivers[0].form: is "email"; want webhook`,
		"name: a, form: webhook":                                                               "receivers[0].url: want one of url and urlFile",
		"name: a, form: webhook, url: \"https://a.example\", urlFile: url":                     "want one of url and urlFile",
		"name: a, form: webhook, url: \"ftp://a.example\"":                                     "receivers[0].url: is no address; want https",
		"name: a, form: webhook, url: \"file:///etc/passwd\"":                                  "is no address",
		"name: a, form: webhook, url: \"gopher://a.example\"":                                  "is no address",
		"name: a, form: webhook, url: \"https://u:p@a.example\"":                               "without a user",
		"name: a, form: webhook, url: a.example":                                               "is no address",
		"name: a, form: webhook, urlFile: none":                                                "receivers[0].urlFile: " + dir + "/none: no such file",
		"name: a, form: webhook, urlFile: two":                                                 "want one line without blanks",
		"name: a, form: slack, urlFile: plain":                                                 "receivers[0].urlFile: is in plain text, and a secret goes with it; want https",
		"name: a, form: webhook, url: \"http://a.example\", tokenFile: token":                  "receivers[0].url: is in plain text",
		"name: a, form: alertmanager, urlFile: url":                                            "urlFile: goes with webhook and slack",
		"name: a, form: webhook, url: \"https://a.example\", tokenFile: none":                  "receivers[0].tokenFile: " + dir + "/none: no such file",
		"name: a, form: webhook, url: \"https://a.example\", ca: none":                         "receivers[0].ca: " + dir + "/none",
		"name: a, form: webhook, url: \"https://a.example\", ca: token":                        "has no certificate in PEM",
		"name: a, form: webhook, url: \"https://a.example\", events: [kills]":                  `receivers[0].events[0]: is "kills"; want one of [kill approval`,
		"name: a, form: webhook, url: \"https://a.example\", severity: high":                   `severity: is "high"; want info, warning or critical`,
		"name: a, form: webhook, url: \"https://a.example\", models: [shop]":                   "models[0]: is no pattern",
		"name: a, form: webhook, url: \"https://a.example\", labels: [a=b]":                    "labels: go with alertmanager only",
		"name: a, form: alertmanager, url: \"http://am.example:9093\", labels: [\"a b=c\"]":    "labels[0]: is no label of yours",
		"name: a, form: alertmanager, url: \"http://am.example:9093\", labels: [severity=low]": "labels[0]: is no label of yours",
		"name: a, form: webhook, url: \"https://a.example\", timeout: 1h":                      "timeout: is 1h0m0s; want 100ms to 1m0s",
		"name: a, form: webhook, url: \"https://a.example\", window: 1ms":                      "window: is 1ms; want 1s",
		"name: a, form: webhook, url: \"https://a.example\", giveUpAfter: 48h":                 "giveUpAfter: is 48h",
		"name: a, form: webhook, url: \"https://a.example\", password: x":                      "receivers[0].password: is no field",
	} {
		write(t, path, "receivers:\n- {"+row+"}\n")
		_, err := ReadSettings(path)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), path+":2: ") {
			t.Errorf("%s:\n got %v\nwant %s", row, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%v", err)
		}
	}
	write(t, path, "receivers:\n- {name: a, form: alertmanager, url: \"http://am.example:9093\"}\n- {name: a, form: slack, urlFile: url}\n")
	if _, err := ReadSettings(path); err == nil || !strings.Contains(err.Error(), `notify.yaml:3: receivers[1].name: is "a", which is there already`) {
		t.Errorf("twice: %v", err)
	}
}

func FuzzNotifyFile(f *testing.F) {
	f.Add([]byte("receivers:\n- {name: am, form: alertmanager, url: \"http://am.example:9093\", labels: [a=b], models: [\"a/*\"], events: [kill]}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parse("notify.yaml", data)
		if (s == nil) != (err != nil) || err != nil && (strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "notify.yaml")) {
			t.Fatalf("%v: %q", s, err)
		}
		if s == nil {
			return
		}
		for _, r := range s.receivers {
			if a, err := r.address(); err != nil || !strings.HasPrefix(a, "http") {
				t.Fatalf("%q, %v", a, err)
			}
		}
	})
}

func TestReceiversChoose(t *testing.T) {
	kill := Event{Kind: Kill, Phase: Firing, Severity: Critical, Model: "shop/rank"}
	for name, c := range map[string]struct {
		s    settings
		e    Event
		want bool
	}{
		"all":                 {settings{Severity: Info}, kill, true},
		"its kind":            {settings{Severity: Info, Events: []Kind{Release, Kill}}, kill, true},
		"another kind":        {settings{Severity: Info, Events: []Kind{Release}}, kill, false},
		"severe enough":       {settings{Severity: Critical}, kill, true},
		"not severe enough":   {settings{Severity: Warning}, Event{Kind: Release, Phase: Once, Severity: Info}, false},
		"the end of it":       {settings{Severity: Critical}, Event{Kind: Kill, Phase: Resolved, Severity: Info}, true},
		"its namespace":       {settings{Severity: Info, Models: []string{"shop/*"}}, kill, true},
		"its name":            {settings{Severity: Info, Models: []string{"a/b", "shop/rank"}}, kill, true},
		"another name":        {settings{Severity: Info, Models: []string{"shop/ran"}}, kill, false},
		"another namespace":   {settings{Severity: Info, Models: []string{"sho/*"}}, kill, false},
		"what is of no model": {settings{Severity: Info, Models: []string{"a/b"}}, Event{Kind: Kill, Phase: Firing, Severity: Critical}, true},
	} {
		if got := c.s.wants(c.e); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestWhatIsToldOfReleases(t *testing.T) {
	for kind, want := range map[release.Kind]string{
		release.KindStarted:     "release once info",
		release.KindGate:        "release once warning",
		release.KindRollback:    "rollback once critical",
		release.KindDegraded:    "degraded firing critical",
		release.KindRecovered:   "degraded resolved info",
		release.KindCommonCause: "common-cause firing critical",
		release.KindCauseOver:   "common-cause resolved info",
		release.KindBound:       "attention once critical",
		release.KindNotHelped:   "attention once critical",
		release.KindStep:        "",
		release.KindApplied:     "",
		release.KindRegistered:  "",
	} {
		e, ok := FromRelease(release.Record{Sequence: 7, Model: "shop/rank", Kind: kind, By: release.By, Version: "v2", Target: "v1", At: start})
		got := strings.TrimSpace(strings.Join([]string{string(e.Kind), string(e.Phase), string(e.Severity)}, " "))
		if got != want || ok != (want != "") {
			t.Errorf("%s: %q", kind, got)
		}
		if !ok {
			continue
		}
		if e.ID != "release/shop/rank/7" || e.Model != "shop/rank" || !strings.Contains(e.Summary, "shop/rank") || (e.Key == "") != (e.Phase == Once) {
			t.Errorf("%+v", e)
		}
		if e.Phase == Firing && e.Severity != Critical {
			t.Errorf("%s fires as %s: an alert's end would have other labels", kind, e.Severity)
		}
	}
	person, _ := FromRelease(release.Record{Kind: release.KindRollback, By: "token:ann", Model: "a/b"})
	if person.Severity != Warning {
		t.Errorf("a person's rollback is %s", person.Severity)
	}
	fire, _ := FromRelease(release.Record{Kind: release.KindDegraded, Model: "a/b", Sequence: 1})
	end, _ := FromRelease(release.Record{Kind: release.KindRecovered, Model: "a/b", Sequence: 2})
	if fire.Key != end.Key || fire.Subject != end.Subject {
		t.Errorf("%+v ends as %+v", fire, end)
	}
}

func TestWhatIsToldOfKills(t *testing.T) {
	for _, c := range []struct {
		record kill.Record
		want   string
	}{
		{kill.Record{Kind: kill.KindKill, Target: kill.Everything, Mode: kill.Degrade, By: "token:ann"}, "kill firing critical: everything was killed (degrade)"},
		{kill.Record{Kind: kill.KindKill, Target: kill.ForVersion("shop/rank", "v2"), Mode: kill.Blackhole, Automatic: true}, "kill firing critical: version shop/rank/v2 was killed by itself (blackhole)"},
		{kill.Record{Kind: kill.KindMerged, Target: kill.ForModel("shop/rank"), Mode: kill.Default}, "kill firing critical: model shop/rank is killed (default): a replica that was cut off had taken the kill"},
		{kill.Record{Kind: kill.KindRevive, Target: kill.ForModel("shop/rank"), Ramp: &kill.Ramp{Over: time.Minute}}, "kill resolved info: model shop/rank was revived, over 1m0s"},
		{kill.Record{Kind: kill.KindAsked, Target: kill.ForModel("shop/rank")}, "approval once warning: a revive of model shop/rank waits for a second person"},
		{kill.Record{Kind: kill.KindApproved, Target: kill.ForModel("shop/rank")}, ""},
	} {
		e, ok := FromKill(c.record)
		got := ""
		if ok {
			got = string(e.Kind) + " " + string(e.Phase) + " " + string(e.Severity) + ": " + e.Summary
		}
		if got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
		if ok && c.record.Target.Scope == kill.Version && e.Model != "shop/rank" {
			t.Errorf("it is of %q", e.Model)
		}
	}
}

func TestWhatIsNotProven(t *testing.T) {
	missing := strings.Fields("p1 p2 p3 p4 p5 p6 p7 p8 p9 p10 p11 p12")
	a := NotProven("kill/all/3", "the kill of everything", missing, start)
	b := Proven("kill/all/3", "the kill of everything", start.Add(time.Minute))
	if a.Key != b.Key || a.Subject != b.Subject || a.Phase != Firing || b.Phase != Resolved || a.ID == b.ID {
		t.Errorf("%+v %+v", a, b)
	}
	if want := "the kill of everything is not proven: 12 proxies may still serve the old state: p1, p2, p3, p4, p5, p6, p7, p8, p9, p10 and 2 more"; a.Summary != want {
		t.Error(a.Summary)
	}
}
