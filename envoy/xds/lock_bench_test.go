package xds

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
)

// member is a proxy by delta without a wire: what the protocol's loop would do
// is called straight.
type member struct {
	*stream
	told    [kinds]int
	cancels [kinds]func()
	nonces  int
}

// newMember joins a proxy that has accepted everything there is.
func newMember(b testing.TB, s *Server, id string) *member {
	b.Helper()
	m := &member{stream: &stream{server: s, delta: true, account: "host", opened: time.Now().Add(-time.Hour)}}
	for k, names := range map[kind][]string{clusters: nil, listeners: nil, routes: {"safestate"}} {
		if _, _, err := m.bookLocked(request{node: nodeCalled(id), typeURL: k.url(), names: names}); err != nil {
			b.Fatal(err)
		}
		m.watchFor(b, k, names)
	}
	m.acceptAll(b)
	return m
}

func (m *member) bookLocked(r request) (bool, func(Observer), error) {
	m.server.mu.Lock()
	defer m.server.mu.Unlock()
	return m.book(r, time.Now())
}

func (m *member) watchFor(b testing.TB, k kind, names []string) {
	view := streamv3.NewDeltaSubscription(names, nil, nil, len(names) == 0)
	cancel, err := m.watch(k.url(), view, func() { m.told[k]++ })
	if err != nil {
		b.Fatal(err)
	}
	m.cancels[k] = cancel
}

// acceptAll takes what it was told of, until there is nothing more.
func (m *member) acceptAll(b testing.TB) {
	for again := true; again; {
		again = false
		for k := range kinds {
			if m.told[k] == 0 {
				continue
			}
			again, m.told[k] = true, 0
			m.nonces++
			nonce := strconv.Itoa(m.nonces)
			m.answer(k, nonce)
			if _, _, err := m.bookLocked(request{typeURL: k.url(), nonce: nonce}); err != nil {
				b.Fatal(err)
			}
			m.cancels[k]()
			var names []string
			if k == routes {
				names = []string{"safestate"}
			}
			m.watchFor(b, k, names)
		}
	}
}

// crowded is a Server with so many clusters and proxies.
func crowded(b *testing.B, o Options, nClusters, proxies int) (*Server, config, []*member) {
	b.Helper()
	s := New(o)
	b.Cleanup(s.Close)
	c := config{routes: map[string]int{"c0": 1, "c1": 1}}
	for i := range nClusters {
		c.clusters = append(c.clusters, "c"+strconv.Itoa(i))
	}
	if err := s.Set(c.resources(), AtOnce); err != nil {
		b.Fatal(err)
	}
	var all []*member
	for i := range proxies {
		all = append(all, newMember(b, s, fmt.Sprintf("n%05d", i)))
	}
	return s, c, all
}

// hand replaces the latest content, without pushing it.
func hand(b *testing.B, s *Server, c config) {
	b.Helper()
	r := c.resources()
	next, err := newContent(r, r.Version(), s.last())
	if err != nil {
		b.Fatal(err)
	}
	s.replace(next)
}

// BenchmarkLockOfPush is how long a push holds the lock, of 1,000 proxies and
// 10,000 clusters.
func BenchmarkLockOfPush(b *testing.B) {
	for name, change := range map[string]func(c *config, i int){
		"routes":  func(c *config, i int) { c.routes["c0"] = 2 + i },
		"cluster": func(c *config, i int) { c.clusters[5] = "c5000@" + strconv.Itoa(100+i) },
		"leaves": func(c *config, i int) {
			c.clusters[7] = "again" + strconv.Itoa(i)
			c.routes["c0"] = 2 + i
		},
	} {
		b.Run(name, func(b *testing.B) {
			s, c, all := crowded(b, Options{}, 20, 10_000)
			i := 0
			for b.Loop() {
				b.StopTimer()
				change(&c, i)
				i++
				hand(b, s, c)
				b.StartTimer()
				s.push(AtOnce)
				b.StopTimer()
				for _, m := range all {
					m.acceptAll(b)
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkAcks is what 5,000 acceptances of a flip cost, while a cluster waits to
// leave and one proxy says nothing.
func BenchmarkAcks(b *testing.B) {
	s, c, all := crowded(b, Options{Linger: time.Nanosecond}, 100, 5000)
	stuck := all[0]
	c.clusters = c.clusters[:99]
	i := 0
	for b.Loop() {
		b.StopTimer()
		i++
		c.routes["c0"] = 2 + i
		hand(b, s, c)
		s.push(AtOnce)
		b.StartTimer()
		for _, m := range all {
			if m != stuck {
				m.acceptAll(b)
			}
		}
	}
}

// BenchmarkRequestsWhileOneIsStuck is what 5,000 requests cost while a cluster waits
// to leave, and all but one proxy have accepted everything.
func BenchmarkRequestsWhileOneIsStuck(b *testing.B) {
	s, c, all := crowded(b, Options{Linger: time.Nanosecond}, 100, 5000)
	c.clusters = c.clusters[:99]
	c.routes["c0"] = 2
	hand(b, s, c)
	s.push(AtOnce)
	for _, m := range all[1:] {
		m.acceptAll(b)
	}
	for b.Loop() {
		for _, m := range all[1:] {
			m.cancels[routes]()
			m.watchFor(b, routes, []string{"safestate"})
		}
	}
}

// BenchmarkLedger is how long the ledger of 10,000 proxies is looked at.
func BenchmarkLedger(b *testing.B) {
	s, _, _ := crowded(b, Options{}, 10, 10_000)
	b.Run("Proxies", func(b *testing.B) {
		for b.Loop() {
			s.Proxies()
		}
	})
	b.Run("Proof", func(b *testing.B) {
		for b.Loop() {
			s.Proof(s.Version())
		}
	})
}

func nodeCalled(id string) *corev3.Node { return &corev3.Node{Id: id} }

func refusalOf(why string) *rpcstatus.Status { return &rpcstatus.Status{Code: 13, Message: why} }
