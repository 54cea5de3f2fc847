package xds

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestDeregisterWhatIsGone: of two proxies with one id, one that is gone for good is
// expected no longer though the other is connected.
func TestDeregisterWhatIsGone(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		l.set(weights(100, 0))
		a, b := l.dial("n", delta), l.dial("n", delta)
		a.settle()
		b.settle()
		time.Sleep(time.Second)
		a.leave()
		version := l.set(weights(90, 10)).Version()
		b.take(routes)
		l.wantProof(version, "0/1; n: silent for 0s")
		done := make(chan Proof, 1)
		go func() { done <- l.Await(l.ctx, version) }()
		synctest.Wait()
		if err := l.Deregister("n"); err != nil {
			l.Fatal(err)
		}
		l.wantProof(version, "1/1")
		if p := <-done; !p.Complete() {
			l.Errorf("waited for %s", says(p))
		}
		if err := l.Deregister("n"); err == nil {
			l.Error("a proxy that is connected, and of which nothing is gone, was forgotten")
		}
		if p := l.Proxies(); len(p) != 1 || len(p[0].Streams) != 1 {
			l.Errorf("the ledger has %+v", p)
		}
	})
}

// TestWhatIsGoneIsForgotten: who waits learns of it, and nothing is kept.
func TestWhatIsGoneIsForgotten(t *testing.T) {
	both(t, Options{Expect: 10 * time.Minute}, func(l *lab, delta bool) {
		l.set(weights(100, 0))
		a, b := l.dial("n", delta), l.dial("n", delta)
		a.settle()
		b.settle()
		time.Sleep(time.Second)
		a.leave()
		version := l.set(weights(90, 10)).Version()
		b.take(routes)
		done := make(chan Proof, 1)
		go func() { done <- l.Await(l.ctx, version) }()
		time.Sleep(10*time.Minute - 1)
		synctest.Wait()
		select {
		case p := <-done:
			l.Fatalf("too early: %s", says(p))
		default:
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		select {
		case p := <-done:
			if !p.Complete() {
				l.Errorf("waited for %s", says(p))
			}
		default:
			l.Error("it waits still")
		}
		if p := l.Proxies(); len(p) != 1 || len(p[0].Streams) != 1 {
			l.Errorf("the ledger has %+v", p)
		}
	})
}

// TestStandsInForOne: A and B have one id, and A has come back. When B goes without
// a word, A's return is not taken for B's.
func TestStandsInForOne(t *testing.T) {
	for name, foundDead := range map[string]bool{"before": true, "after": false} {
		t.Run("A's end is found "+name, func(t *testing.T) {
			both(t, Options{}, func(l *lab, delta bool) {
				l.set(weights(100, 0))
				a, b := l.dial("n", delta), l.dial("n", delta)
				a.settle()
				b.settle()
				time.Sleep(10 * time.Minute) // quiet proxies say nothing
				if foundDead {
					a.leave()
				}
				again := l.dial("n", delta)
				again.settle()
				if !foundDead {
					a.leave()
				}
				time.Sleep(5 * time.Minute)
				b.leave()
				version := l.set(weights(0, 100)).Version()
				again.take(routes)
				l.wantProof(version, "0/1; n: silent for 0s")
				back := l.dial("n", delta)
				back.settle()
				l.wantProof(version, "1/1")
			})
		})
	}
}

// TestStandsInForItsHost: a stream from elsewhere is another proxy with the same id.
func TestStandsInForItsHost(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		l.set(weights(100, 0))
		a := l.dialFrom("192.0.2.1", "n", delta)
		a.settle()
		a.leave()
		other := l.dialFrom("192.0.2.2", "n", delta)
		other.settle()
		version := l.set(weights(0, 100)).Version()
		other.take(routes)
		l.wantProof(version, "0/1; n: silent for 0s")
		back := l.dialFrom("192.0.2.1", "n", delta)
		back.settle()
		l.wantProof(version, "1/1")

		time.Sleep(time.Second)
		late := l.dialFrom("192.0.2.2", "n", delta) // and back's end is not the reason
		late.settle()
		back.leave()
		version = l.set(weights(50, 50)).Version()
		other.take(routes)
		late.take(routes)
		l.wantProof(version, "0/1; n: silent for 0s")
	})
}

// TestSilenceOutlasted: the end of an earlier silence, which waited for its turn
// while the proxy came and went again, does not end the present one.
func TestSilenceOutlasted(t *testing.T) {
	both(t, Options{Expect: 10 * time.Minute}, func(l *lab, delta bool) {
		version := l.set(weights(100, 0)).Version()
		c := l.dial("n", delta)
		c.ask(clusters)
		c.leave()
		l.mu.Lock()
		n := l.ledger.nodes["n"]
		first := n.forget
		l.mu.Unlock()
		time.Sleep(time.Minute)
		c = l.dial("n", delta)
		c.ask(clusters)
		c.leave()
		l.locked(func() { l.outlast(n, first) })()
		l.wantProof(version, "0/1; n: silent for 0s")
		time.Sleep(10 * time.Minute)
		l.wantProof(version, "0/0")
	})
}
