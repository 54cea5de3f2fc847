package envoy

import (
	"context"
	"fmt"
	"sync"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
)

// DefaultLinger is how long a version that left the configuration stays known
// to the proxies: longer than any request that was routed to it may take.
const DefaultLinger = 10 * time.Second

// ADSOptions are the settings of an ADS. The zero value is ready.
type ADSOptions struct {
	Linger   time.Duration // 0: DefaultLinger
	Observer Observer      // nil: nobody is told
}

// Observer is told what the proxies say of a configuration. Its methods are
// called on the stream's goroutine and must not block.
type Observer interface {
	// Accepted: the proxy took this version of this type.
	Accepted(node, typeURL, version string)
	// Refused: it did not, and goes on with what it had; message is Envoy's.
	Refused(node, typeURL, version, message string)
}

// ADS serves one configuration to every proxy that asks, incrementally or
// state-of-the-world. Its methods are safe for concurrent use.
//
// Of two configurations the proxies always have the older or the newer, never
// a mix that drops a request: what routes need is added before the routes
// change, and taken away only when every connected proxy has accepted the new
// routes and Linger has passed.
type ADS struct {
	cache  cachev3.SnapshotCache
	server serverv3.Server
	stop   context.CancelFunc
	ledger *ledger
	linger time.Duration

	mu      sync.Mutex
	current *Resources            // nil before the first Set
	version string                // of current
	retired map[string]retirement // clusters no longer in current, by name
	timer   *time.Timer           // for the next retirement; nil: none
	closed  bool
}

// retirement is a cluster on its way out.
type retirement struct {
	cluster *clusterv3.Cluster
	due     time.Time
}

// everyNode is the one key of the cache: all proxies get the same.
const everyNode = "all"

type sameForAll struct{}

func (sameForAll) ID(*corev3.Node) string { return everyNode }

// NewADS returns an ADS that has nothing yet: proxies wait until the first Set.
func NewADS(o ADSOptions) *ADS {
	ctx, stop := context.WithCancel(context.Background())
	a := &ADS{
		cache:   cachev3.NewSnapshotCache(true, sameForAll{}, nil),
		stop:    stop,
		linger:  o.Linger,
		retired: map[string]retirement{},
	}
	if a.linger <= 0 {
		a.linger = DefaultLinger
	}
	a.ledger = newLedger(o.Observer, func() { go a.retire() })
	a.server = serverv3.NewServer(ctx, a.cache, a.ledger.callbacks())
	return a
}

// Register adds the service to a gRPC server.
func (a *ADS) Register(s *grpc.Server) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s, a.server)
}

// Close ends all streams; the proxies keep what they have.
func (a *ADS) Close() {
	a.stop()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	if a.timer != nil {
		a.timer.Stop()
	}
}

// Set publishes r. It refuses what Validate refuses, a route to a missing
// cluster among it, and then everything stays as it was. The same content
// again is not sent again.
func (a *ADS) Set(r *Resources) error {
	if err := r.Validate(); err != nil {
		return fmt.Errorf("the configuration is refused, the last good one stays: %w", err)
	}
	version := r.Version()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || version == a.version {
		return nil
	}
	now := time.Now()
	if a.current != nil {
		for _, c := range a.current.Clusters {
			a.retired[c.GetName()] = retirement{cluster: c, due: now.Add(a.linger)}
		}
	}
	for _, c := range r.Clusters {
		delete(a.retired, c.GetName())
	}
	if err := a.publish(r); err != nil {
		return err
	}
	a.current, a.version = r, version
	a.schedule(now)
	return nil
}

// Version is the content hash of what is published; empty before the first Set.
func (a *ADS) Version() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.version
}

// Proxies lists, per connected proxy and type of resource, what it said.
func (a *ADS) Proxies() []ProxyState { return a.ledger.states() }

// retire drops the clusters that are due, once no connected proxy can still
// have a route to them. It runs on its own goroutine.
func (a *ADS) retire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || a.current == nil || len(a.retired) == 0 {
		return
	}
	now := time.Now()
	if !a.ledger.allAccepted(resourcev3.RouteType, routesVersion(a.current)) {
		return // the next acceptance calls again
	}
	dropped := false
	for name, r := range a.retired {
		if !r.due.After(now) {
			delete(a.retired, name)
			dropped = true
		}
	}
	if dropped {
		// Publishing less of what was published before cannot fail.
		_ = a.publish(a.current)
	}
	a.schedule(now)
}

// schedule sets the timer to the next retirement. a.mu is held.
func (a *ADS) schedule(now time.Time) {
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
	var next time.Time
	for _, r := range a.retired {
		if r.due.After(now) && (next.IsZero() || r.due.Before(next)) {
			next = r.due
		}
	}
	if !next.IsZero() {
		a.timer = time.AfterFunc(next.Sub(now), a.retire)
	}
}

// publish hands r and what is retired to the cache. Each type has the hash of
// its own content as its version, so that what did not change is not sent.
func (a *ADS) publish(r *Resources) error {
	clusters := append([]*clusterv3.Cluster(nil), r.Clusters...)
	for _, old := range a.retired {
		clusters = append(clusters, old.cluster)
	}
	snapshot := &cachev3.Snapshot{}
	for typ, items := range map[types.ResponseType][]types.Resource{
		types.Cluster:  resources(clusters),
		types.Route:    resources(r.Routes),
		types.Listener: resources(r.Listeners),
		types.Secret:   resources(r.Secrets),
	} {
		snapshot.Resources[typ] = cachev3.NewResources(typeVersion(items), items)
	}
	if err := snapshot.ConstructVersionMap(); err != nil {
		return err
	}
	return a.cache.SetSnapshot(context.Background(), everyNode, snapshot)
}

func resources[M types.Resource](in []M) []types.Resource {
	out := make([]types.Resource, len(in))
	for i, m := range in {
		out[i] = m
	}
	return out
}

func routesVersion(r *Resources) string { return typeVersion(resources(r.Routes)) }
