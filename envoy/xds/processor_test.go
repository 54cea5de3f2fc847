package xds

import (
	"testing"
	"testing/synctest"
	"time"

	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/safestate/safestate/envoy"
)

// told is a configuration that tells processors something.
func told(c config, text string) *envoy.Resources {
	r := c.resources()
	r.Runtimes = []*runtimev3.Runtime{{Name: "kills", Layer: &structpb.Struct{Fields: map[string]*structpb.Value{"text": structpb.NewStringValue(text)}}}}
	return r
}

func (l *lab) tell(c config, text string) string {
	l.Helper()
	r := told(c, text)
	if err := l.Set(r, AtOnce); err != nil {
		l.Fatal(err)
	}
	synctest.Wait()
	return r.Version()
}

func (l *lab) wantProcessors(version, want string) {
	l.Helper()
	synctest.Wait()
	if got := says(l.ProcessorProof(version)); got != want {
		l.Errorf("of processors\ngot  %s\nwant %s", got, want)
	}
}

// TestProcessors: who asks for runtimes alone is told them at once, whatever proxies
// have accepted, is expected, and named where it did not take them; what is true of
// all proxies does not depend on it.
func TestProcessors(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		world := weights(100, 0)
		first := l.tell(world, "1")
		p, h := l.dial("proxy", delta), l.dial("host", delta)
		p.settle()
		h.ask(runtimes, "kills", "none such")
		got := h.next(runtimes)
		l.wantProof(first, "1/1")
		l.wantProcessors(first, "0/1; host: sent 0s ago, no ACK yet")
		h.ack(got)
		l.wantProcessors(first, "1/1")
		if l.Connected() != 1 || l.ConnectedProcessors() != 1 {
			l.Errorf("%d proxies and %d processors are connected, want one of each", l.Connected(), l.ConnectedProcessors())
		}
		for _, x := range l.Proxies() {
			if x.Processor != (x.Node == "host") {
				l.Errorf("%s is a processor: %v", x.Node, x.Processor)
			}
		}

		// Routes that are others are none of its business.
		routed := l.tell(weights(0, 100), "1")
		h.nothing("nothing has changed for it")
		l.wantProcessors(routed, "1/1")
		l.wantProof(routed, "0/1; proxy: sent 0s ago, no ACK yet")
		p.take(routes)

		second := l.tell(weights(0, 100), "2")
		p.nothing("it does not ask for it")
		l.wantProof(second, "1/1")
		if a := l.Await(l.ctx, second); !a.Complete() || a.Expected != 1 {
			l.Errorf("Await waits for a processor: %s", says(a))
		}
		h.nack(h.next(runtimes), got.version, "it is older")
		l.wantProcessors(second, "0/1; host: refused: it is older")
		l.wantProcessors(first, "1/1")
		l.wantProof(second, "1/1")
		h.leave()
		time.Sleep(2 * time.Second)
		l.wantProcessors(second, "0/1; host: silent for 2s")
		l.wantProof(second, "1/1")

		h = l.dial("host", delta)
		h.ask(runtimes, "kills")
		h.take(runtimes)
		l.wantProcessors(second, "1/1")
	})
}

// TestProxyWithRuntimes: a proxy that asks for a runtime which there is none of, or
// for one of ours besides, is a proxy as before.
func TestProxyWithRuntimes(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		version := l.tell(weights(100, 0), "1")
		none, some := l.dial("none", delta), l.dial("some", delta)
		none.ask(runtimes, "none such")
		if delta {
			none.take(runtimes) // it is told that there is none
		}
		none.settle()
		some.ask(runtimes, "kills")
		some.take(runtimes)
		some.settle()
		l.wantProof(version, "2/2")
		l.wantProcessors(version, "0/0")
		version = l.tell(weights(100, 0), "2")
		l.wantProof(version, "1/2; some: sent 0s ago, no ACK yet")
		some.nack(some.next(runtimes), "", "no such thing")
		l.wantProof(version, "1/2; some: refused: no such thing")
	})
}

// TestDepartures: a processor that says that it goes for good is not expected any
// more, also where somebody who does not know yet says that it is. One whose
// connection breaks is.
func TestDepartures(t *testing.T) {
	run(t, Options{Expect: time.Minute}, func(l *lab) {
		version := l.tell(weights(100, 0), "1")
		goes, stays := l.dial("goes", false), l.dial("stays", false)
		for _, h := range []*client{goes, stays} {
			h.ask(runtimes, "kills")
			h.take(runtimes)
		}
		seen := time.Now()
		time.Sleep(time.Second)
		goes.ask(runtimes) // nothing any more
		goes.leave()
		stays.leave()
		l.wantProcessors(version, "1/1") // it has what there is
		version = l.tell(weights(100, 0), "2")
		l.wantProcessors(version, "0/1; stays: silent for 0s")
		l.ExpectProcessor("goes", seen)
		l.wantProcessors(version, "0/1; stays: silent for 0s")
		if d := l.Departed(); len(d) != 1 || d["goes"].IsZero() {
			l.Errorf("departed are %v", d)
		}
		goes = l.dial("goes", false)
		goes.ask(runtimes, "kills")
		goes.take(runtimes)
		l.wantProcessors(version, "1/2; stays: silent for 0s")
		if d := l.Departed(); len(d) != 0 {
			l.Errorf("departed are %v, and it is back", d)
		}
	})
}

// TestExpectedProcessor: one that was seen by another control plane is missing until
// it is here, among processors alone.
func TestExpectedProcessor(t *testing.T) {
	run(t, Options{}, func(l *lab) {
		version := l.tell(weights(100, 0), "1")
		l.ExpectProcessor("host", time.Now())
		l.wantProof(version, "0/0")
		l.wantProcessors(version, "0/1; host: silent for 0s")
		h := l.dial("host", false)
		h.ask(runtimes, "kills")
		h.take(runtimes)
		l.wantProcessors(version, "1/1")
	})
}
