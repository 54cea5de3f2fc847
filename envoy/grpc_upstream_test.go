package envoy

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/porttest"
	"github.com/safestate/safestate/internal/protocol"
)

// TestGRPCAuthorization: the model gets its own credentials, and the ladder is
// told the caller's: a cache would else take one caller for another.
func TestGRPCAuthorization(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("Bearer model"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ofModel, ofCaller string
		model, ladder     string // what each sees as authorization
		kept              string // what the ladder is told besides
	}{
		"both":       {"yes", "Bearer caller", "Bearer model", "Bearer model", "=Bearer caller"},
		"the model":  {"yes", "", "Bearer model", "Bearer model", "="},
		"the caller": {"", "Bearer caller", "Bearer caller", "Bearer caller", ""},
		"none":       {"", "", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t)
			o.Answers = porttest.Address(t)
			startDialogue(t, o.Processor, judging(v1))
			m, ladder := newGRPCModel(t), grpcLadder(t, o.Answers)
			v := version("v1", m.addr)
			if c.ofModel != "" {
				v.AuthorizationFile = file
			}
			p := startStatic(t, grpcSnapshot(t, grpcPolicy(nil), v), o)
			header := []string{"case", "only 13", policy.HeaderAuthorization, "=forged"}
			if c.ofCaller != "" {
				header = append(header, "authorization", c.ofCaller)
			}
			if r := p.call(inferCall, []byte("question"), header...); r.message != "from the ladder" {
				t.Fatalf("got %q %v", r.message, r.err)
			}
			atModel, atLadder := *m.last.Load(), *ladder.last.Load()
			if got := atModel.Get("authorization"); got != c.model || atModel.Get(policy.HeaderAuthorization) != "" {
				t.Errorf("the model got %q and %q", got, atModel.Get(policy.HeaderAuthorization))
			}
			if got, kept := atLadder.Get("authorization"), atLadder.Get(policy.HeaderAuthorization); got != c.ladder || kept != c.kept {
				t.Errorf("the ladder got %q and %q, want %q and %q", got, kept, c.ladder, c.kept)
			}
		})
	}
}

// TestGRPCOverTLS: HTTP/2 is agreed on in the handshake, as gRPC servers demand.
func TestGRPCOverTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert, _, _ := ca.issue(t, "model.example")
	m := &grpcModel{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(m.serve))
	server.EnableHTTP2 = true
	var agreed atomic.Value
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, VerifyConnection: func(s tls.ConnectionState) error {
		agreed.Store(s.NegotiatedProtocol)
		return nil
	}}
	server.StartTLS()
	t.Cleanup(server.Close)
	o := testOptions(t)
	startDialogue(t, o.Processor, judging(""))
	v := version("v1", server.Listener.Addr().String())
	v.TLS = &policy.TLS{ServerName: "model.example", CAFile: ca.file}
	p := startStatic(t, grpcSnapshot(t, grpcPolicy(nil), v), o)
	if r := p.call(inferCall, []byte("question")); r.message != "clean" || agreed.Load() != "h2" {
		t.Errorf("got %q %v over %v", r.message, r.err, agreed.Load())
	}
}

// TestGRPCWithoutHosts: a name that resolves to nothing is a failure like any
// other, and one that resolves is asked.
func TestGRPCWithoutHosts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ host, want string }{
		"no address": {"no-such-host.invalid", "from the ladder"},
		"an address": {"localhost", "clean"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t)
			o.Answers = porttest.Address(t)
			startDialogue(t, o.Processor, judging(v1))
			grpcLadder(t, o.Answers)
			v := version("v1", newGRPCModel(t).addr)
			v.DNS, v.Endpoints[0].Address = true, c.host
			p := startStatic(t, grpcSnapshot(t, grpcPolicy(nil), v), o)
			if r := p.call(inferCall, []byte("question")); r.message != c.want {
				t.Errorf("got %q %v, want %q", r.message, r.err, c.want)
			}
		})
	}
}

// TestGRPCWeights: versions are asked by their weights, one without any never,
// and the ladder only in the place of one that failed.
func TestGRPCWeights(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	o.Answers = porttest.Address(t)
	startDialogue(t, o.Processor, judging(v1))
	ladder := grpcLadder(t, o.Answers)
	models := []*grpcModel{newGRPCModel(t), newGRPCModel(t), newGRPCModel(t)}
	s := grpcSnapshot(t, grpcPolicy(nil), version("v1", models[0].addr), version("v2", models[1].addr), version("v3", models[2].addr))
	for i, w := range []uint32{75, 25, 0} {
		s.Routes[0].Backends[i].Weight = w
	}
	p := startStatic(t, s, o)
	const calls = 200
	client := p.grpcClient()
	for range calls {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		in, out := []byte("question"), []byte(nil)
		if err := client.Invoke(ctx, inferCall, &in, &out); err != nil {
			t.Error(err)
		}
		cancel()
	}
	first := models[0].calls.Load()
	if first < calls*6/10 || first > calls*9/10 || first+models[1].calls.Load() != calls || models[2].calls.Load() != 0 || ladder.calls.Load() != 0 {
		t.Errorf("asked %d, %d and %d times, the ladder %d", first, models[1].calls.Load(), models[2].calls.Load(), ladder.calls.Load())
	}
}

// TestGRPCNoWeight: a route of which no version has any weight is still one that
// the processor may answer.
func TestGRPCNoWeight(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	o.Answers = porttest.Address(t)
	startDialogue(t, o.Processor, func(d *dialogue) {
		d.next()
		m := proceed("request headers")
		m.GetRequestHeaders().Response = common(true, policy.HeaderAnswer, "x")
		d.send(m)
		d.next()
		d.send(proceed("request body"))
		if a := d.gather(); a != nil {
			d.begin()
			d.piece(a.body, false)
			d.end()
		}
	})
	grpcLadder(t, o.Answers)
	s := grpcSnapshot(t, grpcPolicy(nil), version("v1", porttest.Address(t)))
	s.Routes[0].Backends[0].Weight = 0
	if r := startStatic(t, s, o).call(inferCall, []byte("question")); r.message != "from the ladder" {
		t.Errorf("got %q %v", r.message, r.err)
	}
}

// TestGRPCStream: messages of an open stream pass both ways as they come, and
// one in the middle can be replaced; the request stays unseen.
func TestGRPCStream(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	startDialogue(t, o.Processor, func(d *dialogue) {
		d.next()
		d.send(proceed("request headers"))
		if d.next().GetResponseHeaders() == nil {
			t.Error("the request's body was sent to the processor")
			return
		}
		d.begin("x-safestate-source", "primary")
		var held string
		for n := 0; ; {
			m := d.next()
			switch {
			case m == nil:
				return
			case m.GetResponseTrailers() != nil:
				d.end()
				return
			}
			held += string(m.GetResponseBody().GetBody())
			var out string
			for {
				message, _, rest, ok := protocol.Unframe([]byte(held))
				if !ok {
					break
				}
				if n++; n == 2 {
					message = []byte("in the place of the second")
				}
				out, held = out+string(protocol.Frame(nil, message)), string(rest)
			}
			if out != "" {
				d.piece(out, false)
			}
		}
	})
	m := newGRPCModel(t)
	pol := grpcPolicy(func(p *policy.Policy) {
		p.GRPCLastRung = policy.LastRungAnswer
		hurried(p)
	})
	p := startStatic(t, grpcSnapshot(t, pol, version("v1", m.addr)), o)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := p.grpcClient().NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, streamCall)
	if err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("x", 100<<10)
	for i, c := range []struct{ sent, got string }{{"one", "one"}, {"two", "in the place of the second"}, {large, large}, {"four", "four"}} {
		in, out := []byte(c.sent), []byte(nil)
		if err := s.SendMsg(&in); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if err := s.RecvMsg(&out); err != nil || string(out) != c.got {
			t.Fatalf("message %d: got %d bytes %.40q %v", i, len(out), out, err)
		}
		if i == 2 { // longer than any deadline of the policy: nothing cuts it
			<-time.After(pol.Deadline.D() + 5*compile.Grace)
		}
	}
	_ = s.CloseSend()
	var out []byte
	if err := s.RecvMsg(&out); err != io.EOF {
		t.Errorf("the end: %q %v", out, err)
	}
}

// TestGRPCStreamAway: a stream without the processor is an error where the
// policy enforces, and passes where it observes.
func TestGRPCStreamAway(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit func(*policy.Policy)
		want string
	}{"enforced": {nil, "Unavailable"}, "by message": {byMessage, "Unavailable"}, "observed": {observe, "OK"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t)
			p := startStatic(t, grpcSnapshot(t, grpcPolicy(c.edit), version("v1", newGRPCModel(t).addr)), o)
			if r := p.call(streamCall, []byte("question")); r.status() != c.want {
				t.Errorf("got %q %v, want %s", r.message, r.err, c.want)
			}
		})
	}
}
