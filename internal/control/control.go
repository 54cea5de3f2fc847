package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/checks"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/readiness"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/signing"
	"github.com/safestate/safestate/internal/store"
	"github.com/safestate/safestate/internal/telemetry"
)

// Options are what a control plane is made of. Store, XDS, Hub, Reload, Log and
// Metrics are required.
type Options struct {
	Store store.Store
	XDS   *xds.Server
	Hub   *signals.Hub
	// DataDir is the folder of the local copy of the models' states; empty: none
	// is kept.
	DataDir string
	// Mesh configures the proxies; nil: XDS does.
	Mesh Mesh
	// Envoy is what the proxies' configuration depends on beside the files.
	Envoy envoy.Options
	// Replica names this process among its like, and Address is where they reach
	// its gRPC; empty: there are no others.
	Replica string
	Address string
	// Credentials are those by which other replicas are reached. Required with an
	// Address.
	Credentials credentials.TransportCredentials
	// Reload has the files read again: what a person pins takes their place. It
	// must not block.
	Reload func()
	// FirstRead is how long Configure waits for the store's first answer, counted
	// from New, before it goes by the local copy. Default: DefaultFirstRead.
	FirstRead time.Duration
	// Signer signs policies; nil, or one that returns nil: they are not signed.
	Signer func() *signing.Signer
	// Keys are the public keys that hosts are to trust now; nil: none are named. It
	// must not wait.
	Keys func() []signing.Public
	// Recorded hears, where this replica leads, of each record once it is in the
	// history, and maybe again after a crash or a change of leader. It must not
	// block. Default: nobody does.
	Recorded func(release.Record)
	// Killed hears of each kill and revive that this replica took, once it is in the
	// trail, and maybe again after a crash. It must not block. Default: nobody does.
	Killed func(kill.Record)
	// Trail takes an entry of all that is done, before that is acknowledged. Default:
	// there is none.
	Trail   Trail
	Log     *telemetry.Log
	Metrics *telemetry.Metrics
}

// Control is a running control plane. Its methods are safe for concurrent use.
type Control struct {
	o          Options
	book       *book
	proofs     *proofs
	register   *register
	noted      *noted // the store
	meter      *meter
	tests      *tests
	policies   *policyBook
	kills      *killBook
	killProofs *killProofs
	killWatch  *killWatch
	ready      *readiness.Prober
	prom       *checks.Prometheus
	wake       chan struct{} // something changed that a decision may depend on

	publishing sync.Mutex                 // held while the proxies' configuration is made
	rendered   rendered                   // under publishing
	handed     atomic.Pointer[handedKeys] // by the last configuration; nil: there was none

	mu          sync.Mutex
	files       *compile.Snapshot    // nil before Configure
	had         map[kill.Target]bool // what they have, or had
	leading     bool
	unpublished bool                 // what holds was not published yet
	refusal     fault                // why it could not be
	failing     map[string]fault     // by model: why it cannot go on
	away        map[string]time.Time // see dismiss

	restUntil time.Time // of the rounds alone; see rest
}

// New makes a control plane. It publishes nothing before Configure, and nothing
// before the models' states are known.
func New(o Options) (*Control, error) {
	if o.FirstRead <= 0 {
		o.FirstRead = DefaultFirstRead
	}
	watched := newNoted(o.Store)
	o.Store = watched
	copied, err := openCopy(o.DataDir, copyFile)
	if err != nil {
		return nil, err
	}
	b, err := openBook(o.Store, copied)
	if err != nil {
		return nil, err
	}
	pins, err := openCopy(o.DataDir, pinsFile)
	if err != nil {
		return nil, err
	}
	policies, err := openPolicyBook(pins, time.Now().Add(o.FirstRead))
	if err != nil {
		return nil, err
	}
	killed, err := openCopy(o.DataDir, killFile)
	if err != nil {
		return nil, err
	}
	kills, err := openKillBook(o.Store, killed, o.Replica)
	if err != nil {
		return nil, err
	}
	c := &Control{
		o: o, book: b, kills: kills, noted: watched, prom: &checks.Prometheus{}, tests: newTests(), killWatch: newKillWatch(), policies: policies,
		wake: make(chan struct{}, 1), failing: map[string]fault{}, had: map[kill.Target]bool{}, away: map[string]time.Time{},
	}
	c.proofs = newProofs(o.Replica, o.XDS)
	c.proofs.mesh = o.Mesh
	c.proofs.meshSeen = func(of func(route string) bool) []signals.Proxy {
		return o.Hub.Proxies(time.Now().Add(-lately), of)
	}
	listed, err := openCopy(o.DataDir, proxiesFile)
	if err != nil {
		return nil, err
	}
	if c.register, err = openRegister(newRegister(o.Store, o.XDS), listed); err != nil {
		return nil, err
	}
	c.proofs.expects = c.register.known
	c.killProofs = newKillProofs(o.XDS, cmp.Or(o.Envoy.Listen, envoy.DefaultListen))
	c.proofs.kills = c.killStatement
	c.proofs.hosts = o.Hub.Hosts
	c.ready = readiness.New(c.stir)
	c.meter = newMeter(c.prom, c.stir)
	o.Metrics.Releases(c.scrape)
	o.Metrics.KillProofs(c.scrapeKills)
	return c, nil
}

// DefaultFirstRead is how long the store has for its first answer.
const DefaultFirstRead = 10 * time.Second

// ErrUnread is what Configure fails with while nothing is known of the models'
// releases, or of what is killed: the files' weights may not be those that hold.
var ErrUnread = errors.New("the store has not been read yet")

// Run follows the store and, where this replica is elected, leads, until ctx
// ends.
func (c *Control) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { c.follow(ctx) })
	running.Go(func() { c.followKills(ctx) })
	running.Go(func() { c.saveUp(ctx) })
	running.Go(func() { c.keepPublished(ctx) })
	running.Go(func() { c.keepStored(ctx) })
	running.Go(func() { c.keepTrailed(ctx) })
	running.Go(func() { c.keepProxies(ctx) })
	running.Go(func() { c.killProofs.run(ctx) })
	running.Go(func() { c.kills.copy.run(ctx, c.uncopied) })
	running.Go(func() { c.register.copy.run(ctx, c.uncopied) })
	running.Go(func() { c.tests.follow(ctx, c.o.Store, c.leads) })
	running.Go(func() { c.book.copy.run(ctx, c.uncopied) })
	running.Go(func() { c.policies.copy.run(ctx, c.uncopied) })
	running.Go(func() { c.followPolicies(ctx) })
	running.Go(func() { c.register.follow(ctx) })
	running.Go(func() { c.ready.Run(ctx) })
	running.Go(func() { c.meter.run(ctx) })
	running.Go(func() { c.proofs.run(ctx, c.o.Store, c.stir) })
	running.Go(func() { c.o.Store.Elect(ctx, leaderName, leaderValue(c.o.Replica, c.o.Address), c.lead) })
	running.Go(func() { c.relay(ctx) })
	running.Wait()
	for _, copied := range []*localCopy{c.kills.copy, c.book.copy, c.policies.copy, c.register.copy} {
		if err := copied.flush(); err != nil {
			c.uncopied(err)
		}
	}
}

func (c *Control) uncopied(err error) {
	c.o.Log.Error().Err(err).Msg("without the store a restart would not know what holds now")
}

// stir makes the leader look again.
func (c *Control) stir() {
	select {
	case c.wake <- struct{}{}:
	default: // it is about to
	}
}

// follow takes in what the store tells, and publishes what it means.
func (c *Control) follow(ctx context.Context) {
	for events := range c.o.Store.Watch(ctx, modelsPrefix) {
		first := !c.book.ready()
		t := c.book.take(events)
		for _, model := range t.doubtful {
			if err := c.book.reread(ctx, model, c.book.get(model).revision); err != nil {
				t.problems = append(t.problems, err)
			}
		}
		for _, err := range t.problems {
			if ctx.Err() == nil {
				c.o.Log.Error().Err(err).Msg("a model's releases cannot be followed, or are others than expected")
			}
		}
		if len(t.changed)+len(t.doubtful) > 0 || first {
			c.publishNow()
		}
		c.stir()
	}
}

func (c *Control) leads() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leading
}

// Configure takes over what the files say now, and returns a hash of it: equal
// files have equal ones, whatever releases make of them. It is refused where an immutable name
// stands for something else, or where it cannot be rendered; the last good one
// stays.
func (c *Control) Configure(ctx context.Context, s *compile.Snapshot) (string, error) {
	if err := c.known(ctx); err != nil {
		return "", err
	}
	var mistakes []error
	if err := c.kills.unreadable(); err != nil { // what is killed may not be known
		mistakes = append(mistakes, err)
	}
	for i := range s.Models {
		if err := c.book.unreadable(s.Models[i].Name); err != nil { // the files' weights may be those of a bad version
			mistakes = append(mistakes, err)
		}
	}
	unfit := c.Unfit(s)
	for _, model := range slices.Sorted(maps.Keys(unfit)) {
		mistakes = append(mistakes, fmt.Errorf("model %s: %w", model, unfit[model]))
	}
	if len(mistakes) > 0 {
		return "", errors.Join(mistakes...)
	}
	version, err := c.versionOf(s)
	if err != nil {
		return "", err
	}
	if err := c.publishFiles(s); err != nil {
		return "", err
	}
	for i := range s.Models {
		c.o.Metrics.ReleaseModel(s.Models[i].Name, string(release.KindRollback), string(release.KindDegraded))
	}
	c.policies.cover(s)
	c.o.Hub.Models(modelsOf(s))
	c.ready.Watch(s.Clusters)
	c.share()
	c.stir()
	return version, nil
}

// Unfit says of a snapshot's models, by namespace/name, what of their versions their
// releases rule out.
func (c *Control) Unfit(s *compile.Snapshot) map[string]error {
	out := map[string]error{}
	for i := range s.Models {
		m := &s.Models[i]
		if c.book.unreadable(m.Name) != nil {
			continue // Configure says so
		}
		if _, refused := release.Register(c.book.get(m.Name).state, versionsOf(m), time.Now()); len(refused) > 0 {
			out[m.Name] = errors.Join(refused...)
		}
	}
	return out
}

// HeldVersions waits until it is known what is killed, and gives the versions that are,
// and those that a rollout brings in, by their model, namespace/name; none: all of it
// is killed. A Model's edit may not take them away: nobody would take their traffic.
func (c *Control) HeldVersions(ctx context.Context) (map[string][]string, error) {
	if err := c.known(ctx); err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for _, s := range c.kills.set().All() {
		switch model := s.Target.Model(); {
		case !s.Killed:
		case s.Target.Scope == kill.Model:
			out[model] = nil
		case s.Target.Scope == kill.Version:
			if versions, all := out[model]; !all || versions != nil {
				out[model] = append(versions, path.Base(s.Target.Name))
			}
		}
	}
	for model, s := range c.book.all() {
		if versions, all := out[model]; s.Rollout != nil && (!all || versions != nil) {
			out[model] = append(versions, s.Rollout.Version)
		}
	}
	return out, nil
}

// versionOf is a hash of what the files say, once it is known that it can be
// rendered.
func (c *Control) versionOf(s *compile.Snapshot) (string, error) {
	if c.o.Mesh != nil {
		return hashOf(s)
	}
	plain, err := envoy.Render(s, c.o.Envoy)
	if err != nil {
		return "", err
	}
	return plain.Version(), nil
}

// share has the hosts' breakers shared, by the one who has all their reports.
func (c *Control) share() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var settings map[string]policy.Breaker
	if c.leading && c.files != nil {
		settings = breakersOf(c.files)
	}
	c.o.Hub.Breakers(settings)
}

// known waits until the models' states are, and what is killed: by the store, or
// where that is away by what this replica last knew of them.
func (c *Control) known(ctx context.Context) error {
	end := time.NewTimer(time.Until(c.policies.until))
	defer end.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !c.book.ready() || !c.kills.ready() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end.C:
			if !c.book.ready() && len(c.book.all()) == 0 || !c.kills.known() {
				return fmt.Errorf("%w, and there is no local copy to go by: want a store that answers", ErrUnread)
			}
			c.o.Log.Warn().Msg("the store does not answer: the models' releases, and what is killed, are those of the local copy")
			return nil
		case <-tick.C:
		}
	}
	return nil
}
