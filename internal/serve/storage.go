package serve

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/safestate/safestate/internal/control"
	"github.com/safestate/safestate/internal/store"
	"github.com/safestate/safestate/internal/store/etcd"
)

// storage is the store of a process, from the start on or as soon as it answers.
type storage struct {
	store.Store
	engine    atomic.Pointer[etcd.Store] // nil: it has not answered yet
	firstRead time.Duration              // that it is waited for; 0: the default
}

// readWithoutStore is how long the configuration waits for a store that has not
// answered at the start.
const readWithoutStore = time.Second

// openStore opens the store. A cluster that is away keeps no replica from starting
// which knows what held: it serves that, and joins when the cluster is there.
func openStore(ctx context.Context, p *process) (*storage, error) {
	o, k := &p.options, &storage{}
	open := func(ctx context.Context) (store.Store, error) {
		s, err := etcd.Open(ctx, o.storeOptions(p))
		if err != nil {
			return nil, err // and no nil *etcd.Store
		}
		k.engine.Store(s)
		return s, nil
	}
	var err error
	k.Store, err = open(ctx)
	if err == nil {
		return k, nil
	}
	if len(o.Etcd) == 0 || !errors.Is(err, store.ErrUnavailable) || !control.Remembers(o.DataDir) {
		return nil, err
	}
	p.log.Error().Err(err).Msg("the store is away: what this replica last knew is in force until it answers")
	k.firstRead = readWithoutStore
	k.Store = store.NewLater(open, err, func(err error) { p.log.Warn().Err(err).Msg("store") })
	return k, nil
}

// backup writes all of the store's content.
func (k *storage) backup(ctx context.Context, w io.Writer) error {
	if s := k.engine.Load(); s != nil {
		return s.Backup(ctx, w)
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
	if len(o.Etcd) > 0 {
		return "etcd at " + strings.Join(o.Etcd, ", ")
	}
	return "embedded etcd in " + o.DataDir
}
