package serve

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/control"
	"github.com/safestate/safestate/internal/store"
	"github.com/safestate/safestate/internal/store/etcd"
	"github.com/safestate/safestate/internal/store/kube"
)

// storage is the store of a process, from the start on or as soon as it answers.
type storage struct {
	store.Store
	engine    atomic.Pointer[backedUp] // nil: it has not answered yet
	firstRead time.Duration            // that it is waited for; 0: the default
}

// backedUp is an engine whose content can be written out.
type backedUp struct {
	backup func(ctx context.Context, w io.Writer) error
}

// readWithoutStore is how long the configuration waits for a store that has not
// answered at the start.
const readWithoutStore = time.Second

// openStore opens the store. A cluster that is away keeps no replica from starting
// which knows what held: it serves that, and joins when the cluster is there.
func openStore(ctx context.Context, p *process) (*storage, error) {
	o, k := &p.options, &storage{}
	open := func(ctx context.Context) (store.Store, error) {
		if o.Mesh.Name != "" {
			return openKube(ctx, p, k)
		}
		s, err := etcd.Open(ctx, o.storeOptions(p))
		if err != nil {
			return nil, err // and no nil *etcd.Store
		}
		k.engine.Store(&backedUp{s.Backup})
		return s, nil
	}
	var err error
	k.Store, err = open(ctx)
	if err == nil {
		return k, nil
	}
	if len(o.Etcd) == 0 && o.Mesh.Name == "" || !errors.Is(err, store.ErrUnavailable) || !control.Remembers(o.DataDir) {
		return nil, err
	}
	p.log.Error().Err(err).Msg("the store is away: what this replica last knew is in force until it answers")
	k.firstRead = readWithoutStore
	k.Store = store.NewLater(open, err, func(err error) { p.log.Warn().Err(err).Msg("store") })
	return k, nil
}

// openKube opens the store that is the API server.
func openKube(ctx context.Context, p *process, k *storage) (store.Store, error) {
	m := &p.options.Mesh
	config, err := m.restConfig()
	if err != nil {
		return nil, err
	}
	s, err := kube.Open(ctx, kube.Options{
		Config: config, Namespace: m.Namespace, Problem: func(err error) { p.log.Warn().Err(err).Msg("store") },
	})
	if err != nil {
		return nil, err // and no nil *kube.Store
	}
	k.engine.Store(&backedUp{func(context.Context, io.Writer) error {
		return admin.Unavailable("the state is in the API server: back it up with the cluster, or by kubectl get staterecords,leases -n %s -o yaml", m.Namespace)
	}})
	return s, nil
}

// backup writes all of the store's content.
func (k *storage) backup(ctx context.Context, w io.Writer) error {
	if s := k.engine.Load(); s != nil {
		return s.backup(ctx, w)
	}
	_, err := k.Leader(ctx, "/safestate") // it says why
	return err
}

// storeOptions say where the store is.
func (o *Options) storeOptions(p *process) etcd.Options {
	out := etcd.Options{
		Endpoints: o.Etcd, CA: o.EtcdCA, Cert: o.EtcdCert, Key: o.EtcdKey, User: o.EtcdUser, PasswordFile: o.EtcdPasswordFile,
		Problem: func(err error) { p.log.Warn().Err(err).Msg("store") },
	}
	if len(o.Etcd) == 0 {
		out.Dir = o.DataDir
	}
	return out
}

// engine names the store for people.
func (o *Options) engine() string {
	if o.Mesh.Name != "" {
		return "the API server, namespace " + o.Mesh.Namespace
	}
	if len(o.Etcd) > 0 {
		return "etcd at " + strings.Join(o.Etcd, ", ")
	}
	return "embedded etcd in " + o.DataDir
}
