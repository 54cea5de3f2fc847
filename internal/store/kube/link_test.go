package kube

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

// link is a client's network.
type link struct {
	mu    sync.Mutex
	away  bool // nothing connects
	conns []*silenced
}

func (l *link) dial(ctx context.Context, network, address string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.away {
		return nil, errors.New("the network is down")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s := &silenced{Conn: conn, closed: make(chan struct{})}
	l.conns = append(l.conns, s)
	return s, nil
}

// cut breaks every connection and lets none be made, or makes it well again.
func (l *link) cut(away bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = away
	for _, conn := range l.conns {
		_ = conn.Conn.Close() // the client notices
	}
	l.conns = nil
}

// silence has the connections that there are bring no answer any more, without a
// word. Later ones work.
func (l *link) silence() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.conns {
		conn.dead.Store(true)
	}
}

// silenced is a connection that may die without a word.
type silenced struct {
	net.Conn
	dead   atomic.Bool
	once   sync.Once
	closed chan struct{}
}

func (s *silenced) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if s.dead.Load() && err == nil {
		<-s.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (s *silenced) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}
