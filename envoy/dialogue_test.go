package envoy

import (
	"net"
	"sync"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// dialogue is one exchange at a scripted processor that does not answer message
// by message.
type dialogue struct {
	stream extprocv3.ExternalProcessor_ProcessServer
	fail   error // ends the exchange
}

// next returns the next message, nil once Envoy has ended the exchange.
func (d *dialogue) next() *extprocv3.ProcessingRequest {
	m, err := d.stream.Recv()
	if err != nil {
		return nil
	}
	return m
}

func (d *dialogue) send(m *extprocv3.ProcessingResponse) { _ = d.stream.Send(m) }

// ask lets the request go to the model.
func (d *dialogue) ask() {
	d.next()
	d.send(proceed("request headers"))
	d.next()
	d.send(proceed("request body"))
}

// begin lets the answer's headers go, with changes: name, value; an empty value
// removes.
func (d *dialogue) begin(header ...string) {
	m := &extprocv3.HeaderMutation{}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] == "" {
			m.RemoveHeaders = append(m.RemoveHeaders, header[i])
			continue
		}
		m.SetHeaders = append(m.SetHeaders, raw(header[i], header[i+1]))
	}
	d.send(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseHeaders{
		ResponseHeaders: &extprocv3.HeadersResponse{Response: &extprocv3.CommonResponse{HeaderMutation: m}},
	}})
}

// piece sends a piece of the answer's body.
func (d *dialogue) piece(body string, last bool) {
	d.send(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{
		Response: &extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_StreamedResponse{
			StreamedResponse: &extprocv3.StreamedBodyResponse{Body: []byte(body), EndOfStream: last},
		}}},
	}}})
}

// whole withholds the headers until the body is here, and returns it.
func (d *dialogue) whole() (headers *extprocv3.HttpHeaders, body string, ok bool) {
	headers = d.next().GetResponseHeaders()
	if headers == nil {
		return nil, "", false
	}
	for !headers.EndOfStream {
		m := d.next()
		if m.GetResponseBody() == nil {
			return nil, "", false
		}
		body += string(m.GetResponseBody().Body)
		if m.GetResponseBody().EndOfStream {
			break
		}
	}
	return headers, body, true
}

// pass is a processor that lets everything through, unchanged and as it comes.
func passing(d *dialogue) {
	d.ask()
	if d.next() == nil {
		return
	}
	d.begin()
	for m := d.next(); m != nil; m = d.next() {
		d.piece(string(m.GetResponseBody().GetBody()), m.GetResponseBody().GetEndOfStream())
	}
}

// withholding never lets an answer through.
func withholding(d *dialogue) {
	d.ask()
	for d.next() != nil {
	}
}

type scripted struct{ script func(*dialogue) }

// Process implements the service.
func (s *scripted) Process(stream extprocv3.ExternalProcessor_ProcessServer) error {
	d := &dialogue{stream: stream}
	if s.script(d); d.fail != nil {
		return d.fail
	}
	<-stream.Context().Done()
	return nil
}

// startDialogue serves at addr.
func startDialogue(t *testing.T, addr string, script func(*dialogue)) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(grpc.MaxRecvMsgSize(64<<20), grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: serviceAsked / 2, PermitWithoutStream: true}))
	extprocv3.RegisterExternalProcessorServer(g, &scripted{script})
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
}

// freezable forwards TCP from addr to behind until stop is called: from then on
// connections stay open and nothing moves, as with a stopped process.
func freezable(t *testing.T, addr, behind string) (stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	frozen := make(chan struct{})
	var mu sync.Mutex
	var open []net.Conn
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range open {
			_ = c.Close()
		}
	})
	forward := func(to, from net.Conn) {
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			select {
			case <-frozen:
				return
			default:
			}
			if err != nil {
				_ = to.Close()
				return
			}
			_, _ = to.Write(buf[:n])
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", behind)
			if err != nil {
				_ = c.Close()
				continue
			}
			mu.Lock()
			open = append(open, c, b)
			mu.Unlock()
			go forward(b, c)
			go forward(c, b)
		}
	}()
	return func() { close(frozen) }
}
