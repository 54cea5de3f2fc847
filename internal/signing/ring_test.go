package signing

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func first(t *testing.T) Ring {
	t.Helper()
	r, err := First(bytes.NewReader(bytes.Repeat([]byte{1}, 32)), start)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func rotate(t *testing.T, r Ring, now time.Time, what Rotation) Ring {
	t.Helper()
	next, err := r.Rotate(bytes.NewReader(bytes.Repeat([]byte{2}, 32)), now, what)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func id(k *Key) string {
	if k == nil {
		return "-"
	}
	return k.Public().ID[:4]
}

func keysOf(r Ring) string { return id(r.Previous) + " " + id(&r.Current) + " " + id(r.Next) }

func TestARotationGoesStepByStep(t *testing.T) {
	one, two := fixed(t, 1).Public().ID[:4], fixed(t, 2).Public().ID[:4]
	r := rotate(t, first(t), start.Add(time.Hour), Rotation{By: "ann", Reason: "yearly"})
	began := start.Add(time.Hour)
	lacks := Progress{LackKey: []string{"host b"}, LackPolicy: []string{"proxy 7: silent"}}
	for _, step := range []struct {
		after   time.Duration // since it began
		p       Progress
		keys    string
		waiting string
	}{
		{0, Progress{}, "- " + one + " " + two, "the new key signs from 2026-03-01T13:00:10Z at the earliest"},
		{DefaultSettle, lacks, "- " + one + " " + two, "the new key is not at: host b"},
		{DefaultSettle + time.Minute, Progress{LackPolicy: lacks.LackPolicy}, one + " " + two + " -", "the previous key is accepted until 2026-03-01T13:11:10Z at the least"},
		{DefaultSettle + time.Minute + DefaultOverlap, lacks, one + " " + two + " -", "policies signed by the new key are not at: proxy 7: silent"},
		{DefaultSettle + time.Minute + DefaultOverlap, Progress{}, "- " + two + " -", ""},
		{time.Hour, Progress{}, "- " + two + " -", ""},
	} {
		before := r.Sequence
		var changed bool
		was := keysOf(r)
		r, changed = r.Advance(began.Add(step.after), step.p)
		if got := keysOf(r); got != step.keys || changed != (got != was) || (r.Sequence > before) != changed {
			t.Fatalf("after %s: %s, changed %v, sequence %d then %d; want %s", step.after, got, changed, before, r.Sequence, step.keys)
		}
		if got := r.Waiting(began.Add(step.after), step.p); got != step.waiting {
			t.Errorf("after %s it waits for %q, want %q", step.after, got, step.waiting)
		}
		// At every step hosts trust whatever is signed, and what was a step ago.
		if err := NewSet(r.Public()...).Verify(fraud, mustPrivate(t, r.Current).Sign(fraud)); err != nil {
			t.Errorf("after %s: %v", step.after, err)
		}
		if err := r.Validate(); err != nil {
			t.Error(err)
		}
	}
	if r.Current.By != "ann" || r.Current.Reason != "yearly" {
		t.Errorf("the key is by %q for %q", r.Current.By, r.Current.Reason)
	}
}

func mustPrivate(t *testing.T, k Key) Private {
	t.Helper()
	p, err := k.Private()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOneRotationAtATime(t *testing.T) {
	one, two := fixed(t, 1).Public().ID[:4], fixed(t, 2).Public().ID[:4]
	r := rotate(t, first(t), start, Rotation{})
	for _, step := range []string{one + " " + two + " -", "- " + two + " -"} {
		if _, err := r.Rotate(bytes.NewReader(nil), start, Rotation{}); !errors.Is(err, ErrUnderWay) {
			t.Errorf("%s: %v, want ErrUnderWay", keysOf(r), err)
		}
		if r = rotate(t, r, start, Rotation{Force: true}); keysOf(r) != step {
			t.Errorf("forced: %s, want %s", keysOf(r), step)
		}
	}
	if r.Current.Signs != start {
		t.Errorf("forced, it signs from %s", r.Current.Signs)
	}
	r = rotate(t, r, start, Rotation{Force: true})
	if r.Next == nil {
		t.Error("forced, where none is under way, it begins one")
	}
}

func TestAnOldKeyIsDue(t *testing.T) {
	r := first(t)
	for _, c := range []struct {
		age  time.Duration
		ring Ring
		want bool
	}{
		{0, r, false}, {time.Hour, r, true}, {2 * time.Hour, r, false}, {time.Hour, rotate(t, r, start, Rotation{}), false},
	} {
		if got := c.ring.Due(start.Add(time.Hour), c.age); got != c.want {
			t.Errorf("%s, age %s: %v", keysOf(c.ring), c.age, got)
		}
	}
}

func TestARingIsReadAsItIsWritten(t *testing.T) {
	r := rotate(t, first(t), start, Rotation{After: 24 * time.Hour, Overlap: 48 * time.Hour})
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var again Ring
	if err := json.Unmarshal(text, &again); err != nil || keysOf(again) != keysOf(r) || !again.Next.Signs.Equal(start.Add(24*time.Hour)) {
		t.Errorf("%s, %v", text, err)
	}
	if !strings.Contains(string(text), `"overlap":"48h0m0s"`) {
		t.Errorf("%s", text)
	}
	again.Next.Seed = again.Next.Seed[1:]
	if again.Validate() == nil {
		t.Error("a seed of 31 bytes is taken")
	}
}
