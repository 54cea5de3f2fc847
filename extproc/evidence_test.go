package extproc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/signals"
)

// logged is what Envoy logs of a request that was asked of v1.
func logged(route, model, path, details string, word *structpb.Struct) *datav3.HTTPAccessLogEntry {
	e := &datav3.HTTPAccessLogEntry{
		CommonProperties: &datav3.AccessLogCommon{
			RouteName: route, UpstreamCluster: model + "/v1",
			DownstreamRemoteAddress: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: "10.1.2.3"}}},
		},
		Request:  &datav3.HTTPRequestProperties{RequestMethod: corev3.RequestMethod_POST, Path: path, RequestId: "logged"},
		Response: &datav3.HTTPResponseProperties{ResponseCodeDetails: details},
	}
	if word != nil {
		e.CommonProperties.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
			policy.MetadataNamespace: word.Fields[policy.MetadataNamespace].GetStructValue(),
		}}
	}
	return e
}

// log sends entries to the processor.
func (p *proxy) log(entries ...*datav3.HTTPAccessLogEntry) {
	p.t.Helper()
	stream, err := accesslogv3.NewAccessLogServiceClient(p.conn).StreamAccessLogs(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	err = stream.Send(&accesslogv3.StreamAccessLogsMessage{
		Identifier: &accesslogv3.StreamAccessLogsMessage_Identifier{LogName: policy.LogCutAnswers, Node: &corev3.Node{Id: p.node}},
		LogEntries: &accesslogv3.StreamAccessLogsMessage_HttpLogs{
			HttpLogs: &accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: entries},
		},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := stream.CloseAndRecv(); err == nil {
		p.t.Fatal("an answer to a stream of logs")
	}
}

const (
	cutDetails = policy.DetailsCut + "{connection_termination}"
	leftOff    = "downstream_remote_disconnect"
)

// TestCutAnswersAreReported: what Envoy tells of afterwards is bad as well.
func TestCutAnswersAreReported(t *testing.T) {
	p, totals := watched(t)
	p.do(request{policy: fraud(), answer: cleanAnswer, vanish: true})
	p.log(logged("default/fraud/score", "default/fraud", "/v2/models/fraud/infer", cutDetails, nil))
	got := totals()
	if s := reported(got); s != "v1: asked 1 bad 1 broken 1" {
		t.Errorf("reported %q", s)
	}
	if len(got[0].Nodes) != 1 || got[0].Callers[signals.PlaceOf("10.1.2.3")].Bad != 1 {
		t.Errorf("nodes %+v, callers %v", got[0].Nodes, got[0].Callers)
	}
}

// TestWhatIsLoggedCountsWhereNothingElseHas: of one answer the exchange counts, or
// what is logged of it does.
func TestWhatIsLoggedCountsWhereNothingElseHas(t *testing.T) {
	clean := told(policy.VerdictClean, map[string]*structpb.Value{policy.MetadataTook: structpb.NewNumberValue(5)})
	const infer = "/v2/models/fraud/infer"
	for _, c := range []struct {
		name          string
		path, details string
		word          *structpb.Struct
		change        func(*datav3.HTTPAccessLogEntry)
		want          string
	}{
		{"cut", infer, cutDetails, nil, nil, "v1: asked 1 bad 1 broken 1"},
		{"cut, and seen before", infer, cutDetails, toldSeen, nil, "v1: asked 1 bad 1 broken 1"},
		{"cut, and counted before", infer, cutDetails, toldCounted, nil, "v1: asked 1"},
		{"cut, and no inference", "/v2/health/ready", cutDetails, nil, nil, "v1: asked 1"},
		{"cut, and no inference before it was rewritten", infer, cutDetails, nil, func(e *datav3.HTTPAccessLogEntry) {
			e.Request.OriginalPath = "/v2/health/ready"
		}, "v1: asked 1"},
		{"the caller left", infer, leftOff, nil, nil, "v1: asked 1"},
		{"clean, then cut", infer, cutDetails, clean, nil, "v1: asked 1 clean 1"},
		{"clean, then the caller left", infer, leftOff, clean, nil, "v1: asked 1 clean 1"},
		{"observed, then cut", infer, cutDetails, told(policy.VerdictObserved, nil), nil, "v1: asked 1 clean 1 observed 1"},
		{"clean, and the model ended it before the caller left", infer, leftOff, clean, func(e *datav3.HTTPAccessLogEntry) {
			e.CommonProperties.TimeToLastUpstreamRxByte = durationpb.New(time.Second)
		}, "v1: asked 1"},
		{"clean, then cut, by Envoy's clock", infer, cutDetails, clean, func(e *datav3.HTTPAccessLogEntry) {
			e.CommonProperties.TimeToLastUpstreamRxByte = durationpb.New(time.Second)
		}, "v1: asked 1 clean 1"},
		{"the ladder's own upstream", infer, cutDetails, nil, func(e *datav3.HTTPAccessLogEntry) {
			e.CommonProperties.UpstreamCluster = "safestate_answers"
		}, "v1: asked 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, totals := watched(t)
			p.do(request{policy: fraud(), answer: cleanAnswer, vanish: true})
			e := logged("default/fraud/score", "default/fraud", c.path, c.details, c.word)
			if c.change != nil {
				c.change(e)
			}
			p.log(e)
			if got := reported(totals()); got != c.want {
				t.Errorf("reported %q, want %q", got, c.want)
			}
		})
	}
}

// TestAVerdictIsTold to Envoy where the model can still break off the answer, so that
// what is logged then counts once.
func TestAVerdictIsTold(t *testing.T) {
	whole := chunkRole + chunk("Hello") + chunkStop + chunkDone
	stream := func(pieces ...string) func(*talk) {
		return func(x *talk) {
			x.respond(200, "text/event-stream", false)
			for _, s := range pieces {
				x.say(s, false)
			}
		}
	}
	spaced := func(p *policy.Policy) { p.Stream.BetweenTokens = policy.Duration(time.Hour) }
	watching := func(p *policy.Policy) { observe(p); p.Detect.Chat.Refusal = policy.Observe }
	for _, c := range []struct {
		name   string
		policy *policy.Policy
		play   func(*talk)
		word   string
		want   string // with the log of a cut behind it
	}{
		{"clean up to its end mark", chatPolicy(spaced), stream(whole), "clean", "v1: asked 1 clean 1"},
		{"the same, observed", chatPolicy(watching), stream(whole), "clean", "v1: asked 1 clean 1"},
		{"a failure behind the commit", chatPolicy(spaced), stream(chunkRole+chunk("Hello"), "data: oops\n\n"), "counted", "v1: asked 1 bad 1 broken 1"},
		{"a failure, observed", chatPolicy(watching), stream(chunkRole+chunk("Hello"), "data: oops\n\n"), "counted", "v1: asked 1 bad 1 broken 1"},
		{"an error's headers, observed", chatPolicy(watching), func(x *talk) { x.respond(500, "text/plain", false) }, "counted", "v1: asked 1 bad 1 broken 1"},
		{"the caller's own error", chatPolicy(spaced), func(x *talk) { x.respond(404, "text/plain", false) }, "counted", "v1: asked 1 caller 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, totals := watched(t)
			x := p.converse(c.policy, chatPath, chatRequest, nil)
			c.play(x)
			got := x.until("its verdict", func(g caller) bool { return g.word != nil })
			if s := got.word.Fields[policy.MetadataNamespace].GetStructValue().Fields[policy.MetadataVerdict].GetStringValue(); s != c.word {
				t.Errorf("told %q, want %q", s, c.word)
			}
			_ = x.stream.CloseSend() // the model has broken the connection
			p.settled()
			p.log(logged("default/chat/all", "default/chat", chatPath, cutDetails, got.word))
			if s := reported(totals()); s != c.want {
				t.Errorf("reported %q, want %q", s, c.want)
			}
		})
	}
}

// TestAVerdictThatEnvoyDidNotHave: the model's failure and the end of its connection
// came at once.
func TestAVerdictThatEnvoyDidNotHave(t *testing.T) {
	p, totals := watched(t)
	for i := range 3 {
		x := p.converse(chatPolicy(), chatPath, chatRequest, map[string]string{"x-request-id": fmt.Sprint("r", i)})
		x.respond(200, "text/event-stream", false)
		x.say(chunkRole+chunk("Hello"), false)
		x.say("data: oops\n\n", false)
		x.done()
		e := logged("default/chat/all", "default/chat", chatPath, cutDetails, nil)
		e.Request.RequestId = fmt.Sprint("r", i)
		p.log(e)
	}
	p.log(logged("default/chat/all", "default/chat", chatPath, cutDetails, nil)) // of another request
	if got := reported(totals()); got != "v1: asked 3 bad 4 broken 4" {
		t.Errorf("reported %q", got)
	}
}

// TestALogThatIsFirst: it is here before the exchange has judged the answer.
func TestALogThatIsFirst(t *testing.T) {
	for _, status := range []int{500, 404} {
		p, totals := watched(t)
		e := logged("default/fraud/score", "default/fraud", "/v2/models/fraud/infer", cutDetails, nil)
		p.do(request{policy: fraud(), answer: cleanAnswer}) // so that the route is known
		p.log(e)
		p.do(request{policy: fraud(), status: status, headers: map[string]string{"x-request-id": "logged"}})
		if got := reported(totals()); !strings.HasPrefix(got, "v1: asked 2 clean 1 bad 1") || strings.Contains(got, "caller") {
			t.Errorf("%d: reported %q", status, got)
		}
	}
}

func TestLately(t *testing.T) {
	now := time.Unix(1e9, 0)
	for _, c := range []struct {
		id    string
		after time.Duration
		want  bool
	}{{"", 0, true}, {"a", 0, false}, {"b", 0, true}, {"a", rememberFor, false}, {"a", 2*rememberFor - 1, false}, {"a", 2 * rememberFor, true}} {
		var l lately
		if !l.claim("", now) || !l.claim("a", now) {
			t.Fatal("the first claim is none")
		}
		if got := l.claim(c.id, now.Add(c.after)); got != c.want {
			t.Errorf("%q after %s: %v", c.id, c.after, got)
		}
	}
	var l lately
	for i := range 2 * mostRemembered {
		l.claim(fmt.Sprint(i), now)
	}
	if n := len(l.newer) + len(l.older); n > mostRemembered {
		t.Errorf("%d are remembered", n)
	}
}
