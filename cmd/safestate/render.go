package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/serve"
)

func newRender() *cobra.Command {
	render := &cobra.Command{
		Use:   "render",
		Short: "Print configuration for Envoy",
		Args:  cobra.NoArgs, // or a mistyped word would print the help and succeed
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	render.AddCommand(newRenderEnvoy(), newRenderBootstrap())
	return render
}

func newRenderEnvoy() *cobra.Command {
	var o envoy.Options
	cmd := &cobra.Command{
		Use:   "envoy DIR",
		Short: "Print the whole static configuration of an Envoy for a configuration folder",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			snapshot, problems := compile.Dir(args[0])
			for _, p := range problems {
				fmt.Fprintln(cmd.ErrOrStderr(), p)
			}
			if problems.Failed() {
				return errReported
			}
			b, err := envoy.Static(snapshot, o)
			if err != nil {
				return err
			}
			return print(cmd, b)
		},
	}
	envoyFlags(cmd.Flags(), &o)
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
	cmd.Flags().StringVar(&o.XDS, "xds", "", "address of the control plane as Envoy reaches it (default: --processor)")
	return cmd
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
	f.StringVar(&o.NodeCluster, "node-cluster", "safestate", "node cluster of the Envoy")
	f.StringVar(&o.AccessLog, "access-log", "", "file for Envoy's access log, one JSON object a request; /dev/stdout works")
}
