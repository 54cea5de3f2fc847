package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/safestate/safestate/internal/admin/view"
)

func newStatus() *cobra.Command {
	var (
		r     remote
		watch bool
	)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say whether all is well, and what is not",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			if watch {
				return r.watch(cmd, func(ctx context.Context) (frame, error) {
					a, err := c.Status(ctx)
					return frame{raw: a.Raw, page: view.Status(a.Value), line: view.StatusLine(a.Value)}, err
				})
			}
			a, err := asking(cmd.Context(), &r, c.Status)
			if err != nil {
				return err
			}
			return r.print(cmd, a.Raw, view.Status(a.Value))
		},
	}
	r.flags(cmd)
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on: redraw a terminal, elsewhere a line for each change")
	return cmd
}
