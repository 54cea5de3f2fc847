package etcd

import (
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/safestate/safestate/internal/store"
	"github.com/safestate/safestate/internal/store/storetest"
)

// shortLease keeps the tests quick, and is long for a busy machine: who stands still
// leads for too long.
const shortLease = 5 * time.Second

// open opens a store for a test.
func open(t *testing.T, options Options) *Store {
	t.Helper()
	if options.Problem == nil {
		options.Problem = func(err error) { t.Log(err) }
	}
	s, err := Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// forget compacts the whole history.
func forget(t *testing.T, s *Store) {
	t.Helper()
	now, err := s.client.Get(t.Context(), "/", clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.Compact(t.Context(), now.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
}

func TestEmbeddedConforms(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), Lease: shortLease})
	storetest.Run(t, storetest.Engine{
		Open:   func(*testing.T) store.Store { return s },
		Forget: func(t *testing.T) { forget(t, s) },
		Lease:  shortLease,
	})
}

func TestClusterConforms(t *testing.T) {
	c := startCluster(t)
	root := open(t, c.root)
	links := map[store.Store]*link{}
	storetest.Run(t, storetest.Engine{
		Open: func(t *testing.T) store.Store {
			options := c.options
			l := newLink(t, options.Endpoints[0])
			options.Endpoints = []string{"https://" + l.listener.Addr().String()}
			s := open(t, options)
			links[s] = l
			return s
		},
		Forget: func(t *testing.T) { forget(t, root) },
		Outage: func(t *testing.T, client store.Store, during func()) {
			links[client].set(true)
			during()
			forget(t, root)
			links[client].set(false)
		},
		Lease: shortLease,
	})
}
