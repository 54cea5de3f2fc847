package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/clients"
	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

const (
	ruleText = "A rule answers."
	// silence is what a stream may have here, where nothing is about time.
	silence = 4 * time.Second
)

// chatStand is a data plane with one route that has all rungs of chat and one
// with none but the default.
type chatStand struct {
	plane             *dataplane.Plane
	primary, fallback *fm.Server
	http              *http.Client
	openai            *clients.OpenAI
}

func newChatStand(t *testing.T) *chatStand {
	t.Helper()
	s := &chatStand{http: &http.Client{}}
	t.Cleanup(s.http.CloseIdleConnections)
	s.primary, s.fallback = models(t)
	dir := t.TempDir()
	text := fill(t, "chat-ladder.yaml.tmpl", map[string]any{
		"PrimaryPort": s.primary.Port(), "FallbackPort": s.fallback.Port(), "Deadline": calmly.deadline, "FirstToken": silence,
		"BetweenTokens": silence, "FallbackDeadline": calmly.fallback, "Rule": ruleText, "Default": chatDefault,
	})
	if err := os.WriteFile(filepath.Join(dir, "chat.yaml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	s.plane = dataplane.Start(t, dataplane.Options{Config: dir})
	s.openai = clients.StartOpenAI(t, "http://"+s.plane.Traffic)
	return s
}

// each asks the same by bytes and through the openai library, plain and as a
// stream, chat and legacy.
func (s *chatStand) each(t *testing.T, q chatCall, check func(way string, q chatCall, h heard)) {
	t.Helper()
	for _, stream := range []bool{false, true} {
		for _, legacy := range []bool{false, true} {
			if q.prefill && legacy {
				continue
			}
			q.stream, q.legacy, q.usage = stream, legacy, stream
			ask := q.request(t)
			ask.Header = http.Header{"X-Tenant": {"a"}}
			way := fmt.Sprintf("stream %v, legacy %v", stream, legacy)
			check(way+", by bytes", q, calm(func() heard { return hear(s.http, s.plane.Traffic, ask, stream) }))
			base := "http://" + s.plane.Traffic + "/openai/" + q.route + "/v1"
			call := clients.Chat{
				Stream: stream, Legacy: legacy, BaseURL: base, Body: q.arguments(), Seconds: 15, Header: map[string]string{"x-tenant": "a"},
			}
			check(way+", by openai", q, calm(func() heard { return fromOpenAI(s.openai.Ask(t, call)) }))
		}
	}
}

// calm asks once more, up to twice, where Envoy gave up waiting for the processor: on a
// busy machine that is right.
func calm(ask func() heard) heard {
	return again(3, ask, func(h heard) bool { return h.reason == "processor_away" || h.code == "safestate_processor_away" })
}

// says returns a check of an answer of a source: whole, of one model, with the
// text that this one says.
func says(t *testing.T, source, model, text string) func(string, chatCall, heard) {
	return func(way string, q chatCall, h heard) {
		t.Helper()
		switch {
		case h.problem != "" || h.how != answered || h.source != source:
			t.Errorf("%s: want an answer of %s; %s", way, source, h)
		case len(h.texts) != 1 || h.texts[0] != text || h.finish[0] != "stop" || !slices.Equal(h.models, []string{model}):
			t.Errorf("%s: want %q by %s; %s", way, text, model, h)
		case q.stream != strings.HasPrefix(h.kind, "text/event-stream") || h.usage == nil || leaked(h) != "":
			t.Errorf("%s: content-type %q, usage %v, leak %s", way, h.kind, h.usage, leaked(h))
		}
	}
}

// TestEveryRungOfChat walks down the ladder of chat: each rung answers when those
// before it cannot, in the form that was asked for.
func TestEveryRungOfChat(t *testing.T) {
	s := newChatStand(t)
	seen := chatCall{route: "ladder", ask: "seen before"}
	s.each(t, seen, says(t, "primary", "ladder", wholeText))
	for _, f := range []fm.Fault{fm.S04UnavailableForEver, fm.S05ResetBeforeHeaders, fm.C12EmptyContent} {
		s.primary.Set(f, 0)
		before := s.primary.Count(f)
		s.each(t, seen, says(t, "cache", "ladder", wholeText))
		s.each(t, chatCall{route: "ladder"}, says(t, "fallback", "small", words("s", fm.StreamTokens)))
		s.fallback.Set(fm.C12NullContent, 0)
		s.each(t, chatCall{route: "ladder"}, says(t, "rules", "rules", ruleText))
		dataplane.Eventually(t, 10*time.Second, "the fallback was asked", func() bool { return s.fallback.Count(fm.C12NullContent) > 0 })
		s.fallback.Set(fm.None, 0)
		s.each(t, chatCall{route: "ladder-default"}, says(t, "safe_default", "safe-default", defaultText))
		if s.primary.Count(f) == before {
			t.Errorf("%s was not there", f)
		}
	}
	everySourceCounts(t, s.plane)
}

// TestFallbackIsStreamed: what another model says is passed on as it says it.
func TestFallbackIsStreamed(t *testing.T) {
	s := newChatStand(t)
	s.primary.Set(fm.S04UnavailableForEver, 0)
	s.fallback.SetPace(40 * time.Millisecond)
	q := chatCall{route: "ladder", stream: true}
	h := calm(func() heard { return hear(s.http, s.plane.Traffic, q.request(t), true) })
	says(t, "fallback", "small", words("s", fm.StreamTokens))("by bytes", chatCall{stream: true}, withUsage(h))
	if h.took < 2*time.Second || h.first > h.took/2 {
		t.Errorf("the first content came after %s, the last after %s: it was gathered", h.first, h.took)
	}
}

func withUsage(h heard) heard {
	h.usage = &clients.Usage{}
	return h
}

// TestFallbackRefuses: a fallback model that cannot answer, because of a turn
// that the caller has begun for it, is passed over; its objection is not the
// caller's, however the first model failed.
func TestFallbackRefuses(t *testing.T) {
	s := newChatStand(t)
	for _, f := range []fm.Fault{fm.S04UnavailableForEver, fm.S08StreamEnd, fm.S09StreamStalls, fm.S10NotJSON} {
		s.primary.SetAt(f, 0, 0)
		s.each(t, chatCall{route: "ladder", prefill: true}, func(way string, q chatCall, h heard) {
			if !q.stream && f != fm.S04UnavailableForEver {
				says(t, "primary", "ladder", wholeText)(way, q, h)
				return
			}
			says(t, "rules", "rules", ruleText)(f.String()+", "+way, q, h)
		})
	}
}

// TestLastRungOfChat: with safestate dead every caller gets an error that it
// raises, not something that it takes for an empty answer.
func TestLastRungOfChat(t *testing.T) {
	s := newChatStand(t)
	s.each(t, chatCall{route: "ladder"}, says(t, "primary", "ladder", wholeText))
	s.plane.Safestate.Kill()
	asked := s.primary.Requests()
	s.each(t, chatCall{route: "ladder"}, func(way string, _ chatCall, h heard) {
		if h.how != refused || h.status != http.StatusServiceUnavailable || h.code != "safestate_processor_away" || h.source != "safe_default" || h.problem != "" {
			t.Errorf("%s: %s", way, h)
		}
	})
	if n := s.primary.Requests() - asked; n != 0 {
		t.Errorf("the model was asked %d times with nobody to look at what it says", n)
	}
	s.plane.StartSafestate()
	dataplane.Eventually(t, 30*time.Second, "the model answers again", func() bool {
		return hear(s.http, s.plane.Traffic, chatCall{route: "ladder"}.request(t), false).source == "primary"
	})
}

// TestLargeRequestsGoElsewhere: a request with which no model is to be asked goes
// to the ladder as it is, in however many pieces it comes: none of it reaches
// the model.
func TestLargeRequestsGoElsewhere(t *testing.T) {
	s := newChatStand(t)
	for i := range 24 {
		q := chatCall{route: "ladder-away", ask: strings.Repeat(fmt.Sprint("word ", i, " "), 1<<(i%4)*10_000), stream: i%4 > 0, usage: true}
		h := calm(func() heard { return hear(s.http, s.plane.Traffic, q.request(t), q.stream) })
		says(t, "fallback", "small", words("s", fm.StreamTokens))(fmt.Sprint(len(q.ask), " bytes"), q, h)
		if !strings.HasPrefix(h.reason, "breaker_open") {
			t.Errorf("reason %q", h.reason)
		}
	}
	if n := s.primary.Requests(); n != 0 {
		t.Errorf("the model that is held away was asked %d times", n)
	}
}
