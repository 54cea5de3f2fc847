package kube

import (
	"testing"
	"time"

	"github.com/safestate/safestate/internal/store"
	"github.com/safestate/safestate/internal/store/storetest"

	"github.com/safestate/safestate/e2e/istio/cluster"
)

// shortLease keeps the tests quick.
const shortLease = 2 * time.Second

// TestStoreConforms: the engine passes the suite that every engine passes. What
// the server forgets, it forgets by a crash: its watches then begin at now.
func TestStoreConforms(t *testing.T) {
	api := startStore(t)
	links := map[store.Store]*link{}
	storetest.Run(t, storetest.Engine{
		Open: func(t *testing.T) store.Store {
			l := &link{}
			s := open(t, api.Admin, func(o *options) { o.Config.Dial = l.dial })
			links[s] = l
			return s
		},
		Forget: func(*testing.T) { api.Kill(); api.Start() },
		Outage: func(_ *testing.T, client store.Store, during func()) {
			links[client].cut(true)
			during()
			api.Kill()
			api.Start()
			links[client].cut(false)
		},
		Lease: shortLease,
	})
}

func startStore(t *testing.T) *cluster.API {
	t.Helper()
	return cluster.StartAPI(t, cluster.Options{CRDs: []cluster.CRDs{cluster.Safestate}, Namespaces: []string{namespace}})
}
