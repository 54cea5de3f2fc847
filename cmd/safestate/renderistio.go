package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/safestate/safestate/internal/signing"
	"github.com/safestate/safestate/istio"
)

func newRenderIstio() *cobra.Command {
	var (
		o   istio.Options
		key string
	)
	cmd := &cobra.Command{
		Use:   "istio DIR",
		Short: "Print the Istio objects for a configuration folder",
		Long: `Print the EnvoyFilters that carry the policies of a configuration folder to the
proxies of an Istio mesh, for kubectl apply or a Git repository. The routes stay
what they are: HTTPRoutes whose parentRefs name a Gateway, or a Service, and
VirtualServices. Other kinds in the folder are left alone.

The weights are those of the routes. Releases, rollback and kill need
safestate serve --mesh istio, which writes the same objects.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			snapshot, problems := istio.Folder(args[0], o)
			for _, p := range problems {
				fmt.Fprintln(cmd.ErrOrStderr(), p)
			}
			if problems.Failed() {
				return errReported
			}
			if key != "" {
				private, err := readPrivate(key)
				if err != nil {
					return fmt.Errorf("--signing-key: %w", err)
				}
				o.Envoy.Sign = signing.NewSigner(private).Sign
			}
			objects, err := istio.Render(snapshot, o)
			if err != nil {
				return err
			}
			if err := objects.Err(); err != nil {
				return err
			}
			text, err := objects.YAML()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	meshFlags(cmd.Flags(), &o)
	f := cmd.Flags()
	f.StringVar(&o.Envoy.Processor, "processor", istio.DefaultProcessor, "address of safestate's gRPC as the proxies reach it: host:port or unix:PATH")
	f.StringVar(&o.Envoy.Answers, "answers-upstream", istio.DefaultAnswers, "address of the ladder as the proxies' upstream: host:port or unix:PATH")
	f.StringVar(&o.Envoy.WASM, "wasm-module", "", "on the proxies' machines: safestate.wasm, the filter that judges inside the proxy; required where a policy has host WASM or Both (default: there is no such filter)")
	f.StringVar(&key, "signing-key", "", "PEM file of the private key that signs the policies, as safestate keys generate writes it (default: they are not signed, and only a processor on loopback or a Unix socket takes them)")
	tlsFlags(f, &o.Envoy.TLS)
	return cmd
}

// meshFlags say what a mesh is called.
func meshFlags(f *pflag.FlagSet, o *istio.Options) {
	f.StringVar(&o.RootNamespace, "mesh-namespace", istio.DefaultRootNamespace, "Istio's root namespace: EnvoyFilters in it are for the proxies of all namespaces")
	f.StringVar(&o.ClusterDomain, "cluster-domain", istio.DefaultClusterDomain, "what the names of Services end in")
}
