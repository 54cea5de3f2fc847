// Package serve runs safestate: it reads the configuration folder, hands
// Envoy its configuration over ADS, and is Envoy's external processor.
package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/extproc"
	"github.com/safestate/safestate/internal/signing"
	"github.com/safestate/safestate/internal/telemetry"
	"github.com/safestate/safestate/internal/tenant"
)

// DefaultDataDir is where the embedded store is kept.
const DefaultDataDir = "safestate-data"

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
	Role      Role   // default RoleAll
	ConfigDir string // of the roles that control
	Mesh      MeshOptions
	// Control are the addresses of control planes that a RoleExtProc reports to, and
	// that tell it what is killed and, over TLS or on this machine, whose policies to
	// take; none: it reports to nobody, and no release is decided by what it sees.
	Control []string
	// Releases and where they are kept; see package control. NoReleases leaves the
	// weights to the files. DataDir is where the embedded store is, and the local
	// copy; default DefaultDataDir. Etcd are the endpoints of a cluster instead.
	NoReleases                 bool
	DataDir                    string
	Etcd                       []string
	EtcdCA, EtcdCert, EtcdKey  string
	EtcdUser, EtcdPasswordFile string
	// Advertise is where other replicas reach GRPC; empty: there are none. Replica
	// is this one's name; default the host's and the process's.
	Advertise string
	Replica   string

	// APIHosts are further names by which the API is asked.
	APIHosts []string
	// AccessFile says who may do what; empty: this machine everything, others read.
	// NotifyFile says who is told of what happens; empty: nobody.
	AccessFile string
	NotifyFile string
	// AuditAnchors get signed heads of the audit trail: "file:PATH", or the URL of a
	// webhook.
	AuditAnchors []string
	// HTTPTLS secures HTTP by the certificate of TLS. HTTPUnprotected allows an
	// AccessFile with an HTTP that other machines reach in plain text.
	HTTPTLS         bool
	HTTPUnprotected bool

	HTTP string // host:port; default DefaultHTTP
	GRPC string // host:port or unix:PATH; default DefaultGRPC
	// Answers is where Envoy reaches the ladder's own upstream: host:port or
	// unix:PATH; default envoy.DefaultAnswers.
	Answers string
	// TLS secures GRPC and Answers; without it they are for this machine alone.
	TLS TLSFiles
	// SocketPlain leaves those of them that are Unix sockets in plain text, as a mesh's
	// proxies dial them: who may open the file may speak.
	SocketPlain bool
	// GRPCUnprotected allows GRPC and Answers to be addresses that other machines
	// reach.
	GRPCUnprotected bool
	// PolicyKeys is a file with public keys in PEM: whose policies the processor
	// takes. It is read again when it changes. With RoleAll those of the store are
	// taken as well.
	PolicyKeys string
	// SigningKey is a file with a private key in PEM, which signs policies where no
	// store keeps keys (NoReleases). KeyAge is when a key of the store is rotated by
	// itself; 0: never.
	SigningKey        string
	KeyAge            time.Duration
	Redis             string // redis://…; empty: the cache is in the process
	RedisPasswordFile string // its password; empty: in the URL, or none
	// FilesBelow is the folder in which the files are that policies name, in one folder
	// for each namespace; empty: they may name any file, but in a mesh.
	FilesBelow string
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
	options  Options
	log      *telemetry.Log
	metrics  *telemetry.Metrics
	tracer   *telemetry.Tracer
	host     *host                            // nil with RoleControl
	plane    *plane                           // nil with RoleExtProc
	tls      *tls.Config                      // of GRPC and Answers; nil: plain text
	dial     credentials.TransportCredentials // by which it dials others of its like
	keys     *signing.Keys                    // by which the host takes policies
	config   configState
	draining atomic.Bool
	rereads  chan struct{}

	mu      sync.Mutex      // held while a configuration is applied
	guarded map[string]bool // the routes in use, and whether they have a policy
	longest time.Duration   // that an answer of theirs may take
	// unserved are the routes that clients without a proxy cannot call, as logged last.
	unserved []string
}

// Run serves until ctx ends, then drains. It returns nil after a drain, and an
// error where it could not start or one of its servers failed. A configuration
// that is bad at the start is an error; a later one is not applied.
func Run(ctx context.Context, o Options) error {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return err
	}
	if err := errors.Join(o.checkKeys(), o.checkPeople()); err != nil {
		return err
	}
	if !o.GRPCUnprotected && !o.TLS.set() {
		if err := errors.Join(onlyLocal("--grpc", o.GRPC), onlyLocal("--answers", o.Answers)); err != nil {
			return err
		}
	}
	// Before the store, which is locked and takes its time.
	l, err := o.listen()
	if err != nil {
		return err
	}
	defer l.close()
	p, err := newProcess(ctx, o)
	if err != nil {
		return err
	}
	defer p.close()
	if p.plane == nil {
		p.config.apply("", time.Now())
		return p.run(ctx, nil, l)
	}
	var w *watcher
	if p.plane.mesh == nil { // watched before it is read: what changes in between is not missed
		var unwatched error
		w, unwatched = newWatcher(o.ConfigDir)
		defer w.close()
		if unwatched != nil {
			p.log.Warn().Err(unwatched).Dur("every", recheck).Msg("the configuration folder cannot be watched and is read from time to time")
		}
	}
	if err := p.load(ctx); err != nil {
		if p.plane.mesh == nil || ctx.Err() != nil {
			return err
		}
		// What somebody has applied is no reason to be away: what holds keeps holding,
		// and kills are to be had.
		p.log.Error().Msg("configuration refused at the start, what the proxies have stays:\n" + err.Error())
	}
	// What it took to start, compilers and codecs among it, is given back: it is a
	// quarter of what an idle process holds.
	debug.FreeOSMemory()
	giveBack()
	return p.run(ctx, w, l)
}

// listeners are those of a process.
type listeners struct{ grpc, http, answers net.Listener }

// listen opens them all; of a role without a ladder answers is nil.
func (o *Options) listen() (*listeners, error) {
	l := &listeners{}
	var err error
	for _, one := range []struct {
		to            *net.Listener
		flag, address string
		wanted        bool
	}{
		{&l.grpc, "--grpc", o.GRPC, true},
		{&l.http, "--http", o.HTTP, true},
		{&l.answers, "--answers", o.Answers, o.Role.processes()},
	} {
		if !one.wanted {
			continue
		}
		if *one.to, err = listen(one.flag, one.address); err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

// close is for those that nobody serves any more, too.
func (l *listeners) close() {
	for _, one := range []net.Listener{l.grpc, l.http, l.answers} {
		if one != nil {
			_ = one.Close()
		}
	}
}

func (o Options) withDefaults() Options {
	if o.Role == "" {
		o.Role = RoleAll
	}
	if o.DataDir == "" && o.Role.controls() { // a processor keeps a file where it is asked to
		o.DataDir = DefaultDataDir
	}
	if o.Replica == "" {
		o.Replica = replicaName()
	}
	if o.HTTP == "" {
		o.HTTP = DefaultHTTP
	}
	if o.GRPC == "" {
		o.GRPC = DefaultGRPC
	}
	o.Mesh = o.Mesh.withDefaults()
	if o.FilesBelow == "" && o.Mesh.Name != "" && o.Role.processes() {
		o.FilesBelow = string(tenant.MeshFiles)
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
	p := &process{options: o, rereads: make(chan struct{}, 1), keys: &signing.Keys{}}
	p.metrics = telemetry.NewMetrics(o.Version, telemetry.Caps{})
	p.log = telemetry.NewLog(o.LogTo, o.Log, p.metrics)
	var err error
	o.Trace.Version = o.Version
	if p.tracer, err = telemetry.NewTracer(ctx, o.Trace, p.metrics, p.log); err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	p.dial = insecure.NewCredentials()
	if o.TLS.set() {
		if p.dial, err = o.TLS.client(); err != nil {
			p.close()
			return nil, err
		}
		if p.tls, err = o.TLS.config(func(err error) { p.log.Error().Msg(err.Error()) }); err != nil {
			p.close()
			return nil, err
		}
	}
	// Before anything is written: a mistake on the command line leaves no trace.
	if err := (extproc.StateOptions{Redis: o.Redis}).Check(); err != nil && o.Role.processes() {
		p.close()
		return nil, err
	}
	if err := p.followKeys(ctx); err != nil {
		p.close()
		return nil, err
	}
	if o.Role.controls() {
		if p.plane, err = newPlane(ctx, p); err != nil {
			p.close()
			return nil, err
		}
	}
	if o.Role.processes() {
		if p.host, err = newHost(p); err != nil {
			p.close()
			return nil, err
		}
	}
	return p, nil
}

func (p *process) run(ctx context.Context, w *watcher, l *listeners) error {
	g, checks := p.newGRPC()
	failed := make(chan error, 3)
	status := newHTTP(p.readiness, p.metrics.Handler(), p.api())
	servers := []*http.Server{status}
	go func() { failed <- g.Serve(l.grpc) }()
	if p.options.HTTPTLS {
		status.TLSConfig = forPeople(p.tls)
	}
	go func() { failed <- serveHTTP(status, l.http) }()
	told := p.log.Info().Str("role", string(p.options.Role)).Str("http", l.http.Addr().String()).Str("grpc", l.grpc.Addr().String())
	if p.host != nil {
		a := newAnswers(p.host.processor.Upstream(), p.tlsOn(p.options.Answers))
		servers = append(servers, a)
		go func() { failed <- serveHTTP(a, l.answers) }()
		told = told.Str("answers", l.answers.Addr().String())
	}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var watching sync.WaitGroup
	if w != nil {
		told = told.Str("config", p.options.ConfigDir)
		watching.Go(func() { w.run(ctx, func() { p.reload(ctx) }) })
	}
	if p.plane != nil {
		watching.Go(func() { p.reread(ctx) })
	}
	told.Msg("serving")

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stop()
	watching.Wait()
	p.drain(g, checks, servers...)
	return err
}

// tlsOn is what secures an address; nil: nothing.
func (p *process) tlsOn(address string) *tls.Config {
	if _, unix := cutUnix(address); unix && p.options.SocketPlain {
		return nil
	}
	return p.tls
}

// api is the HTTP API; nil: this process has none.
func (p *process) api() http.Handler {
	if p.plane == nil || p.plane.api == nil {
		return nil
	}
	return p.plane.api
}

func (p *process) newGRPC() (*grpc.Server, *health.Server) {
	options := append(extproc.ServerOptions(),
		// The timeout is the kernel's too, and must be longer than the time
		// between its own probes (15 s): else one that is lost ends an idle
		// connection.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 500 * time.Millisecond, PermitWithoutStream: true}),
	)
	if p.plane != nil { // the last one holds
		options = append(options, grpc.ForceServerCodecV2(xds.Codec(extproc.Codec())), grpc.WriteBufferSize(xds.WriteBuffer))
	}
	if secured := p.tlsOn(p.options.GRPC); secured != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(secured)))
	}
	g := grpc.NewServer(options...)
	if p.host != nil {
		p.host.processor.Register(g)
	}
	if p.plane != nil {
		p.plane.register(g)
	}
	checks := health.NewServer()
	checks.SetServingStatus("", healthv1.HealthCheckResponse_SERVING)
	healthv1.RegisterHealthServer(g, checks)
	return g, checks
}

func (p *process) close() {
	if p.host != nil {
		p.host.close() // first: its last counts go to the plane
	}
	if p.plane != nil {
		p.plane.close()
	}
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
