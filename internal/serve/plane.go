package serve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/audit"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/control"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/signing"
	"github.com/safestate/safestate/internal/signing/keyring"
)

// plane is the control plane's half of a process.
type plane struct {
	p     *process
	xds   *xds.Server
	hub   *signals.Hub
	store *storage         // nil without releases
	rules *control.Control // who decides; nil without releases
	ring  *keyring.Keyring // the keys that sign policies; nil without releases
	// trusted are the keys that hosts are to trust, and handing is who hands them to
	// those that run apart.
	trusted atomic.Pointer[[]signing.Public]
	handing atomic.Pointer[control.Control]
	// signer is by --signing-key, as it was read last; nil: there is none.
	signer *signing.Signer
	people people
	mesh   *mesh      // nil: safestate configures the proxies itself
	api    *admin.API // nil without releases
	trail  *audit.Log // nil without releases
	stop   context.CancelFunc
	runs   sync.WaitGroup
}

// newPlane opens the store and begins to follow it.
func newPlane(ctx context.Context, p *process) (*plane, error) {
	pl := &plane{p: p, stop: func() {}}
	o := &p.options
	pl.xds = xds.New(xds.Options{ProcessorsOnly: o.Mesh.Name != "", Identity: o.identity(), Observer: newProxies(p.metrics, p.log)})
	pl.hub = signals.NewHub(signals.HubOptions{Identity: o.identity()})
	p.metrics.Proxies(func() float64 { return float64(pl.xds.Connected()) })
	p.metrics.Processors(func() float64 { return float64(pl.xds.ConnectedProcessors()) })
	if o.NoReleases {
		return pl, nil
	}
	err := makeDataDir(o.DataDir)
	if err == nil {
		err = o.keepName()
	}
	if err != nil {
		pl.close()
		return nil, err
	}
	if err := pl.openPeople(); err != nil {
		pl.close()
		return nil, err
	}
	if pl.store, err = openStore(ctx, p); err != nil {
		pl.close()
		return nil, err
	}
	if err := pl.openTrail(); err != nil {
		pl.close()
		return nil, err
	}
	if err := pl.openRing(ctx); err != nil {
		pl.close()
		return nil, err
	}
	options := control.Options{
		Store: pl.store, FirstRead: pl.store.firstRead, XDS: pl.xds, Hub: pl.hub, DataDir: o.DataDir, Envoy: o.Envoy,
		Replica: o.Replica, Address: o.Advertise, Credentials: p.dial, Reload: p.again, Log: p.log, Metrics: p.metrics,
		Signer: pl.ring.Signer, Keys: pl.public, Recorded: pl.recorded, Killed: pl.killed, Trail: pl.trail,
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	pl.stop = stop
	if o.Mesh.Name != "" {
		if err := pl.openMesh(ctx, running); err != nil {
			pl.close()
			return nil, err
		}
		options.Mesh = pl.mesh
	}
	pl.rules, err = control.New(options)
	if err != nil {
		pl.close()
		return nil, err
	}
	pl.handing.Store(pl.rules)
	pl.api = pl.newAPI()
	pl.runs.Go(func() { pl.rules.Run(running) })
	if pl.mesh != nil {
		pl.mesh.control.Act(switches{pl}, pl.rules.Shown)
		pl.runs.Go(func() { pl.mesh.control.Run(running) })
	}
	pl.runs.Go(func() { pl.runRing(running) })
	pl.runPeople(running)
	return pl, nil
}

// openMesh begins to watch the API server, until running ends.
func (pl *plane) openMesh(ctx, running context.Context) (err error) {
	if pl.mesh, err = newMesh(pl); err != nil {
		return err
	}
	began := make(chan error, 1)
	go func() { began <- pl.mesh.control.Start(running) }()
	select {
	case err = <-began:
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(firstMesh):
		err = errors.New("the API server has not answered for all kinds")
	}
	return err
}

// firstMesh is how long the API server has for its first answer about each kind.
const firstMesh = 30 * time.Second

// read reads the configuration from where it is.
func (pl *plane) read(ctx context.Context) (*compile.Snapshot, config.Problems) {
	if pl.mesh != nil {
		return pl.mesh.load(ctx, pl.edit)
	}
	return compile.DirWith(pl.p.options.ConfigDir, pl.edit)
}

// identity says who vouches for a proxy's name; nil: nobody.
func (o *Options) identity() func(context.Context) ([]string, bool) {
	if !o.TLS.set() {
		return nil
	}
	return xds.PeerNames
}

// edit puts what a person has pinned in the place of what the files say.
func (pl *plane) edit(w *config.World) config.Problems {
	if pl.rules == nil {
		return nil
	}
	return pl.rules.Edit(w)
}

// configure makes a snapshot the configuration of the proxies, and returns its
// version.
func (pl *plane) configure(ctx context.Context, s *compile.Snapshot) (string, error) {
	if pl.rules != nil {
		return pl.rules.Configure(ctx, s)
	}
	options, err := pl.signed(pl.p.options.Envoy)
	if err != nil {
		return "", err
	}
	r, err := envoy.Render(s, options)
	if err != nil {
		return "", err
	}
	version := r.Version()
	if r.Runtimes, err = control.Runtimes(nil, pl.public()); err != nil {
		return "", err
	}
	return version, pl.xds.Set(r, xds.Coalesced)
}

func (pl *plane) register(g *grpc.Server) {
	pl.xds.Register(g)
	pl.hub.Register(g)
	if pl.api != nil && !pl.p.options.open() {
		pl.api.Register(g)
	}
}

// open reports whether others reach GRPC in plain text: what people say of
// themselves there, and their tokens, would travel readably.
func (o *Options) open() bool { return !o.TLS.set() && onlyLocal("--grpc", o.GRPC) != nil }

// newAPI makes the API, for HTTP and gRPC.
func (pl *plane) newAPI() *admin.API {
	return admin.New(admin.Options{Hosts: pl.p.options.APIHosts, Access: pl.authenticator(), Keys: keysAPI{pl.ring}, Trail: pl.trail, Attempted: pl.attempted, Control: control.NewAPI(pl.rules, control.APIOptions{
		Build: pl.p.options.Version, Engine: pl.p.options.engine(), Configuration: pl.p.config.forAPI,
		Backup: pl.backup,
		Troubles: func() []admin.Trouble {
			return slices.Concat(pl.p.troubles(), pl.people.troubles(), pl.mesh.troubles(), trailTroubles(pl.trail.Status()))
		},
	})})
}

// leave ends the streams, which live as long as the proxies and the hosts, and
// gives up the lead: who hears and reaches nobody any more must not decide.
func (pl *plane) leave() {
	pl.stop()
	if pl.api != nil {
		pl.api.Leave()
	}
	pl.xds.Close()
	pl.hub.Close()
}

func (pl *plane) close() {
	pl.leave()
	pl.runs.Wait()
	if pl.trail != nil {
		_ = pl.trail.Close() // what was acknowledged is on the disk
	}
	if pl.store != nil {
		_ = pl.store.Close() // what was acknowledged is durable
	}
}

// makeDataDir makes the folder of the store and of the local copy, for this user
// alone.
func makeDataDir(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	return nil
}
