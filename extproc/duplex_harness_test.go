package extproc

import (
	"strconv"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/safestate/safestate/internal/policy"
)

// talk plays Envoy on a duplex route: messages go out when the test says so,
// and replies are carried out as they come.
type talk struct {
	*proxy
	stream grpc.BidiStreamingClient[extprocv3.ProcessingRequest, extprocv3.ProcessingResponse]

	mu  sync.Mutex
	got caller
	// answered: the model's headers have been sent.
	answered bool
}

// caller is what the caller of a duplex route has so far.
type caller struct {
	begun      bool // the headers went out
	status     int
	headers    map[string]string
	body       string
	pieces     int
	ended      bool // by the last piece, trailers or an immediate response
	immediate  bool
	grpcStatus int // of an immediate response; -1: none
	trailers   map[string]string
	elsewhere  bool              // the request went to the ladder's upstream
	told       map[string]string // headers that the request was given
	over       bool              // the processor has ended its stream
	word       *structpb.Struct  // what the processor said last of its verdict; nil: nothing
	begunWord  *structpb.Struct  // the same when the headers went out
}

// converse sends the request's messages and waits for their replies.
func (p *proxy) converse(pol *policy.Policy, path, body string, more map[string]string) *talk {
	p.t.Helper()
	stream, err := p.client.Process(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	c := &talk{proxy: p, stream: stream}
	c.got = caller{headers: map[string]string{}, trailers: map[string]string{}, told: map[string]string{}, grpcStatus: -1}
	x := &play{proxy: p, request: request{policy: pol, path: path, body: body, headers: more}.withDefaults()}
	for cluster := range pol.Versions {
		x.request.cluster = cluster
	}
	replies := make(chan struct{}, 16)
	go c.read(replies)
	c.send(x.requestHeaders())
	<-replies
	if body != "" {
		c.send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{
			RequestBody: &extprocv3.HttpBody{Body: []byte(body), EndOfStream: true},
		}})
		<-replies
	}
	return c
}

func (c *talk) send(m *extprocv3.ProcessingRequest) {
	c.t.Helper()
	if err := c.stream.Send(m); err != nil {
		c.t.Fatal(err)
	}
}

// respond sends the headers of the model's answer.
func (c *talk) respond(status int, contentType string, end bool, more ...string) {
	list := []*corev3.HeaderValue{header(":status", strconv.Itoa(status)), header("content-type", contentType)}
	c.mu.Lock()
	c.got.status, c.answered = status, true
	c.got.headers["content-type"] = contentType
	for i := 0; i+1 < len(more); i += 2 {
		list = append(list, header(more[i], more[i+1]))
		c.got.headers[more[i]] = more[i+1]
	}
	c.mu.Unlock()
	c.send(&extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{
			Headers: &corev3.HeaderMap{Headers: list}, EndOfStream: end,
		}},
		Attributes: attributes(map[string]string{policy.AttributeCodeDetails: "via_upstream"}),
	})
}

// say sends a piece of the model's body.
func (c *talk) say(body string, end bool) {
	c.send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{
		ResponseBody: &extprocv3.HttpBody{Body: []byte(body), EndOfStream: end},
	}})
}

// trail sends the model's trailers.
func (c *talk) trail(pairs ...string) {
	var list []*corev3.HeaderValue
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, header(pairs[i], pairs[i+1]))
	}
	c.send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseTrailers{
		ResponseTrailers: &extprocv3.HttpTrailers{Trailers: &corev3.HeaderMap{Headers: list}},
	}})
}

// until waits for a state of the caller and returns it.
func (c *talk) until(what string, holds func(caller) bool) caller {
	c.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		c.mu.Lock()
		got := c.got
		c.mu.Unlock()
		if holds(got) {
			return got
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("waited for %s; the caller has %+v", what, got)
		}
		time.Sleep(time.Millisecond) // a poll with a bound
	}
}

func (c *talk) done() caller {
	c.t.Helper()
	got := c.until("the end", func(g caller) bool { return g.ended })
	_ = c.stream.CloseSend()
	c.settled()
	return got
}

// read carries out replies until the processor ends its stream.
func (c *talk) read(requests chan<- struct{}) {
	for {
		r, err := c.stream.Recv()
		c.mu.Lock()
		if err != nil {
			c.got.over = true
			c.mu.Unlock()
			close(requests)
			return
		}
		request := c.carryOut(r)
		c.mu.Unlock()
		if request {
			requests <- struct{}{}
		}
	}
}

// carryOut does with a reply what Envoy does, and reports whether it was one to
// the request's half.
func (c *talk) carryOut(r *extprocv3.ProcessingResponse) (request bool) {
	g := &c.got
	if word := r.GetDynamicMetadata(); word != nil {
		g.word = word
	}
	if !g.begun {
		g.begunWord = g.word
	}
	switch v := r.Response.(type) {
	case *extprocv3.ProcessingResponse_RequestHeaders:
		c.told(v.RequestHeaders.GetResponse())
		return true
	case *extprocv3.ProcessingResponse_RequestBody:
		c.told(v.RequestBody.GetResponse())
		return true
	case *extprocv3.ProcessingResponse_ImmediateResponse:
		i := v.ImmediateResponse
		if g.begun {
			c.t.Error("an immediate response behind headers that are out: Envoy would reset the caller")
		}
		g.immediate, g.begun, g.ended = true, true, true
		g.status, g.body, g.headers = int(i.Status.GetCode()), string(i.Body), map[string]string{}
		if i.GrpcStatus != nil {
			g.grpcStatus = int(i.GrpcStatus.Status)
		}
		mutate(g.headers, &g.status, i.Headers)
		return !c.answered
	case *extprocv3.ProcessingResponse_ResponseHeaders:
		if g.begun {
			c.t.Error("a second reply to the headers")
		}
		g.begun = true
		mutate(g.headers, &g.status, v.ResponseHeaders.GetResponse().GetHeaderMutation())
		if v.ResponseHeaders.GetResponse().GetStatus() == extprocv3.CommonResponse_CONTINUE_AND_REPLACE {
			g.body, g.ended = string(v.ResponseHeaders.Response.GetBodyMutation().GetBody()), true
		}
	case *extprocv3.ProcessingResponse_ResponseBody:
		s := v.ResponseBody.GetResponse().GetBodyMutation().GetStreamedResponse()
		switch {
		case !g.begun || s == nil:
			c.t.Errorf("a piece before the headers, or none at all: %v", r)
		case g.ended:
			c.t.Error("a piece behind the last one")
		}
		g.body += string(s.GetBody())
		g.pieces++
		g.ended = s.GetEndOfStream()
	case *extprocv3.ProcessingResponse_ResponseTrailers:
		if g.ended || !g.begun {
			c.t.Error("trailers behind the end, or before the headers")
		}
		g.ended = true
		mutate(g.trailers, new(int), v.ResponseTrailers.GetHeaderMutation())
	}
	return false
}

func (c *talk) told(r *extprocv3.CommonResponse) {
	for _, o := range r.GetHeaderMutation().GetSetHeaders() {
		c.got.told[o.Header.Key] = string(o.Header.RawValue)
	}
	c.got.elsewhere = c.got.told[policy.HeaderAnswer] != ""
}

// served counts the answers that went out from a source.
func (c *talk) served(t *testing.T, source string) float64 {
	t.Helper()
	families, err := c.metrics.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := 0.0
	for _, f := range families {
		if f.GetName() != "safestate_prediction_served_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "source" && l.GetValue() == source {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}

func mutate(h map[string]string, status *int, m *extprocv3.HeaderMutation) {
	for _, name := range m.GetRemoveHeaders() {
		delete(h, name)
	}
	for _, o := range m.GetSetHeaders() {
		if o.Header.Key == ":status" {
			*status, _ = strconv.Atoi(string(o.Header.RawValue))
			continue
		}
		h[o.Header.Key] = string(o.Header.RawValue)
	}
}

// chatPolicy enforces on a chat route, with nothing on its ladder but a default, and
// has time for a busy machine.
func chatPolicy(change ...func(*policy.Policy)) *policy.Policy {
	p := &policy.Policy{
		Format: policy.FormatVersion, Name: "default/chat", Route: "default/chat/all",
		Mode: policy.Enforce, Protocol: policy.OpenAI, Model: "default/chat", ServedName: "big",
		Versions: map[string]policy.Version{"default/chat/v1": {Name: "v1"}},
		Deadline: policy.Duration(30 * time.Second), Reserve: policy.Duration(time.Second),
		Stream: &policy.Stream{
			FirstToken: policy.Duration(20 * time.Second), BetweenTokens: policy.Duration(20 * time.Second),
			MaxDuration: policy.Duration(2 * time.Minute), HoldBytes: 64 << 10,
		},
		Limits: policy.Limits{BodyBytes: 64 << 10},
		Detect: policy.Detect{
			NonFinite: &policy.NonFinite{Mode: policy.Enforce},
			Broken:    &policy.Broken{Mode: policy.Enforce},
			Late:      &policy.Late{Mode: policy.Enforce},
			Chat:      &policy.Chat{Choices: policy.Enforce, ContentFilter: policy.Enforce, Refusal: policy.Enforce},
		},
		Ladder: []policy.Rung{{SafeDefault: &policy.SafeDefault{Body: chatDefault}}},
		Needs:  policy.Needs{RequestBody: true, Duplex: true},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

// hurried gives the first content little time, and silent what comes after it.
func hurried(p *policy.Policy) { p.Stream.FirstToken = policy.Duration(500 * time.Millisecond) }
func silent(p *policy.Policy)  { p.Stream.BetweenTokens = policy.Duration(300 * time.Millisecond) }

const (
	chatPath    = "/v1/chat/completions"
	chatDefault = `{"id":"d","object":"chat.completion","created":0,"model":"none","choices":[{"index":0,"message":{"role":"assistant","content":"Please try again later."},"finish_reason":"stop"}]}`
	chatRequest = `{"model":"big","messages":[{"role":"user","content":"hi"}],"stream":true}`
)

func chunk(content string) string {
	return `data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"big","choices":[{"index":0,"delta":{"content":` + strconv.Quote(content) + `},"finish_reason":null}]}` + "\n\n"
}

const (
	chunkRole = `data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"big","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n"
	chunkStop = `data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"big","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	chunkDone = "data: [DONE]\n\n"
)

func newTalk(t *testing.T, pol *policy.Policy, body string) *talk {
	t.Helper()
	return newProxy(t).converse(pol, chatPath, body, nil)
}
