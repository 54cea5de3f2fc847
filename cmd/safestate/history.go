package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/admin/view"
)

func newHistory() *cobra.Command {
	var (
		r       remote
		q       admin.HistoryQuery
		verbose bool
	)
	cmd := &cobra.Command{
		Use:   "history [MODEL]",
		Short: "Say what happened to a model's releases, or to all of them, newest first",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			if len(args) == 1 && q.Policy != "" {
				return fmt.Errorf("--policy does not go with a model")
			}
			for _, arg := range args {
				if q.Model, err = objectName(arg); err != nil {
					return err
				}
			}
			if q.Policy != "" {
				if q.Policy, err = objectName(q.Policy); err != nil {
					return fmt.Errorf("--policy: %w", err)
				}
			}
			if q.Limit < 1 || q.Limit > admin.MaxLimit {
				return fmt.Errorf("--limit is %d: want 1 to %d", q.Limit, admin.MaxLimit)
			}
			a, err := asking(cmd.Context(), &r, func(ctx context.Context) (admin.Answer[admin.History], error) { return c.History(ctx, q) })
			if err != nil {
				return err
			}
			return r.print(cmd, a.Raw, view.History(a.Value, time.Now(), verbose))
		},
	}
	r.flags(cmd)
	cmd.Flags().StringVar(&q.Policy, "policy", "", "a policy's history, NAME or NAMESPACE/NAME, in place of a model's")
	cmd.Flags().IntVar(&q.Limit, "limit", admin.DefaultLimit, "most records")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "with the evidence that each was decided on, and how long it took")
	return cmd
}
