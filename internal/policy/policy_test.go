package policy

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func valid() *Policy {
	return &Policy{
		Format: FormatVersion, Name: "default/p", Route: "default/r/s", Mode: Enforce,
		Protocol: OpenInferenceV2, Model: "default/m",
		Deadline: Duration(80 * time.Millisecond), Reserve: Duration(5 * time.Millisecond),
		Limits: Limits{BodyBytes: 1 << 20},
		Ladder: []Rung{{SafeDefault: &SafeDefault{Body: `{"a":"<b>"}`}}},
	}
}

func TestRoundTrip(t *testing.T) {
	text, err := valid().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"deadline":"80ms"`) || !strings.Contains(string(text), "<b>") || strings.HasSuffix(string(text), "\n") {
		t.Errorf("marshalled as %s", text)
	}
	p, err := Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	again, err := p.Marshal()
	if err != nil || string(again) != string(text) {
		t.Errorf("a second time it is %s (%v)", again, err)
	}
	if p.Default().Body != `{"a":"<b>"}` {
		t.Errorf("the last rung is %+v", p.Default())
	}
}

func TestParseRefusesWhatWouldHurt(t *testing.T) {
	for name, change := range map[string]func(*Policy){
		"another format":                  func(p *Policy) { p.Format = FormatVersion + 1 },
		"no ladder":                       func(p *Policy) { p.Ladder = nil },
		"a default that is not last":      func(p *Policy) { p.Ladder = append(p.Ladder, Rung{Cache: &Cache{}}) },
		"no deadline":                     func(p *Policy) { p.Deadline = 0 },
		"a reserve that leaves no time":   func(p *Policy) { p.Reserve = p.Deadline },
		"no limit":                        func(p *Policy) { p.Limits.BodyBytes = 0 },
		"more than a policy's metadata":   func(p *Policy) { p.Name = strings.Repeat("x", MaxBytes) },
		"a negative reserve":              func(p *Policy) { p.Reserve = -1 },
		"a limit that is less than none":  func(p *Policy) { p.Limits.BodyBytes = -1 },
		"a deadline that has passed once": func(p *Policy) { p.Deadline = -1 },
	} {
		p := valid()
		change(p)
		text, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(string(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := Parse("{"); err == nil {
		t.Error("half a policy was accepted")
	}
	if _, err := Parse(`{"format": 99}`); !errors.Is(err, ErrFormat) {
		t.Errorf("got %v, want ErrFormat", err)
	}
}

func TestFullyEnforced(t *testing.T) {
	for _, c := range []struct {
		mode    Mode
		percent float64
		want    bool
	}{{Enforce, 0, true}, {Enforce, 100, true}, {Enforce, 99.9, false}, {Observe, 0, false}, {"", 100, false}} {
		p := Policy{Mode: c.mode, EnforcePercent: c.percent}
		if got := p.FullyEnforced(); got != c.want {
			t.Errorf("%q at %v %%: %v", c.mode, c.percent, got)
		}
	}
}
