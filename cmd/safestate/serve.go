package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/serve"
)

func newServe() *cobra.Command {
	var (
		o     serve.Options
		level string
		role  string
	)
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Be Envoy's external processor and control plane",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.Log.Level, err = levelOf(level); err != nil {
				return err
			}
			if o.Drain < 0 {
				return fmt.Errorf("--drain is %s: want 0 (as long as the longest stream), or more", o.Drain)
			}
			if o.MaxBodies < serve.LeastMaxBodies {
				return fmt.Errorf("--max-bodies-bytes is %d: want at least %d", o.MaxBodies, serve.LeastMaxBodies)
			}
			o.Version, o.Role = version, serve.Role(role)
			if !cmd.Flags().Changed("data-dir") && o.Role == serve.RoleExtProc {
				o.DataDir = "" // it keeps what is killed only where it is told to
			}
			if !cmd.Flags().Changed("processor") {
				o.Envoy.Processor = "" // where our own gRPC listens
			}
			if !cmd.Flags().Changed("answers-upstream") {
				o.Envoy.Answers = "" // where our own --answers listens
			}
			o.Mesh.Istio.Envoy = o.Envoy // the mesh's proxies reach the processors' Service, unless told otherwise
			ctx, stop := untilSignal()
			defer stop()
			return serve.Run(ctx, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&role, "role", string(serve.RoleAll), "all; or apart, so that one's restart does not touch the other: extproc (judges and answers) or control (releases, and the proxies' configuration)")
	f.StringVar(&o.ConfigDir, "config", "", "folder of the configuration (required but for --role extproc)")
	f.StringVar(&o.HTTP, "http", serve.DefaultHTTP, "address of /healthz, /readyz, /metrics and, under /v1/, the API: changes come from this machine only, so a proxy on it that leads here makes its callers this machine")
	f.StringVar(&o.GRPC, "grpc", serve.DefaultGRPC, "address of the external processor and of ADS: host:port or unix:PATH")
	f.StringVar(&o.Answers, "answers", envoy.DefaultAnswers, "address of the ladder as Envoy's upstream, for what no processor can answer: host:port or unix:PATH")
	f.BoolVar(&o.GRPCUnprotected, "grpc-unprotected", false, "allow --grpc and --answers in plain text on an address that other machines reach: whoever is on the way reads and writes what callers ask and get")
	f.StringVar(&o.Redis, "redis", "", "redis://[user:password@]host:port[/db] of the shared cache (default: a cache in the process)")
	f.StringVar(&o.RedisPasswordFile, "redis-password-file", "", "file that holds the password of --redis, read at each connect")
	f.StringVar(&o.FilesBelow, "files-below", "", "folder in which the files are that policies name (credentials, TLS, bodies of defaults), in one folder for each namespace: a policy that names others is refused (default: they may name any file that the process can read; with --mesh /etc/safestate/files)")
	f.Int64Var(&o.CacheBytes, "cache-bytes", 64<<20, "most bytes of the cache in the process")
	f.Int64Var(&o.MaxBodies, "max-bodies-bytes", serve.DefaultMaxBodies, "most bytes of bodies held at once, of all requests in flight; what finds no room is answered from the ladder or passes unread, as its policy says")
	f.DurationVar(&o.Drain, "drain", 0, "the longest that a shutdown waits for requests in flight; what is left then ends with an error event (default: as long as the longest stream that a policy allows, 10s at least)")
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	f.BoolVar(&o.Log.Console, "log-console", false, "log for people, not one JSON object a line")
	f.Float64Var(&o.Log.PerSecond, "log-failures-per-second", 10, "most lines about failed answers a second and route; less than 0: no limit")
	f.StringVar(&o.Trace.Endpoint, "otlp-endpoint", "", "OTLP/gRPC endpoint for traces (default: the OTEL_EXPORTER_OTLP_* environment; none: no traces)")
	envoyFlags(f, &o.Envoy)
	releaseFlags(f, &o)
	f.StringVar(&o.Mesh.Name, "mesh", "", "istio: the proxies are Istio's, and configuration and state are in the API server (default: safestate configures Envoy)")
	f.StringVar(&o.Mesh.Kubeconfig, "kubeconfig", "", "file that says how to reach the API server (default: as a pod does)")
	f.StringVar(&o.Mesh.Namespace, "namespace", "", "safestate's own namespace, which has its state (default: the pod's)")
	meshFlags(f, &o.Mesh.Istio)
	return cmd
}

// releaseFlags are those of the control plane and its replicas.
func releaseFlags(f *pflag.FlagSet, o *serve.Options) {
	f.BoolVar(&o.NoReleases, "no-releases", false, "keep no releases: the weights are those of the files, and no store is opened")
	f.StringVar(&o.DataDir, "data-dir", serve.DefaultDataDir, "folder of the embedded store, and of the local copy of what it holds; with --role extproc (default: none) of what is killed, so that a restart without the control plane knows it: each process one of its own")
	f.StringSliceVar(&o.Etcd, "etcd-endpoints", nil, "endpoints of an etcd cluster that several replicas share, in place of the embedded store")
	f.StringVar(&o.EtcdCA, "etcd-ca", "", "PEM file of the authorities of --etcd-endpoints (default: the system's)")
	f.StringVar(&o.EtcdCert, "etcd-cert", "", "PEM file of our certificate for --etcd-endpoints")
	f.StringVar(&o.EtcdKey, "etcd-key", "", "PEM file of its key")
	f.StringVar(&o.EtcdUser, "etcd-user", "", "user of --etcd-endpoints")
	f.StringVar(&o.EtcdPasswordFile, "etcd-password-file", "", "file that holds the password of --etcd-user on its first line")
	f.StringVar(&o.Advertise, "advertise", "", "host:port at which other replicas reach --grpc (default: there are none)")
	f.StringSliceVar(&o.APIHosts, "api-host", nil, "further host names by which the API is asked, besides those of this machine")
	f.StringVar(&o.AccessFile, "access-file", "", "YAML file that says who may do what (default: this machine everything, others read); read again when it changes")
	f.StringVar(&o.NotifyFile, "notify-file", "", "YAML file that says who is told of what happens: webhooks, Slack, Alertmanager (default: nobody)")
	f.StringSliceVar(&o.AuditAnchors, "audit-anchor", nil, "where signed heads of the audit trail are kept as well, out of the reach of who administers safestate: file:PATH, or the https URL of a webhook; repeatable")
	f.BoolVar(&o.HTTPTLS, "http-tls", false, "serve --http over TLS, with --tls-cert; a client certificate is asked for and not required")
	f.BoolVar(&o.HTTPUnprotected, "http-unprotected", false, "allow an --http that other machines reach without --access-file, so that all of them may read, or with it in plain text, so that tokens are readable on the way")
	f.StringVar(&o.Replica, "replica", "", "name of this process among the replicas, or the processors: one that keeps its name over a restart is not missed (default: the host's name and the process id)")
	f.StringSliceVar(&o.Control, "control", nil, "addresses of the control plane that --role extproc reports to, and that says what is killed and, with TLS or on this machine, whose policies to take: host:port or unix:PATH")
	f.StringVar(&o.PolicyKeys, "policy-keys", "", "PEM file of the public keys whose policies the processor takes besides those that --control names, read again when it changes; --role extproc without such a --control needs it where other machines reach --grpc: policies have to be signed there")
	f.StringVar(&o.SigningKey, "signing-key", "", "PEM file of the private key that signs policies, with --no-releases (default: keys in the store, see safestate keys)")
	f.DurationVar(&o.KeyAge, "policy-key-age", 0, "rotate the store's key of policies by itself when it is older than this (default: never)")
	f.StringVar(&o.TLS.Cert, "tls-cert", "", "PEM file of our certificate on --grpc and --answers; renewed files are read")
	f.StringVar(&o.TLS.Key, "tls-key", "", "PEM file of its key")
	f.StringVar(&o.TLS.ProxyCA, "tls-proxy-ca", "", "with --role extproc: PEM file of further authorities, of proxies: Istio's, whose gateways and sidecars show the certificates that they have of it, and count for proxies of their own namespace alone")
	f.BoolVar(&o.SocketPlain, "socket-plain", false, "with --role extproc: no TLS on --grpc and --answers, which are Unix sockets, as a mesh's proxies dial them; the other flags of TLS then are for --control and --http")
	f.StringVar(&o.TLS.ClientCA, "tls-client-ca", "", "PEM file of the authorities of the proxies' certificates; a proxy's node id has to be a name in its own")
}

// untilSignal returns a context that ends with the first signal to stop. By
// then a second one ends the process at once, as if nobody had asked for a
// drain. stop gives back what it holds.
func untilSignal() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		select {
		case <-signals:
		case <-ctx.Done():
		}
		signal.Stop(signals) // before the context ends: the drain is on its own
		cancel()
	}()
	return ctx, cancel
}

// levelOf reads a level by its name. Those that would hide errors are none.
func levelOf(name string) (zerolog.Level, error) {
	for _, l := range []zerolog.Level{zerolog.DebugLevel, zerolog.InfoLevel, zerolog.WarnLevel, zerolog.ErrorLevel} {
		if l.String() == name {
			return l, nil
		}
	}
	return zerolog.NoLevel, fmt.Errorf("--log-level %q is none: want debug, info, warn or error", name)
}
