package feed

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/anypb"
)

// liar is a control plane that says what it likes, once for each stream, and notes
// what it hears.
type liar struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	says    func(send func(*discoveryv3.DiscoveryResponse) error) error
	streams atomic.Int32

	mu    sync.Mutex
	heard []*discoveryv3.DiscoveryRequest
}

type aggregated = discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer

// StreamAggregatedResources implements the service.
func (l *liar) StreamAggregatedResources(s aggregated) error {
	l.streams.Add(1)
	listening := make(chan error, 1)
	go func() {
		for {
			r, err := s.Recv()
			if err != nil {
				listening <- err
				return
			}
			l.mu.Lock()
			l.heard = append(l.heard, r)
			l.mu.Unlock()
		}
	}()
	if err := l.says(s.Send); err != nil {
		return err
	}
	if err := <-listening; err != io.EOF {
		return err
	}
	return nil
}

func (l *liar) register(g *grpc.Server) { discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, l) }

// refusal is the last that it heard; empty: none.
func (l *liar) refusal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := ""
	for _, r := range l.heard {
		if r.GetErrorDetail() != nil {
			out = r.GetErrorDetail().GetMessage()
		}
	}
	return out
}

func packed(t testing.TB, name, text string) *anypb.Any {
	t.Helper()
	out, err := anypb.New(Resource(name, text))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestHostile: a control plane that talks nonsense changes nothing, and an honest one
// is found.
func TestHostile(t *testing.T) {
	kills := textOfStates(t, state(fraud, 1, true))
	both := []*anypb.Any{packed(t, Kills, kills), packed(t, PolicyKeys, "")}
	for name, x := range map[string]struct {
		says    func(send func(*discoveryv3.DiscoveryResponse) error) error
		refused string // what it is told; empty: the stream ends
	}{
		"another type": {func(send func(*discoveryv3.DiscoveryResponse) error) error {
			return send(&discoveryv3.DiscoveryResponse{TypeUrl: "type.googleapis.com/" + strings.Repeat("x", 1000), Nonce: "1", VersionInfo: "1", Resources: both})
		}, ""},
		"no resource": {func(send func(*discoveryv3.DiscoveryResponse) error) error {
			return send(&discoveryv3.DiscoveryResponse{TypeUrl: TypeURL, Nonce: "1", VersionInfo: "1"})
		}, "there is no safestate.kills: what it said last stays; there is no safestate.policy-keys: what it said last stays"},
		"one that was not asked for": {func(send func(*discoveryv3.DiscoveryResponse) error) error {
			return send(&discoveryv3.DiscoveryResponse{TypeUrl: TypeURL, Nonce: "1", VersionInfo: "1", Resources: []*anypb.Any{packed(t, "other", kills), both[1]}})
		}, "there is no safestate.kills: what it said last stays"},
		"no message": {func(send func(*discoveryv3.DiscoveryResponse) error) error {
			return send(&discoveryv3.DiscoveryResponse{TypeUrl: TypeURL, Nonce: "1", VersionInfo: "1", Resources: []*anypb.Any{both[1], {TypeUrl: TypeURL, Value: []byte{0xff}}}})
		}, "proto:"},
		"too much": {func(send func(*discoveryv3.DiscoveryResponse) error) error {
			return send(&discoveryv3.DiscoveryResponse{TypeUrl: TypeURL, Resources: []*anypb.Any{packed(t, Kills, strings.Repeat(" ", maxAnswer))}})
		}, ""},
		"an end": {func(func(*discoveryv3.DiscoveryResponse) error) error { return io.ErrUnexpectedEOF }, ""},
		"a long word": {func(send func(*discoveryv3.DiscoveryResponse) error) error {
			return send(&discoveryv3.DiscoveryResponse{TypeUrl: TypeURL, Nonce: "1", VersionInfo: "1", Resources: []*anypb.Any{packed(t, Kills, `[{"target":{"scope":"`+strings.Repeat("é", 5000)+`"}}]`), both[1]}})
		}, "safestate.kills: the set of kills cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			l := &liar{says: x.says}
			stop, address := serving(t, l.register)
			honest := startPlane(t)
			h := startHost(t, t.TempDir(), address)
			if x.refused == "" {
				until(t, "again", func() string {
					if l.streams.Load() > 1 {
						return "again"
					}
					return "one stream"
				})
			} else {
				until(t, x.refused, func() string { return l.refusal()[:min(len(l.refusal()), len(x.refused))] })
			}
			if n := len(l.refusal()); n > maxWords+10 {
				t.Errorf("it is told %d bytes", n)
			}
			if h.enforced.Known() {
				t.Errorf("in force is %s", inForce(h.enforced))
			}
			h.end()
			stop.Stop()
			h = startHost(t, t.TempDir(), address, honest.address)
			honest.proof(honest.kills(state(fraud, 1, true)), "proven")
			h.enforces("model/default/fraud 1!;")
		})
	}
}

// TestFlood: words without end are each answered, and the last counts.
func TestFlood(t *testing.T) {
	const words = 500
	l := &liar{says: func(send func(*discoveryv3.DiscoveryResponse) error) error {
		for i := range words {
			s := state(fraud, uint64(i)%9+1, i%2 == 0) // most of them are older
			r := &discoveryv3.DiscoveryResponse{TypeUrl: TypeURL, Nonce: "n", VersionInfo: "v", Resources: []*anypb.Any{packed(t, Kills, textOfStates(t, s)), packed(t, PolicyKeys, "")}}
			if err := send(r); err != nil {
				return err
			}
		}
		return nil
	}}
	_, address := serving(t, l.register)
	h := startHost(t, t.TempDir(), address)
	until(t, "all", func() string {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.heard) == words+1 {
			return "all"
		}
		return "some"
	})
	h.enforces("model/default/fraud 9!;")
}

// inMemory runs a host before a control plane in a bubble where time passes only when
// everything waits.
func inMemory(t *testing.T, l *liar, f func(h *Enforced, links *[]error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		listener := bufconn.Listen(1 << 20)
		g := grpc.NewServer(asServed)
		l.register(g)
		go func() { _ = g.Serve(listener) }()
		e, err := OpenEnforced("", nil)
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var links []error
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			Run(ctx, Options{
				Node: "n", Targets: []string{"passthrough:///a"}, Credentials: insecure.NewCredentials(), Take: map[string]func(string) error{Kills: e.Take},
				OnLink: func(err error) {
					mu.Lock()
					defer mu.Unlock()
					links = append(links, err)
				},
				More: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) })},
			})
		}()
		f(e, &links)
		cancel()
		<-ended
		g.Stop()
		synctest.Wait()
	})
}

// TestSlow: a control plane that says nothing at all is given up, and said so; one
// that has spoken may be silent for as long as nothing changes.
func TestSlow(t *testing.T) {
	l := &liar{says: func(func(*discoveryv3.DiscoveryResponse) error) error { return nil }}
	inMemory(t, l, func(e *Enforced, links *[]error) {
		time.Sleep(firstWord + most + time.Second)
		synctest.Wait()
		if len(*links) == 0 || (*links)[0] != errSilent || l.streams.Load() != 2 || e.Known() {
			t.Errorf("after a while there were %d streams: %v", l.streams.Load(), *links)
		}
	})
	l = &liar{says: func(send func(*discoveryv3.DiscoveryResponse) error) error {
		return send(&discoveryv3.DiscoveryResponse{TypeUrl: TypeURL, Nonce: "1", VersionInfo: "1", Resources: []*anypb.Any{packed(t, Kills, "[]")}})
	}}
	inMemory(t, l, func(e *Enforced, links *[]error) {
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if l.streams.Load() != 1 || len(*links) != 1 || (*links)[0] != nil || !e.Known() {
			t.Errorf("in a day there were %d streams, and %d words on the link", l.streams.Load(), len(*links))
		}
	})
}

// TestReconnects: a control plane that ends every stream is not stormed.
func TestReconnects(t *testing.T) {
	l := &liar{says: func(func(*discoveryv3.DiscoveryResponse) error) error { return io.ErrUnexpectedEOF }}
	inMemory(t, l, func(*Enforced, *[]error) {
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		// One in 2.5 s on average: chance alone makes it twice as many, or half.
		if n := l.streams.Load(); n < 120 || n > 480 {
			t.Errorf("%d streams in ten minutes", n)
		}
	})
}
