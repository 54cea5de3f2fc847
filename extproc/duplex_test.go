package extproc

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/proto"

	"github.com/safestate/safestate/internal/policy"
)

// TestPieceIsTheProto holds the reply that is written by hand against the
// generated type.
func TestPieceIsTheProto(t *testing.T) {
	for _, body := range []string{"", "x", strings.Repeat("y", 127), strings.Repeat("z", 128), strings.Repeat("long", 1<<16)} {
		for _, last := range []bool{false, true} {
			want := &message{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{
				Response: &extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_StreamedResponse{
					StreamedResponse: &extprocv3.StreamedBodyResponse{Body: []byte(body), EndOfStream: last},
				}}},
			}}}
			got := new(message)
			if err := proto.Unmarshal(piece([]byte(body), last).wire, got); err != nil {
				t.Fatalf("%d bytes, last %v: %v", len(body), last, err)
			}
			if !proto.Equal(got, want) && len(body) > 0 {
				t.Errorf("%d bytes, last %v: another message", len(body), last)
			}
			if s := got.GetResponseBody().GetResponse().GetBodyMutation().GetStreamedResponse(); !bytes.Equal(s.GetBody(), []byte(body)) || s.GetEndOfStream() != last {
				t.Errorf("%d bytes, last %v: got %d, %v", len(body), last, len(s.GetBody()), s.GetEndOfStream())
			}
		}
	}
}

func TestCleanStream(t *testing.T) {
	c := newTalk(t, chatPolicy(), chatRequest)
	c.respond(200, "text/event-stream", false)
	c.say(chunkRole, false)
	c.say(": a comment\n\n", false)
	c.say(chunk("Hello"), false)
	got := c.until("the commit", func(g caller) bool { return strings.Contains(g.body, "Hello") })
	if got.headers["x-safestate-source"] != "primary" || got.headers["x-safestate-version"] != "v1" {
		t.Errorf("headers %v", got.headers)
	}
	c.say(chunk(" world")+chunkStop, false)
	c.say(chunkDone, false)
	c.say("", true)
	got = c.done()
	if want := chunkRole + ": a comment\n\n" + chunk("Hello") + chunk(" world") + chunkStop + chunkDone; got.body != want {
		t.Errorf("the caller got\n%s\nwant\n%s", got.body, want)
	}
	if n := c.served(t, "primary"); n != 1 {
		t.Errorf("served by the model: %v, want 1", n)
	}
}

// TestNothingGoesOutBeforeTheFirstContent also shows that a rung answers then.
func TestStreamFailsBeforeItsCommit(t *testing.T) {
	for name, bad := range map[string]string{
		"no JSON":            "data: oops\n\n",
		"an error":           `data: {"error":{"message":"CUDA at /srv/x.py"}}` + "\n\n",
		"done at once":       chunkDone,
		"a filter's verdict": strings.Replace(chunkStop, `"stop"`, `"content_filter"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			c := newTalk(t, chatPolicy(), chatRequest)
			c.respond(200, "text/event-stream", false)
			c.say(chunkRole, false)
			c.say(bad, false)
			got := c.done()
			if got.headers["x-safestate-source"] != "safe_default" || got.headers["content-type"] != "text/event-stream" {
				t.Errorf("headers %v", got.headers)
			}
			if !strings.Contains(got.body, "Please try again later.") || !strings.HasSuffix(got.body, chunkDone) {
				t.Errorf("body %s", got.body)
			}
		})
	}
}

func TestStreamFailsAfterItsCommit(t *testing.T) {
	for name, c := range map[string]struct {
		say  string
		end  bool
		code string
	}{
		"no JSON":            {"data: oops\n\n", false, "safestate_broken_syntax"},
		"an error":           {`data: {"error":{"message":"CUDA at /srv/x.py"}}` + "\n\n", false, "safestate_broken_error_object"},
		"the body ends":      {"", true, "safestate_broken_truncated"},
		"done too early":     {chunkDone, false, "safestate_broken_truncated"},
		"silence":            {"", false, "safestate_stream_stalled"},
		"a filter's verdict": {strings.Replace(chunkStop, `"stop"`, `"content_filter"`, 1), false, "safestate_chat_content_filter"},
	} {
		t.Run(name, func(t *testing.T) {
			pol := chatPolicy()
			if name == "silence" {
				silent(pol)
			}
			x := newTalk(t, pol, chatRequest)
			x.respond(200, "text/event-stream", false)
			x.say(chunkRole+chunk("Hello"), false)
			x.until("the commit", func(g caller) bool { return strings.Contains(g.body, "Hello") })
			if c.say != "" || c.end {
				x.say(c.say, c.end)
			}
			got := x.done()
			if !strings.Contains(got.body, c.code) || strings.Contains(got.body, chunkDone) || strings.Contains(got.body, "/srv/") {
				t.Errorf("body %s, want an error event with %s and no [DONE]", got.body, c.code)
			}
			if n := x.served(t, "cut"); n != 1 {
				t.Errorf("cut: %v, want 1", n)
			}
		})
	}
}

func TestFirstContentLate(t *testing.T) {
	for name, say := range map[string]string{"headers only": "", "a preamble": chunkRole} {
		t.Run(name, func(t *testing.T) {
			c := newTalk(t, chatPolicy(hurried), chatRequest)
			c.respond(200, "text/event-stream", false)
			if say != "" {
				c.say(say, false)
			}
			got := c.done()
			if got.headers["x-safestate-source"] != "safe_default" || got.headers["x-safestate-reason"] != "late before the first content" {
				t.Errorf("headers %v", got.headers)
			}
		})
	}
}

// TestNoDone: the answer is complete, and nobody has to wait for what some
// servers never send.
func TestNoDone(t *testing.T) {
	for name, end := range map[string]bool{"closed": true, "held open": false} {
		t.Run(name, func(t *testing.T) {
			c := newTalk(t, chatPolicy(), chatRequest)
			c.respond(200, "text/event-stream", false)
			c.say(chunk("Hello"), false)
			c.say(chunkStop, end)
			got := c.done()
			if !strings.HasSuffix(got.body, chunkStop+chunkDone) {
				t.Errorf("body %s", got.body)
			}
			if n := c.served(t, "primary"); n != 1 {
				t.Errorf("served by the model: %v, want 1", n)
			}
		})
	}
}

func TestPlainCompletion(t *testing.T) {
	const clean = `{"id":"1","object":"chat.completion","created":1,"model":"big","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}`
	ask := strings.Replace(chatRequest, `,"stream":true`, "", 1)
	for _, c := range []struct {
		name   string
		status int
		pieces []string
		source string
		body   string
	}{
		{"clean", 200, []string{clean[:40], clean[40:]}, "primary", clean},
		{"no content", 200, []string{strings.Replace(clean, `"Hello"`, `""`, 1)}, "safe_default", chatDefault},
		{"500", 500, []string{"boom"}, "safe_default", chatDefault},
		{"400", 400, []string{`{"error":{"code":"context_length_exceeded"}}`}, "primary", `{"error":{"code":"context_length_exceeded"}}`},
		{"over the limit", 200, []string{strings.Repeat(" ", 40<<10), strings.Repeat(" ", 40<<10)}, "safe_default", chatDefault},
		{"observed", 200, []string{strings.Replace(clean, `"Hello"`, `""`, 1)}, "primary", strings.Replace(clean, `"Hello"`, `""`, 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := chatPolicy()
			if c.name == "observed" {
				observe(p)
			}
			x := newTalk(t, p, ask)
			x.respond(c.status, "application/json", false)
			for _, s := range c.pieces {
				x.say(s, false)
			}
			if c.source == "primary" || c.name == "no content" { // the others fail before their end
				x.say("", true)
			}
			got := x.done()
			if got.body != c.body || got.headers["x-safestate-source"] != c.source {
				t.Errorf("source %q, body %s", got.headers["x-safestate-source"], got.body)
			}
		})
	}
}

// TestWholeForStream: a completion that comes whole to who asked for a stream
// goes out as one, or clients would take it for a stream without events.
func TestWholeForStream(t *testing.T) {
	const clean = `{"id":"1","object":"chat.completion","created":1,"model":"big","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}`
	for _, observed := range []bool{false, true} {
		p := chatPolicy()
		if observed {
			observe(p)
		}
		x := newTalk(t, p, chatRequest)
		x.respond(200, "application/json", false, "content-length", strconv.Itoa(len(clean)), "etag", "x")
		x.say(clean, true)
		got := x.done()
		switch {
		case observed:
			if got.body != clean || got.headers["content-type"] != "application/json" {
				t.Errorf("observed: %v %s", got.headers, got.body)
			}
		case got.headers["content-type"] != "text/event-stream" || got.headers["etag"] != "" || got.headers["content-length"] != "" || got.headers["x-safestate-source"] != "primary",
			!strings.Contains(got.body, `"content":"Hello"`) || !strings.HasPrefix(got.body, "data: ") || !strings.HasSuffix(got.body, "data: [DONE]\n\n"):
			t.Errorf("%v %s", got.headers, got.body)
		}
	}
}

// TestEndStreams: what is under way when the process ends gets an answer or an
// error event, never silence.
func TestEndStreams(t *testing.T) {
	p := newProxy(t)
	held, flowing := p.converse(chatPolicy(), chatPath, chatRequest, nil), p.converse(chatPolicy(), chatPath, chatRequest, nil)
	for _, c := range []*talk{held, flowing} {
		c.respond(200, "text/event-stream", false)
	}
	flowing.say(chunk("Hello"), false)
	flowing.until("the commit", func(g caller) bool { return g.begun })
	held.until("both to be known", func(caller) bool { return len(p.server.streams.list()) == 2 })
	p.server.EndStreams()
	a := held.until("the end", func(g caller) bool { return g.ended })
	b := flowing.until("the end", func(g caller) bool { return g.ended })
	if !strings.Contains(a.body, "Please try again later.") {
		t.Errorf("held: %s", a.body)
	}
	if !strings.Contains(b.body, "safestate_draining") {
		t.Errorf("flowing: %s", b.body)
	}
	_, _ = held.stream.CloseSend(), flowing.stream.CloseSend()
	p.settled()
}

// TestElsewhere: what one immediate response cannot hold is asked of the
// ladder's own upstream.
func TestElsewhere(t *testing.T) {
	pol := chatPolicy(func(p *policy.Policy) {
		p.Detect.Request = []policy.RequestCheck{{Mode: policy.Enforce, Field: "request.user", Required: true}}
		p.Ladder = append([]policy.Rung{{Fallback: &policy.Fallback{
			Model: "default/small", ServedName: "small", Protocol: policy.OpenAI,
			Endpoints: []policy.Endpoint{{Address: "127.0.0.1", Port: 1}}, Deadline: p.Deadline, MaxBytes: 1 << 20,
		}}}, p.Ladder...)
	})
	c := newProxy(t).converse(pol, chatPath, chatRequest, nil)
	got := c.until("the request", func(g caller) bool { return g.elsewhere })
	if !strings.HasPrefix(got.told[policy.HeaderAnswer], "request_missing") || got.told[policy.HeaderCluster] == "" {
		t.Errorf("told %v", got.told)
	}
	c.respond(200, "text/event-stream", false, "x-safestate-source", "fallback", "x-safestate-model", "default/small")
	c.say(chunk("Hello"), false)
	c.say(chunkStop+chunkDone, true)
	if got = c.done(); got.body != chunk("Hello")+chunkStop+chunkDone {
		t.Errorf("body %s", got.body)
	}
	if n := c.served(t, "fallback"); n != 1 {
		t.Errorf("served by the fallback: %v, want 1", n)
	}
}
