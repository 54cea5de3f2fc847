package view

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/release"
)

// spoil writes a text into every text of a value.
func spoil(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		if v.Type().PkgPath() == "" { // not the words of a closed set
			v.SetString(text)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			spoil(v.Elem(), text)
		}
	case reflect.Slice:
		for i := range v.Len() {
			spoil(v.Index(i), text)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			value := reflect.New(v.Type().Elem()).Elem()
			value.Set(v.MapIndex(key))
			spoil(value, text)
			v.SetMapIndex(key, reflect.Value{})
			v.SetMapIndex(reflect.ValueOf(text+key.String()).Convert(key.Type()), value)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				spoil(v.Field(i), text)
			}
		}
	}
}

var hostile = []string{
	"", strings.Repeat("x", 253), strings.Repeat("long-name-of-", 30), strings.Repeat("two words ", 40),
	"\x1b[2J\x1b]0;title\x07", "a\nb\rc\td\x00e\x7f", "\u009b31m", "abc\u202edef\u2066", "\xff\xfe broken", strings.Repeat("漢字", 60),
	strings.Repeat("e\u0301", 90), "%s %d %!", "\u200b\u00a0\u2028", "🙂" + strings.Repeat("🙂", 50),
}

func TestNothingHostileReachesTheTerminal(t *testing.T) {
	for _, text := range hostile {
		s, m, h := unwell(), rolledBack(), admin.History{Records: []release.Record{*rolledBack().Last, *rollingOut().Last}}
		h.Policies = []admin.PolicyRecord{{Kind: "changed", Mode: "Enforce"}}
		h.Proxies = []admin.ProxyRecord{{Kind: "deregistered"}}
		spoil(reflect.ValueOf(&s).Elem(), text)
		spoil(reflect.ValueOf(&m).Elem(), text)
		spoil(reflect.ValueOf(&h).Elem(), text)
		r := rollingOut()
		spoil(reflect.ValueOf(&r).Elem(), text)
		for _, v := range []string{
			Status(s), Model(m), Model(r), History(h, now, true), History(h, now, false), Changed(m), Proof(m, 18, time.Second), Progress(m),
			Policy(admin.Policy{Policy: text, Pinned: true}),
		} {
			fits(t, v)
		}
		for _, l := range []string{StatusLine(s), ModelLine(m)} {
			if strings.ContainsAny(l, "\x1b\n\r\u009b\u202e") {
				t.Errorf("%q", l)
			}
		}
	}
}

func TestCutLeavesTheEnds(t *testing.T) {
	for _, c := range []struct {
		text string
		n    int
		want string
	}{
		{"fraud", 5, "fraud"}, {"fraud-detection-v2", 10, "frau..n-v2"}, {"fraud-detection-v2", 11, "fraud..n-v2"},
		{"abc", 2, ".."}, {"abc", 1, "."}, {"abc", 0, ""}, {"漢字漢字", 6, "漢..字"}, {"漢字漢字", 5, "漢.."}, {"", 0, ""},
	} {
		if got := cut(c.text, c.n); got != c.want || width(got) > c.n {
			t.Errorf("cut(%q, %d) = %q, want %q", c.text, c.n, got, c.want)
		}
	}
}

func TestSpans(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0ms", 120 * time.Millisecond: "120ms", 2300 * time.Millisecond: "2.3s", 9960 * time.Millisecond: "10s", 45 * time.Second: "45s",
		time.Minute: "1m", 110 * time.Second: "1m50s", 2*time.Hour + 5*time.Minute: "2h5m", 24 * time.Hour: "1d", 76 * time.Hour: "3d4h",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%s) = %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "now", 300 * time.Millisecond: "now", time.Second: "1s ago", -90 * time.Second: "in 1m30s"} {
		if got := ago(before(d), now); got != want {
			t.Errorf("ago(%s) = %q, want %q", d, got, want)
		}
	}
	if got := at(before(26*time.Hour), now); got != "2026-10-01 01:04:05 UTC (1d2h ago)" {
		t.Error(got)
	}
	if at(time.Time{}, now) != "never" || ago(time.Time{}, now) != "never" {
		t.Error("no time")
	}
}

func FuzzClean(f *testing.F) {
	for _, text := range hostile {
		f.Add(text, 40)
	}
	f.Fuzz(func(t *testing.T, text string, n int) {
		n = max(1, min(n, 500))
		var p page
		p.line("%s", text)
		p.text(text, text)
		p.block(text, []string{text})
		p.table("", []int{10, 0}, []string{text, "B"}, [][]string{{text, text}})
		fits(t, p.String())
		safe := clean(text)
		if clean(safe) != safe {
			t.Errorf("%q is cleaned again", safe)
		}
		if w := width(cut(safe, n)); w > n {
			t.Errorf("cut to %d: %d columns", n, w)
		}
		for _, l := range wrap(safe, n) {
			if w := width(l); w > max(n, 2) {
				t.Errorf("wrap to %d: %d columns in %q", n, w, l)
			}
		}
	})
}
