package extproc

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/safestate/safestate/internal/policy"
)

// verdictIn is the word that Envoy has of the answer, empty: none.
func verdictIn(word *structpb.Struct) string {
	return word.GetFields()[policy.MetadataNamespace].GetStructValue().GetFields()[policy.MetadataVerdict].GetStringValue()
}

// TestWordBesideTheFilter: on a route of host Both Envoy has a word of an answer that
// comes piece by piece with its headers, so that the filter leaves it alone from its
// first byte, and the last word is what was counted.
func TestWordBesideTheFilter(t *testing.T) {
	spaced := func(p *policy.Policy) { p.Stream.BetweenTokens = policy.Duration(time.Hour) }
	watching := func(p *policy.Policy) { observe(p); p.Detect.Chat.Refusal = policy.Observe }
	const completion = `{"id":"1","object":"chat.completion","created":1,"model":"chat","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}`
	whole := strings.Replace(chatRequest, `"stream":true`, `"stream":false`, 1)
	for _, c := range []struct {
		name    string
		policy  *policy.Policy
		request string
		play    func(*talk)
		begun   string // with the headers
		last    string
	}{
		{"a clean stream", chatPolicy(spaced), chatRequest, func(x *talk) {
			x.respond(200, "text/event-stream", false)
			x.say(chunkRole+chunk("Hello"), false)
		}, policy.VerdictSeen, policy.VerdictSeen},
		{"a clean stream up to its end mark", chatPolicy(spaced), chatRequest, func(x *talk) {
			x.respond(200, "text/event-stream", false)
			x.say(chunkRole+chunk("Hello"), false)
			x.say(chunkStop+chunkDone, false)
		}, policy.VerdictSeen, policy.VerdictClean},
		{"a stream that fails behind its first content", chatPolicy(spaced), chatRequest, func(x *talk) {
			x.respond(200, "text/event-stream", false)
			x.say(chunkRole+chunk("Hello"), false)
			x.say("data: oops\n\n", false)
		}, policy.VerdictSeen, policy.VerdictCounted},
		{"a stream that fails before it", chatPolicy(spaced), chatRequest, func(x *talk) {
			x.respond(200, "text/event-stream", false)
			x.say("data: oops\n\n", false)
		}, policy.VerdictCounted, policy.VerdictCounted},
		{"a stream that is observed", chatPolicy(watching), chatRequest, func(x *talk) {
			x.respond(200, "text/event-stream", false)
		}, policy.VerdictSeen, policy.VerdictSeen},
		{"a whole answer", chatPolicy(spaced), whole, func(x *talk) {
			x.respond(200, "application/json", false)
			x.say(completion, true)
		}, policy.VerdictCounted, policy.VerdictCounted},
		{"a whole answer where a stream was asked for", chatPolicy(spaced), chatRequest, func(x *talk) {
			x.respond(200, "application/json", false)
			x.say(completion, true)
		}, policy.VerdictSeen, policy.VerdictSeen},
		{"an answer over the limit that passes", chatPolicy(spaced, func(p *policy.Policy) { p.Limits.ResponseOver = policy.OverPass }), whole, func(x *talk) {
			x.respond(200, "application/json", false)
			x.say(strings.Repeat(" ", 1<<20+1), true)
		}, policy.VerdictSeen, policy.VerdictSeen},
		{"a 500", chatPolicy(spaced), whole, func(x *talk) { x.respond(500, "text/plain", false) }, policy.VerdictCounted, policy.VerdictCounted},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.policy.Host = policy.HostBoth
			x := newTalk(t, c.policy, c.request)
			c.play(x)
			got := x.until("the word "+c.last, func(g caller) bool { return g.begun && verdictIn(g.word) == c.last })
			if got := verdictIn(got.begunWord); got != c.begun {
				t.Errorf("with its headers: %q, want %q", got, c.begun)
			}
		})
	}
}
