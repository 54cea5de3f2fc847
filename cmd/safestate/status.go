package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/safestate/safestate/internal/admin/view"
)

// errNotWell ends the process with status 2 where the command has said what is not
// well.
var errNotWell = errors.New("not well")

func newStatus() *cobra.Command {
	var (
		r     remote
		watch bool
		check bool
	)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say whether all is well, and what is not",
		Long: "Say whether all is well, and what is not.\n\nExit codes: 0 it answered, whatever it said; 1 it did not; with --check 2 where\n" +
			"something is not well.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			if watch && check {
				return fmt.Errorf("--check does not go with --watch")
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
			if err := r.print(cmd, a.Raw, view.Status(a.Value)); err != nil {
				return err
			}
			if check && !a.Value.Well {
				return errNotWell
			}
			return nil
		},
	}
	r.flags(cmd)
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on: redraw a terminal, elsewhere a line for each change")
	cmd.Flags().BoolVar(&check, "check", false, "exit code 2 where something is not well: for a script, or a probe")
	return cmd
}
