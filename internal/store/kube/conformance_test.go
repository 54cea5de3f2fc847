package kube

import (
	"testing"
	"time"

	"github.com/safestate/safestate/internal/store"
	"github.com/safestate/safestate/internal/store/storetest"
)

// Short leases keep the tests quick.
const (
	shortLease   = 3 * time.Second
	conformLease = 5 * time.Second // machines are busy, and who stands still leads for too long
)

// open opens a store on a fake API server, as a process of its own would.
func open(t *testing.T, f *fake, change ...func(*Options)) *Store {
	t.Helper()
	o := Options{
		Config: f.config(), Namespace: "test", Lease: shortLease,
		Problem: func(err error) { t.Log(err) },
	}
	for _, c := range change {
		c(&o)
	}
	s, err := Open(t.Context(), o)
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

func TestConforms(t *testing.T) {
	t.Parallel()
	f := startFake(t)
	links := map[store.Store]*link{}
	storetest.Run(t, storetest.Engine{
		Open: func(t *testing.T) store.Store {
			l := &link{}
			s := open(t, f, func(o *Options) { o.Config.Dial, o.Lease = l.dial, conformLease })
			links[s] = l
			return s
		},
		Forget: func(*testing.T) { f.forget() },
		Outage: func(_ *testing.T, client store.Store, during func()) {
			links[client].cut(true)
			during()
			f.forget()
			links[client].cut(false)
		},
		Lease: conformLease,
	})
}
