package signals

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/signals/signalsv1"
	"github.com/safestate/safestate/internal/verdict"
)

// plane is a control plane's gRPC server, which can be killed and started again
// at the same address.
type plane struct {
	mu       sync.Mutex
	listener *bufconn.Listener
	server   *grpc.Server
}

func (p *plane) serve(t *testing.T, h *Hub) {
	t.Helper()
	l, s := bufconn.Listen(1<<16), grpc.NewServer()
	h.Register(s)
	go func() { _ = s.Serve(l) }()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listener, p.server = l, s
	t.Cleanup(s.Stop)
}

func (p *plane) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server.Stop()
	_ = p.listener.Close()
}

func (p *plane) link() Link {
	return Dial(DialOptions{
		Targets: []string{"passthrough:///plane"}, Credentials: insecure.NewCredentials(),
		More: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			p.mu.Lock()
			l := p.listener
			p.mu.Unlock()
			return l.DialContext(ctx)
		})},
	})
}

// eventually waits for a condition, ten seconds at the most.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s", what)
		}
		<-tick.C
	}
}

// TestOverTheWire counts while the control plane's server is killed again and
// again: nothing is lost and nothing counts twice.
func TestOverTheWire(t *testing.T) {
	h := newHub(t)
	p := &plane{}
	p.serve(t, h)
	r := NewReporter(ReporterOptions{Name: "h", Links: []Link{p.link()}})
	row := r.Row("n", "default/r/0", "default/m", "v1")
	for round := range 4 {
		for range 500 {
			row.Asked(time.Now())
			row.Clean(0, 7)
		}
		if round%2 == 1 {
			p.kill()
			row.Asked(time.Now())
			p.serve(t, h)
		}
		taken := h.Stats().Taken
		eventually(t, "a report", func() bool { return h.Stats().Taken > taken })
	}
	row.Bad("nonfinite", 0, 7)
	eventually(t, "everything", func() bool { return totals(h) == "v1 2002 2000 1" })
	row.Asked(time.Now())
	r.Close()
	if got := totals(h); got != "v1 2003 2000 1" {
		t.Errorf("totals %s", got)
	}
	eventually(t, "the streams' end", func() bool { return h.Stats().Connections == 0 })
	if s := h.Stats(); s.Refused != 0 {
		t.Errorf("%+v", s)
	}
}

// chaos loses, doubles and holds back reports.
type chaos struct {
	Stream
	rnd  *rand.Rand
	held []*signalsv1.Report
}

func (c *chaos) Send(m *signalsv1.Report) error {
	switch c.rnd.IntN(6) {
	case 0:
		return nil
	case 1:
		c.held = append(c.held, m)
		return nil
	case 2:
		_ = c.Stream.Send(m)
	case 3:
		c.rnd.Shuffle(len(c.held), func(i, j int) { c.held[i], c.held[j] = c.held[j], c.held[i] })
		for _, old := range c.held {
			_ = c.Stream.Send(old)
		}
		c.held = nil
	}
	return c.Stream.Send(m)
}

// TestChaos counts over links that lose, double and reorder what they carry, and
// break: nothing is refused, nothing counts twice, and in the end all is there.
func TestChaos(t *testing.T) {
	for seed := range uint64(8) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 2))
			h := newHub(t)
			link := func(ctx context.Context) (Stream, error) {
				rnd := rand.New(rand.NewPCG(seed, uint64(time.Now().UnixNano())))
				if rnd.IntN(3) == 0 {
					return nil, errors.New("away")
				}
				ctx, cancel := context.WithCancel(ctx)
				time.AfterFunc(time.Duration(rnd.IntN(20))*time.Second, cancel)
				s, err := h.Link()(ctx)
				return &chaos{Stream: s, rnd: rnd}, err
			}
			r := NewReporter(ReporterOptions{Links: []Link{link}})
			rows := []*Row{r.Row("a", "r", "m", "v1"), r.Row("b", "r", "m", "v1"), r.Row("a", "r", "m", "v2")}
			var taken uint64
			for range 1000 {
				row := rows[rnd.IntN(len(rows))]
				row.Asked(time.Now())
				row.Bad(verdict.Late, 0, Place(rnd.IntN(Places)))
				time.Sleep(time.Duration(rnd.IntN(100)) * time.Millisecond)
				for _, i := range h.Take(time.Now()) {
					taken += i.Bad
				}
			}
			for range 20 {
				time.Sleep(wholeEvery)
			}
			for _, i := range h.Take(time.Now()) {
				taken += i.Bad
			}
			total := uint64(0)
			for _, v := range h.Totals() {
				total += v.Bad
			}
			if taken != 1000 || total != 1000 {
				t.Errorf("seed %d: took %d, in all %d, want 1,000", seed, taken, total)
			}
			if s := h.Stats(); s.Refused != 0 || s.Old == 0 {
				t.Errorf("seed %d: %+v", seed, s)
			}
			r.Close()
		})
	}
}

func TestDirectivesOverTheWire(t *testing.T) {
	h := newHub(t)
	p := &plane{}
	p.serve(t, h)
	set := breaker.NewSet(nil, nil)
	key := breaker.VersionKey("default/m", "v1")
	own := set.Get(key, policy.Breaker{})
	r := NewReporter(ReporterOptions{Name: "h", Links: []Link{p.link()}, Breakers: set})
	defer r.Close()
	h.mu.Lock()
	h.spread(key, time.Now().Add(time.Minute), time.Now())
	h.mu.Unlock()
	eventually(t, "the breaker", func() bool { return own.State() == breaker.Open })
	eventually(t, "its state", func() bool {
		s := h.BreakerStates()
		return len(s) == 1 && s[0].Open == 1
	})
	h.Close() // ends the streams of a server that stops gracefully
	done := make(chan struct{})
	go func() {
		p.server.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("a stream holds the server up")
	}
}

func TestDialWithoutAddress(t *testing.T) {
	if _, err := Dial(DialOptions{Credentials: insecure.NewCredentials()})(t.Context()); err == nil {
		t.Error("a stream to nowhere")
	}
	if _, err := Dial(DialOptions{Targets: []string{"passthrough:///x"}})(t.Context()); err == nil {
		t.Error("a stream without a word on TLS")
	}
}

func TestRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader, follower := newHub(t), newHub(t)
		relay := NewRelay(follower, nil)
		defer relay.Close()
		x := newHost("x")
		time.Sleep(time.Second)
		x.count(1, 0)
		deliver(t, follower, x.report())
		relay.To(leader.Link())
		time.Sleep(reportEvery)
		if got := totals(leader); got != "v1 1 1 0" {
			t.Errorf("the leader has %q of what was there before", got)
		}
		time.Sleep(30 * time.Millisecond)
		x.count(0, 1)
		at := time.Now()
		deliver(t, follower, x.report())
		synctest.Wait()
		if got := totals(leader); got != "v1 2 1 1" {
			t.Errorf("the leader has %q of a bad answer at once", got)
		}
		for _, i := range leader.Take(time.Now()) {
			if !i.LastBad.Equal(at) {
				t.Errorf("last bad %s, want %s", i.LastBad, at)
			}
		}
		x.count(5, 0)
		x.count(3, 0, "v2")
		deliver(t, follower, x.report("v2"))
		time.Sleep(reportEvery)
		deliver(t, leader, x.report("v1")) // the reporter has moved
		x.count(1, 0)
		deliver(t, follower, x.report())
		time.Sleep(reportEvery)
		if got, same := totals(leader), totals(follower); got != "v1 8 7 1, v2 3 3 0" || same != got {
			t.Errorf("the leader has %q, the follower %q", got, same)
		}
		relay.To(nil)
		x.count(9, 0)
		deliver(t, follower, x.report())
		time.Sleep(time.Second)
		if got := totals(leader); got != "v1 8 7 1, v2 3 3 0" {
			t.Errorf("the leader has %q after the relay's end", got)
		}
		next := newHub(t) // another leads, and counts from now on
		relay.To(next.Link())
		time.Sleep(time.Second)
		x.count(0, 1)
		deliver(t, follower, x.report())
		time.Sleep(time.Second)
		if got := totals(next); got != "v1 1 0 1, v2 0 0 0" {
			t.Errorf("the next leader has %q", got)
		}
		if s := next.Stats(); s.Refused != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestRelayedClocks: a report that has waited in the follower is as old as it is.
func TestRelayedClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		follower := newHub(t)
		x := newHost("x")
		x.clock = time.Hour
		x.count(4, 0)
		deliver(t, follower, x.report())
		asked := time.Now()
		time.Sleep(time.Minute)
		leader := newHub(t)
		relay := NewRelay(follower, nil)
		defer relay.Close()
		relay.To(leader.Link())
		time.Sleep(time.Second)
		got := leader.Totals()
		if len(got) != 1 || got[0].Asked != 0 || !got[0].LastAsked.Equal(asked) {
			t.Errorf("the leader has %+v, want nothing counted and asked at %s", got, asked)
		}
	})
}

func TestRelayPassesOnWhatTheLeaderOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader, follower := newHub(t), newHub(t)
		there, back := NewRelay(follower, nil), NewRelay(leader, nil)
		defer there.Close()
		defer back.Close()
		there.To(leader.Link())
		back.To(follower.Link()) // for a moment both believe that the other leads
		set := breaker.NewSet(nil, nil)
		key := breaker.VersionKey("default/m", "v1")
		own := set.Get(key, policy.Breaker{})
		r := NewReporter(ReporterOptions{Links: []Link{follower.Link()}, Breakers: set})
		defer r.Close()
		time.Sleep(time.Second)
		leader.mu.Lock()
		leader.spread(key, time.Now().Add(time.Minute), time.Now())
		leader.mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		if own.State() != breaker.Open {
			t.Error("the host was not told")
		}
		r.Row("n", "default/r/0", "default/m", "v1").Asked(time.Now())
		time.Sleep(time.Second)
		if a, b := totals(leader), totals(follower); a != "v1 1 0 0" || a != b {
			t.Errorf("the leader has %q, the follower %q", a, b)
		}
		time.Sleep(breakersEvery + 2*reportEvery)
		if s := leader.BreakerStates(); len(s) != 1 || s[0].Open != 1 {
			t.Errorf("the leader knows %+v", s)
		}
	})
}

// TestRelayToALeaderThatIsAway keeps nothing but the newest of each row.
func TestRelayToALeaderThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		follower := newHub(t)
		var said notes
		relay := NewRelay(follower, said.note)
		defer relay.Close()
		w := &wire{deaf: true}
		relay.To(w.link)
		x := newHost("x")
		for range 1000 {
			x.count(1, 1)
			deliver(t, follower, x.report())
			time.Sleep(time.Second)
		}
		follower.mu.Lock()
		waiting := len(relay.waiting)
		follower.mu.Unlock()
		if waiting > 1 {
			t.Errorf("%d rows wait, and there is one", waiting)
		}
		w.set(func(w *wire) { w.deaf = false })
		time.Sleep(stuckAfter + backoffMost + time.Second)
		got, _ := w.stream().got()
		if len(got) == 0 || got[len(got)-1].Counts[0].Bad != 1000 {
			t.Errorf("handed on %v", got)
		}
		if len(said.list()) == 0 {
			t.Error("nobody was told")
		}
	})
}
