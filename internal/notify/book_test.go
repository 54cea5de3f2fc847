package notify

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func once(id string, s Severity) Event {
	return Event{ID: id, Kind: Release, Phase: Once, Severity: s, At: start, Subject: "model a/b", Summary: id}
}

func condition(id, key, group string, phase Phase) Event {
	return Event{ID: id, Kind: Degraded, Phase: phase, Key: key, Group: group, Severity: Critical, At: start, Subject: key, Summary: id}
}

// said writes messages as "a+b|c".
func said(messages [][]Event) string {
	var out []string
	for _, m := range messages {
		var ids []string
		for _, e := range m {
			ids = append(ids, e.ID)
		}
		out = append(out, strings.Join(ids, "+"))
	}
	return strings.Join(out, "|")
}

func TestBook(t *testing.T) {
	kill := func(id string, phase Phase) Event {
		return Event{ID: id, Kind: Kill, Phase: phase, Key: "kill/all", Severity: Critical, At: start}
	}
	type step struct {
		at   time.Duration
		adds []Event
		want string
	}
	for name, steps := range map[string][]step{
		"moments are told one by one": {
			{0, []Event{once("a", Info), once("b", Info)}, "a|b"},
			{time.Second, []Event{once("c", Info)}, "c"},
		},
		"nothing twice": {
			{0, []Event{once("a", Info), once("a", Info)}, "a"},
			{time.Hour, []Event{once("a", Info)}, ""},
		},
		"a condition that stays is told once": {
			{0, []Event{condition("1", "k", "", Firing)}, "1"},
			{time.Second, []Event{condition("2", "k", "", Firing)}, ""},
			{time.Hour, []Event{condition("3", "k", "", Firing)}, ""},
		},
		"one that ends is told at the end of the window": {
			{0, []Event{condition("1", "k", "", Firing)}, "1"},
			{time.Second, []Event{condition("2", "k", "", Resolved)}, ""},
			{30 * time.Second, nil, "2"},
		},
		"one that comes and goes is told as it stands": {
			{0, []Event{condition("1", "k", "", Firing)}, "1"},
			{time.Second, []Event{condition("2", "k", "", Resolved)}, ""},
			{2 * time.Second, []Event{condition("3", "k", "", Firing)}, ""},
			{30 * time.Second, nil, ""},
			{40 * time.Second, []Event{condition("4", "k", "", Resolved)}, "4"},
		},
		"an end without a beginning is told": {
			{0, []Event{condition("1", "k", "", Resolved)}, "1"},
		},
		"a cause of many is told once, then the rest together": {
			{0, []Event{condition("1", "k1", "g", Firing)}, "1"},
			{time.Second, []Event{condition("2", "k2", "g", Firing), condition("3", "k3", "g", Firing)}, ""},
			{29 * time.Second, []Event{condition("4", "k2", "g", Resolved)}, ""},
			{30 * time.Second, nil, "4+3"},
			{31 * time.Second, []Event{condition("5", "k5", "g", Firing)}, ""},
			{60 * time.Second, nil, "5"},
			{time.Hour, []Event{condition("6", "k6", "g", Firing)}, "6"},
		},
		"each kill and each revive is told, at once": {
			{0, []Event{kill("1", Firing)}, "1"},
			{time.Second, []Event{kill("2", Firing), kill("3", Resolved), kill("4", Firing)}, "2|3|4"},
			{2 * time.Second, []Event{kill("4", Firing)}, ""},
		},
	} {
		b := newBook(30 * time.Second)
		for i, s := range steps {
			now := start.Add(s.at)
			for _, e := range s.adds {
				if b.add(e, now) != nil {
					t.Errorf("%s: something gave way", name)
				}
			}
			messages, next := b.take(now)
			if got := said(messages); got != s.want {
				t.Errorf("%s, step %d: %q, want %q", name, i, got, s.want)
			}
			if (b.held() > 0) != !next.IsZero() || !next.IsZero() && !next.After(now) {
				t.Errorf("%s, step %d: %d wait until %s", name, i, b.held(), next)
			}
		}
	}
}

func TestBookIsBounded(t *testing.T) {
	b := newBook(time.Hour)
	b.add(condition("first", "k", "g", Firing), start)
	b.take(start)
	lost := map[Severity]int{}
	for i := range 3000 {
		severity := []Severity{Info, Warning, Critical}[i%3]
		e := condition(fmt.Sprint("e", i), fmt.Sprint("k", i), "g", Firing)
		e.Severity = severity
		if dropped := b.add(e, start); dropped != nil {
			lost[dropped.Severity]++
		}
	}
	if b.held() != maxEvents || lost[Info] != 1000 || lost[Warning] != 1000 || lost[Critical] != 0 {
		t.Errorf("%d wait, %v gave way", b.held(), lost)
	}
	if len(b.seen) > maxIDs || len(b.known) != len(b.seen) {
		t.Errorf("%d and %d IDs", len(b.seen), len(b.known))
	}
}

func TestGroupsAreForgotten(t *testing.T) {
	b := newBook(time.Minute)
	for i := range 500 {
		now := start.Add(time.Duration(i) * time.Second)
		b.add(once(fmt.Sprint(i), Info), now)
		b.take(now)
	}
	if len(b.groups) > 61 {
		t.Errorf("%d groups", len(b.groups))
	}
}

func TestBackoffGrowsToItsBound(t *testing.T) {
	for tries, want := range map[int]time.Duration{1: 500 * time.Millisecond, 2: time.Second, 3: 2 * time.Second, 7: 30 * time.Second, 9: 30 * time.Second, 10: 30 * time.Second, 1000: 30 * time.Second} {
		if got := backoff(tries, 1); got != want {
			t.Errorf("%d tries: %s, want %s", tries, got, want)
		}
		if backoff(tries, 0) != 0 {
			t.Error("the jitter is not full")
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "x": 0, "99999999999999999999": 0,
		"Fri, 01 May 2026 12:00:09 GMT": 9 * time.Second, "Fri, 01 May 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter(text, start); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
