package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/serve"
	"github.com/safestate/safestate/internal/signing"
)

func newRender() *cobra.Command {
	render := &cobra.Command{
		Use:   "render",
		Short: "Print configuration for Envoy or Istio",
		Args:  cobra.NoArgs, // or a mistyped word would print the help and succeed
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	render.AddCommand(newRenderEnvoy(), newRenderBootstrap(), newRenderFragment(), newRenderIstio(), newRenderSecret())
	return render
}

func newRenderEnvoy() *cobra.Command {
	var (
		o         envoy.Options
		key, host string
	)
	cmd := &cobra.Command{
		Use:   "envoy DIR",
		Short: "Print the whole static configuration of an Envoy for a configuration folder",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			edit, err := judgedBy(host)
			if err != nil {
				return err
			}
			snapshot, err := compileWith(cmd, args[0], edit)
			if err != nil {
				return err
			}
			if key != "" {
				private, err := readPrivate(key)
				if err != nil {
					return fmt.Errorf("--signing-key: %w", err)
				}
				o.Sign = signing.NewSigner(private).Sign
			}
			b, err := envoy.Static(snapshot, o)
			if err != nil {
				return err
			}
			return print(cmd, b)
		},
	}
	envoyFlags(cmd.Flags(), &o)
	tlsFlags(cmd.Flags(), &o.TLS)
	cmd.Flags().StringVar(&host, "host", "", "what judges the answers, whatever the policies say: processor, wasm or both (default: as each policy's host says)")
	cmd.Flags().StringVar(&key, "signing-key", "", "PEM file of the private key that signs the policies, as safestate keys generate writes it (default: they are not signed, and only a processor on loopback or a Unix socket takes them)")
	return cmd
}

func newRenderBootstrap() *cobra.Command {
	var o envoy.Options
	cmd := &cobra.Command{
		Use:   "bootstrap",
		Short: "Print the bootstrap of an Envoy that takes its configuration from safestate serve",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := envoy.Bootstrap(o)
			if err != nil {
				return err
			}
			return print(cmd, b)
		},
	}
	envoyFlags(cmd.Flags(), &o)
	tlsFlags(cmd.Flags(), &o.TLS)
	cmd.Flags().StringVar(&o.XDS, "xds", "", "address of the control plane as Envoy reaches it (default: --processor)")
	return cmd
}

func newRenderFragment() *cobra.Command {
	var o envoy.Options
	var ads bool
	cmd := &cobra.Command{
		Use:   "fragment [DIR]",
		Short: "Print what an Envoy of your own needs to take routes and clusters from safestate serve",
		Long: `Print what an Envoy of your own needs to take routes (RDS) and clusters (CDS) from
safestate serve: a bootstrap to take pieces from, with a listener that is yours.
Envoy runs it as it stands.

With DIR it has what that configuration needs besides: a local reply for each
status and content-type of a safe default that is not 200 or not
application/json, and the listeners behind grpcLastRung: Answer. Print it again
when these change.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var snapshot *compile.Snapshot
			if len(args) > 0 {
				var err error
				if snapshot, err = compileDir(cmd, args[0]); err != nil {
					return err
				}
			}
			b, err := envoy.Fragment(snapshot, o, ads)
			if err != nil {
				return err
			}
			text, err := envoy.FragmentYAML(b)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	envoyFlags(cmd.Flags(), &o)
	tlsFlags(cmd.Flags(), &o.TLS)
	cmd.Flags().StringVar(&o.XDS, "xds", "", "address of the control plane as Envoy reaches it (default: --processor)")
	cmd.Flags().BoolVar(&ads, "ads", false, "fetch both over one ADS stream instead of a service each")
	return cmd
}

func newRenderSecret() *cobra.Command {
	var o envoy.TLS
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Print the file of --tls-secret, or with --tls-ca that of --tls-ca-secret, by which an Envoy rereads renewed certificates",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			make := envoy.TLSSecret
			if o.CA != "" {
				make = envoy.CASecret
			}
			if o.CA != "" && (o.Cert != "" || o.Key != "") {
				return fmt.Errorf("--tls-ca is for a file of its own: Envoy takes one secret from a file")
			}
			s, err := make(o)
			if err != nil {
				return err
			}
			return print(cmd, s)
		},
	}
	certificateFlags(cmd.Flags(), &o)
	cmd.Flags().StringVar(&o.CA, "tls-ca", "", "on Envoy's machine: PEM file of the authorities of safestate's certificate")
	return cmd
}

// judgedBy makes a host, by its name in lower case, that of every policy; empty:
// each has its own.
func judgedBy(host string) (func(*config.World) config.Problems, error) {
	if host == "" {
		return unedited, nil
	}
	for _, h := range config.Hosts() {
		if strings.ToLower(string(h)) == host {
			return func(w *config.World) config.Problems { return config.SetHost(w, h) }, nil
		}
	}
	return nil, fmt.Errorf("--host %q is none: want processor, wasm or both", host)
}

func unedited(*config.World) config.Problems { return nil }

// compileDir compiles a folder and prints its problems.
func compileDir(cmd *cobra.Command, dir string) (*compile.Snapshot, error) {
	return compileWith(cmd, dir, unedited)
}

// compileWith is compileDir for a folder that is edited first.
func compileWith(cmd *cobra.Command, dir string, edit func(*config.World) config.Problems) (*compile.Snapshot, error) {
	snapshot, problems := compile.DirWith(dir, edit)
	for _, p := range problems {
		fmt.Fprintln(cmd.ErrOrStderr(), p)
	}
	if problems.Failed() {
		return nil, errReported
	}
	return snapshot, nil
}

func print(cmd *cobra.Command, m proto.Message) error {
	text, err := envoy.YAML(m)
	if err != nil {
		return err
	}
	_, err = cmd.OutOrStdout().Write(text)
	return err
}

// envoyFlags are the options of Envoy's configuration that all commands share.
func envoyFlags(f *pflag.FlagSet, o *envoy.Options) {
	f.StringVar(&o.Listen, "traffic", envoy.DefaultListen, "address on which Envoy takes traffic")
	f.StringVar(&o.Admin, "envoy-admin", envoy.DefaultAdmin, "address of Envoy's admin interface")
	f.StringVar(&o.Processor, "processor", serve.DefaultGRPC, "address of safestate's gRPC as Envoy reaches it: host:port or unix:PATH")
	f.StringVar(&o.Answers, "answers-upstream", envoy.DefaultAnswers, "address of the ladder as Envoy's upstream, as Envoy reaches it: host:port or unix:PATH")
	f.StringVar(&o.NodeID, "node-id", "safestate", "node id of the Envoy")
	f.StringVar(&o.Probe, "probe", "", "address at which the control plane asks the Envoy what it has killed: http[s]://[HOST]:PORT (default: the port of the control plane's --traffic, where the Envoy connects from)")
	f.StringVar(&o.NodeCluster, "node-cluster", "safestate", "node cluster of the Envoy")
	f.StringVar(&o.WASM, "wasm-module", "", "on Envoy's machine: safestate.wasm, the filter that judges inside Envoy; required where a policy has host WASM or Both (default: there is no such filter)")
	f.StringVar(&o.AccessLog, "access-log", "", "file for Envoy's access log, one JSON object a request; /dev/stdout works")
}

// tlsFlags are how an Envoy dials a safestate that is served with --tls-cert. They
// name files on Envoy's machine.
func tlsFlags(f *pflag.FlagSet, o *envoy.TLS) {
	f.StringVar(&o.CA, "tls-ca", "", "on Envoy's machine: PEM file of the authorities of safestate's certificate (default: plain text)")
	certificateFlags(f, o)
	f.StringVar(&o.ServerName, "tls-server-name", "", "name that safestate's certificate has to have (default: the host of each address)")
	f.StringVar(&o.CASecret, "tls-ca-secret", "", "on Envoy's machine: file with what safestate render secret --tls-ca prints; renewed authorities are used without a restart (default: they are read at the start only)")
	f.StringVar(&o.Secret, "tls-secret", "", "on Envoy's machine: file with what safestate render secret prints; a renewed certificate is used without a restart (default: it is read at the start only)")
}

func certificateFlags(f *pflag.FlagSet, o *envoy.TLS) {
	f.StringVar(&o.Cert, "tls-cert", "", "on Envoy's machine: PEM file of Envoy's certificate; --node-id has to be a name in it, or begin with one and a slash")
	f.StringVar(&o.Key, "tls-key", "", "on Envoy's machine: PEM file of its key")
}
