package product

import (
	"net/http"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
)

// poolChat is chat with the pools as versions, and streams.
var poolChat = strings.NewReplacer(
	"backendRefs: [{name: fraud-v1, port: OUT_PORT, weight: 1}]",
	"backendRefs: [{group: inference.networking.k8s.io, kind: InferencePool, name: fraud-v1}]",
	"backendRef: {name: fraud-v1, port: OUT_PORT}", "backendRef: {kind: InferencePool, name: fraud-v1, port: 8000}",
).Replace(chat)

// TestPoolChat: of a completion both the picker and safestate read request and answer
// piece by piece.
func TestPoolChat(t *testing.T) {
	p := newPooled(t)
	p.serve()
	p.apply(poolChat)
	ask := func() answer {
		return call(http.MethodPost, p.port, "chat.example.com", "/v1/chat/completions", `{"model":"chat","messages":[{"role":"user","content":"Hi"}]}`)
	}
	var last answer
	defer func() { t.Log(last) }()
	dataplane.Eventually(t, patience, "the policy is at the gateway", func() bool { last = ask(); return last.source == "primary" && last.version == "v1" })
	p.picker.picks(p.at(p.other))
	p.picker.seen()
	asked := p.other.asked.Load()
	if last = ask(); last.source != "primary" || !strings.Contains(last.body, "Hello.") || p.other.asked.Load() != asked+1 {
		t.Errorf("%s; who was picked had %d requests", last, p.other.asked.Load()-asked)
	}
	p.other.nan.Store(true)
	p.picker.seen()
	if last = ask(); last.source != "safe_default" || !strings.Contains(last.body, "Not now.") {
		t.Errorf("a failed completion: %s", last)
	}
	// The answer comes by another route, which has no picker: it sees the request end.
	if n, _, statuses := p.picker.seen(); n != 1 || len(statuses) != 0 {
		t.Errorf("the picker saw %d requests, and of their answers %q", n, statuses)
	}
	dataplane.Eventually(t, patience, "the picker is told that requests are over", func() bool {
		p.picker.mu.Lock()
		defer p.picker.mu.Unlock()
		return p.picker.open == 0
	})
}
