// Package serve runs safestate: it reads the configuration folder, hands
// Envoy its configuration over ADS, and is Envoy's external processor.
package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/extproc"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/telemetry"
)

// Default addresses: loopback only.
const (
	DefaultHTTP = "127.0.0.1:8686"
	DefaultGRPC = "127.0.0.1:18000"
)

// DefaultDrain is how long a shutdown waits for requests in flight at least,
// where it is not told how long.
const DefaultDrain = 10 * time.Second

// DefaultMaxBodies is how many bytes of bodies are held at once, where it is not
// told how many; LeastMaxBodies is the default limit of one body, under which
// hardly anything would be inspected.
const (
	DefaultMaxBodies = extproc.DefaultMaxInFlight
	LeastMaxBodies   = 1 << 20
)

// Options are what serve is started with.
type Options struct {
	ConfigDir string
	HTTP      string // host:port; default DefaultHTTP
	GRPC      string // host:port or unix:PATH; default DefaultGRPC
	// Answers is where Envoy reaches the ladder's own upstream: host:port or
	// unix:PATH; default envoy.DefaultAnswers.
	Answers string
	// GRPCUnprotected allows GRPC and Answers to be addresses that other machines
	// reach.
	GRPCUnprotected   bool
	Redis             string // redis://…; empty: the cache is in the process
	RedisPasswordFile string // its password; empty: in the URL, or none
	// CacheBytes bounds the cache in the process; 0 is the cache's default.
	CacheBytes int64
	// MaxBodies bounds the bytes of bodies of all requests in flight; 0 is
	// DefaultMaxBodies.
	MaxBodies int64
	// Drain is the longest that a shutdown waits for requests in flight; 0: as
	// long as the longest stream that a policy allows, and DefaultDrain at least.
	Drain   time.Duration
	Envoy   envoy.Options // what the proxies' configuration depends on
	Version string        // of this build
	Log     telemetry.LogOptions
	LogTo   io.Writer // default os.Stderr
	Trace   telemetry.TraceOptions
}

// process is a running safestate.
type process struct {
	options   Options
	log       *telemetry.Log
	metrics   *telemetry.Metrics
	tracer    *telemetry.Tracer
	processor *extproc.Server
	state     *extproc.State
	ads       *envoy.ADS
	config    configState
	draining  atomic.Bool

	mu      sync.Mutex      // held while a configuration is applied
	guarded map[string]bool // the routes in use, and whether they have a policy
	longest time.Duration   // that an answer of theirs may take
}

// Run serves until ctx ends, then drains. It returns nil after a drain, and an
// error where it could not start or one of its servers failed. A configuration
// that is bad at the start is an error; a later one is not applied.
func Run(ctx context.Context, o Options) error {
	o = o.withDefaults()
	if !o.GRPCUnprotected {
		if err := errors.Join(onlyLocal("--grpc", o.GRPC), onlyLocal("--answers", o.Answers)); err != nil {
			return err
		}
	}
	p, err := newProcess(ctx, o)
	if err != nil {
		return err
	}
	defer p.close()
	// Watched before it is read: what changes in between is not missed.
	w, unwatched := newWatcher(o.ConfigDir)
	defer w.close()
	if err := p.load(); err != nil {
		return err
	}
	if unwatched != nil {
		p.log.Warn().Err(unwatched).Dur("every", recheck).Msg("the configuration folder cannot be watched and is read from time to time")
	}
	grpcListener, err := listen("--grpc", o.GRPC)
	if err != nil {
		return err
	}
	httpListener, err := listen("--http", o.HTTP)
	if err != nil {
		_ = grpcListener.Close()
		return err
	}
	answersListener, err := listen("--answers", o.Answers)
	if err != nil {
		_, _ = grpcListener.Close(), httpListener.Close()
		return err
	}
	return p.run(ctx, w, grpcListener, httpListener, answersListener)
}

func (o Options) withDefaults() Options {
	if o.HTTP == "" {
		o.HTTP = DefaultHTTP
	}
	if o.GRPC == "" {
		o.GRPC = DefaultGRPC
	}
	if o.Answers == "" {
		o.Answers = envoy.DefaultAnswers
	}
	if o.LogTo == nil {
		o.LogTo = os.Stderr
	}
	if o.Envoy.Processor == "" {
		o.Envoy.Processor = o.GRPC
	}
	if o.Envoy.Answers == "" {
		o.Envoy.Answers = o.Answers
	}
	return o
}

func newProcess(ctx context.Context, o Options) (*process, error) {
	p := &process{options: o}
	p.metrics = telemetry.NewMetrics(o.Version, telemetry.Caps{})
	p.log = telemetry.NewLog(o.LogTo, o.Log, p.metrics)
	var err error
	o.Trace.Version = o.Version
	if p.tracer, err = telemetry.NewTracer(ctx, o.Trace, p.metrics, p.log); err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	p.state, err = extproc.NewState(extproc.StateOptions{
		Metrics: p.metrics, Log: p.log, Redis: o.Redis, RedisPasswordFile: o.RedisPasswordFile, CacheBytes: o.CacheBytes,
	})
	if err != nil {
		p.endTraces()
		return nil, err
	}
	p.processor = extproc.New(extproc.Options{
		Metrics: p.metrics, Log: p.log, Tracer: p.tracer, State: p.state, MaxInFlight: o.MaxBodies,
	})
	p.ads = envoy.NewADS(envoy.ADSOptions{Observer: proxies{p.metrics, p.log}})
	p.metrics.Proxies(func() float64 { return float64(countProxies(p.ads.Proxies())) })
	return p, nil
}

// countProxies counts the nodes among states, of which there is one per type
// of resource.
func countProxies(states []envoy.ProxyState) int {
	nodes := map[string]bool{}
	for _, s := range states {
		nodes[s.Node] = true
	}
	return len(nodes)
}

// load reads the configuration folder and applies it whole or not at all.
func (p *process) load() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	snapshot, problems := compile.Dir(p.options.ConfigDir)
	if err := problems.Err(); err != nil {
		return p.refuse(problems.Errors(), err)
	}
	resources, err := envoy.Render(snapshot, p.options.Envoy)
	if err == nil {
		err = p.processor.Prepare(policiesOf(snapshot))
	}
	if err == nil {
		err = p.ads.Set(resources)
	}
	if err != nil {
		return p.refuse(config.Problems{{Message: err.Error()}}, err)
	}
	p.tellUnguarded(snapshot)
	p.longest = longestStream(snapshot)
	p.applied(resources.Version(), problems.Warnings())
	return nil
}

// tellUnguarded logs the routes that had a policy and have none any more: their
// answers are not inspected, and a file that lost its ending looks no different
// from one that was taken away on purpose.
func (p *process) tellUnguarded(s *compile.Snapshot) {
	guarded := make(map[string]bool, len(s.Routes))
	for i := range s.Routes {
		r := &s.Routes[i]
		guarded[r.Name] = r.Policy != nil
		if r.Policy == nil && p.guarded[r.Name] {
			p.log.Warn().Str("route", r.Name).Msg("the route has lost its policy: its answers are not inspected any more")
		}
	}
	p.guarded = guarded
}

func (p *process) refuse(problems config.Problems, err error) error {
	texts := make([]string, len(problems))
	for i, pr := range problems {
		texts[i] = pr.String()
	}
	p.config.refuse(texts, time.Now())
	p.metrics.ConfigRejected(len(texts))
	return err
}

func (p *process) applied(version string, warnings config.Problems) {
	now := time.Now()
	p.metrics.ConfigApplied(now)
	changed, mended := p.config.apply(version, now)
	switch {
	case changed:
		for _, w := range warnings {
			p.log.Warn().Msg(w.String())
		}
		p.log.Info().Str("version", version).Msg("configuration applied")
	case mended:
		p.log.Info().Str("version", version).Msg("configuration mended: it is the one in use")
	}
}

func policiesOf(s *compile.Snapshot) []*policy.Policy {
	var out []*policy.Policy
	for i := range s.Routes {
		if s.Routes[i].Policy != nil {
			out = append(out, s.Routes[i].Policy)
		}
	}
	return out
}

func (p *process) run(ctx context.Context, w *watcher, grpcListener, httpListener, answersListener net.Listener) error {
	g, checks := p.newGRPC()
	h := newHTTP(&p.config, p.draining.Load, p.metrics.Handler())
	a := newAnswers(p.processor.Upstream())
	failed := make(chan error, 3)
	go func() { failed <- g.Serve(grpcListener) }()
	go func() { failed <- h.Serve(httpListener) }()
	go func() { failed <- a.Serve(answersListener) }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var watching sync.WaitGroup
	watching.Go(func() { w.run(ctx, p.reload) })
	p.log.Info().Str("http", httpListener.Addr().String()).Str("grpc", grpcListener.Addr().String()).
		Str("answers", answersListener.Addr().String()).
		Str("config", p.options.ConfigDir).Msg("serving")
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stop()
	watching.Wait()
	p.drain(g, checks, h, a)
	return err
}

// reload is load for a process that serves already: what is refused is told
// and the last good configuration stays.
func (p *process) reload() {
	before := p.config.readiness().Config.Problems
	if err := p.load(); err != nil && !sameProblems(before, p.config.readiness().Config.Problems) {
		p.log.Error().Msg("configuration refused, the last good one stays:\n" + err.Error())
	}
}

func sameProblems(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func (p *process) newGRPC() (*grpc.Server, *health.Server) {
	g := grpc.NewServer(append(extproc.ServerOptions(),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 500 * time.Millisecond, PermitWithoutStream: true}),
	)...)
	p.processor.Register(g)
	p.ads.Register(g)
	checks := health.NewServer()
	checks.SetServingStatus("", healthv1.HealthCheckResponse_SERVING)
	healthv1.RegisterHealthServer(g, checks)
	return g, checks
}

func (p *process) close() {
	p.ads.Close()
	p.processor.Close()
	p.state.Close()
	p.endTraces()
	p.log.Flush()
}

// endTraces sends the spans that wait.
func (p *process) endTraces() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := p.tracer.Shutdown(ctx); err != nil {
		p.log.Warn().Err(err).Msg("some spans are lost")
	}
}

// proxies counts and logs what the proxies say of a configuration.
type proxies struct {
	metrics *telemetry.Metrics
	log     *telemetry.Log
}

func (o proxies) Accepted(_, typeURL, _ string) { o.metrics.XDSAck(typeURL) }

func (o proxies) Refused(node, typeURL, version, message string) {
	o.metrics.XDSNack(typeURL)
	o.log.Error().Str("node", node).Str("type", typeURL).Str("version", version).Str("message", message).
		Msg("a proxy refused a configuration and goes on with its last one")
}
