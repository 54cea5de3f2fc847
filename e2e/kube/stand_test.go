package kube

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/safestate/safestate/e2e/istio/cluster"
	"github.com/safestate/safestate/internal/store/kube"
)

const namespace = "safestate-system"

type options = kube.Options

// open opens the store as a user, as a process of its own would.
func open(t *testing.T, user *cluster.User, change ...func(*options)) *kube.Store {
	t.Helper()
	s, err := tryOpen(t, user, change...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tryOpen(t *testing.T, user *cluster.User, change ...func(*options)) (*kube.Store, error) {
	t.Helper()
	o := options{
		Config: rest.CopyConfig(user.Config), Namespace: namespace, Lease: shortLease,
		Problem: func(err error) { t.Log(err) },
	}
	for _, c := range change {
		c(&o)
	}
	s, err := kube.Open(t.Context(), o)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, nil
}

// link is a client's network: it can break, or swallow what is sent.
type link struct {
	mu    sync.Mutex
	away  bool
	conns []net.Conn
}

func (l *link) dial(ctx context.Context, network, address string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.away {
		return nil, errors.New("the network is down")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err == nil {
		l.conns = append(l.conns, conn)
	}
	return conn, err
}

// cut breaks every connection and lets none be made, or makes it well again.
func (l *link) cut(away bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = away
	for _, conn := range l.conns {
		_ = conn.Close() // the client notices
	}
	l.conns = nil
}
