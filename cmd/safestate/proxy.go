package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/safestate/safestate/internal/admin"
)

func newProxy() *cobra.Command {
	proxy := &cobra.Command{
		Use:   "proxy",
		Short: "Say which proxies a proof needs",
		Args:  cobra.NoArgs, // or a mistyped word would print the help and succeed
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	proxy.AddCommand(newProxyDeregister())
	return proxy
}

func newProxyDeregister() *cobra.Command {
	var (
		r       remote
		request admin.ReasonRequest
	)
	cmd := &cobra.Command{
		Use:   "deregister NODE --reason TEXT",
		Short: "Wait no longer for a proxy that is gone for good",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			a, err := asking(cmd.Context(), &r, func(ctx context.Context) (admin.Answer[admin.Done], error) {
				return c.Deregister(ctx, args[0], request)
			})
			if err != nil {
				return err
			}
			return r.print(cmd, a.Raw, "It is not expected any more. It is again when it connects.\n")
		},
	}
	r.flags(cmd)
	reasonFlag(cmd, &request.Reason, true)
	return cmd
}
