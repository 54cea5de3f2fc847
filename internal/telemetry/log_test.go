package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

func lines(t *testing.T, b *bytes.Buffer) []map[string]any {
	t.Helper()
	var out []map[string]any
	for _, l := range strings.Split(strings.TrimSpace(b.String()), "\n") {
		if l == "" {
			continue
		}
		var m map[string]any
		if err := json.Unmarshal([]byte(l), &m); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		out = append(out, m)
	}
	b.Reset()
	return out
}

func TestFailedAnswerLine(t *testing.T) {
	var b bytes.Buffer
	l := NewLog(&b, LogOptions{}, nil)
	l.FailedAnswer(Failure{
		Route: fraudRoute, Model: "default/fraud", Version: "v1", Reason: "nonfinite outputs[0].data[17] null", Detector: "nonfinite",
		Source: SourceRules, Status: 200, RequestID: "abc", Took: 12345 * time.Microsecond,
	})
	got := lines(t, &b)
	if len(got) != 1 {
		t.Fatalf("%d lines", len(got))
	}
	for key, want := range map[string]any{
		"level": "warn", "message": "answer failed", "route": fraudRoute, "model": "default/fraud", "version": "v1",
		"reason": "nonfinite outputs[0].data[17] null", "detector": "nonfinite", "source": "rules",
		"status": 200.0, "request_id": "abc", "took_ms": 12.345,
	} {
		if got[0][key] != want {
			t.Errorf("%s is %v, want %v", key, got[0][key], want)
		}
	}
	for _, key := range []string{"request", "response", "answer_model", "dropped", "node"} {
		if v, ok := got[0][key]; ok {
			t.Errorf("%s is there: %v", key, v)
		}
	}
	if at, err := time.Parse(time.RFC3339, got[0]["time"].(string)); err != nil || time.Since(at) > time.Minute {
		t.Errorf("time is %v: %v", got[0]["time"], err)
	}
}

func TestPayloadsAreCut(t *testing.T) {
	var b bytes.Buffer
	l := NewLog(&b, LogOptions{}, nil)
	l.FailedAnswer(Failure{Route: "r", Request: []byte(`{"a":1}`), Response: bytes.Repeat([]byte("x"), MaxLoggedPayload+1)})
	got := lines(t, &b)[0]
	if got["request"] != `{"a":1}` || len(got["response"].(string)) != MaxLoggedPayload || got["response_bytes"] != float64(MaxLoggedPayload+1) {
		t.Errorf("request %v, response of %d, response_bytes %v", got["request"], len(got["response"].(string)), got["response_bytes"])
	}
}

func TestSampling(t *testing.T) {
	var b bytes.Buffer
	m := NewMetrics("test", Caps{})
	l := NewLog(&b, LogOptions{}, m)
	now := time.Unix(1000, 0)
	l.now = func() time.Time { return now }

	for range 25 {
		l.FailedAnswer(Failure{Route: "busy"})
	}
	l.FailedAnswer(Failure{Route: "quiet"})
	got := lines(t, &b)
	if len(got) != 11 || got[10]["route"] != "quiet" {
		t.Fatalf("%d lines, want 10 of busy and 1 of quiet", len(got))
	}
	if got := value(t, m, "safestate_log_lines_dropped_total"); got != 15 {
		t.Errorf("%v counted as dropped, want 15", got)
	}

	now = now.Add(100 * time.Millisecond) // one token at 10 a second
	l.FailedAnswer(Failure{Route: "busy"})
	l.FailedAnswer(Failure{Route: "busy"})
	got = lines(t, &b)
	if len(got) != 1 || got[0]["dropped"] != 15.0 {
		t.Fatalf("after 100 ms: %v, want one line that reports 15", got)
	}
	l.Flush()
	got = lines(t, &b)
	if len(got) != 1 || got[0]["dropped"] != 1.0 || got[0]["route"] != "busy" {
		t.Errorf("flush: %v, want one line that reports 1", got)
	}
	l.Flush()
	if got = lines(t, &b); len(got) != 0 {
		t.Errorf("a second flush says %v", got)
	}
}

func TestQuietTimeSavesNoMoreThanASecond(t *testing.T) {
	s := newSampler(10)
	now := time.Unix(1000, 0)
	s.allow("r", now)
	now = now.Add(time.Hour)
	written := 0
	for range 100 {
		if _, ok := s.allow("r", now); ok {
			written++
		}
	}
	if written != 10 {
		t.Errorf("%d lines at once after an hour, want 10", written)
	}
}

func TestSamplingIsBounded(t *testing.T) {
	s := newSampler(1)
	now := time.Unix(1000, 0)
	for i := range 3 * maxSampled {
		s.allow(fmt.Sprint("r", i), now)
	}
	if len(s.buckets) > maxSampled+1 {
		t.Errorf("%d buckets", len(s.buckets))
	}
	var last uint64
	for _, n := range s.drain() {
		last += n
	}
	// maxSampled routes and the shared bucket had a token each.
	if want := uint64(2*maxSampled - 1); last != want {
		t.Errorf("%d left out, want %d", last, want)
	}
}

func TestNoLimitWhereNegative(t *testing.T) {
	var b bytes.Buffer
	l := NewLog(&b, LogOptions{PerSecond: -1}, nil)
	for range 100 {
		l.FailedAnswer(Failure{Route: "r"})
	}
	if got := len(lines(t, &b)); got != 100 {
		t.Errorf("%d lines, want 100", got)
	}
}

func TestBadPolicyIsSampled(t *testing.T) {
	var b bytes.Buffer
	l := NewLog(&b, LogOptions{PerSecond: 2}, nil)
	now := time.Unix(1000, 0)
	l.now = func() time.Time { return now }
	for range 5 {
		l.BadPolicy(errors.New("format 9"))
	}
	got := lines(t, &b)
	if len(got) != 2 || got[0]["error"] != "format 9" || got[0]["level"] != "error" {
		t.Errorf("got %v", got)
	}
}

func TestLevelAndConsole(t *testing.T) {
	var b bytes.Buffer
	l := NewLog(&b, LogOptions{Level: zerolog.ErrorLevel}, nil)
	l.FailedAnswer(Failure{Route: "r"})
	l.Info().Msg("hello")
	if b.Len() != 0 {
		t.Errorf("written under the level: %s", b.String())
	}
	l = NewLog(&b, LogOptions{Console: true}, nil)
	l.Info().Str("dir", "x").Msg("configuration applied")
	if s := b.String(); strings.HasPrefix(s, "{") || !strings.Contains(s, "configuration applied") {
		t.Errorf("console line %q", s)
	}
	NopLog().FailedAnswer(Failure{Route: "r"})
}
