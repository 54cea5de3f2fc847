package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/admin/view"
)

func newRollback() *cobra.Command {
	var (
		r       remote
		request admin.RollbackRequest
		wait    time.Duration
		hold    time.Duration
	)
	cmd := &cobra.Command{
		Use:   "rollback MODEL --reason TEXT",
		Short: "Take a model back to a version that was good, and wait until that is proven",
		Long: "Take a model back to the newest version that was good, or to --to.\n\nIt waits until every expected proxy has ACKed the change and nothing asks the\n" +
			"version any more, which was taken out of traffic." + "\n" + exitCodes,
		Example: `  safestate rollback fraud --reason "v2 scores everything 0"
  safestate rollback policy fraud --reason "too strict"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			request.Hold = holdOf(cmd, hold)
			return r.withdraw(cmd, args[0], wait, func(ctx context.Context, c *admin.Client, model string) (admin.Answer[admin.Model], error) {
				return c.Rollback(ctx, model, request)
			})
		},
	}
	r.flags(cmd)
	reasonFlag(cmd, &request.Reason, true)
	waitFlag(cmd, &wait)
	cmd.Flags().StringVar(&request.To, "to", "", "the version to go back to (default: the newest that was good)")
	cmd.Flags().BoolVar(&request.Force, "force", false, "go to a version that is refused for safety, and keep automation from undoing it for --hold")
	holdFlag(cmd, &hold)
	cmd.Flags().Uint64Var(&request.ExpectGeneration, "expect-generation", 0, "refuse if the model's generation is another by now (0: any)")
	cmd.AddCommand(newRollbackPolicy())
	return cmd
}

func newRollbackPolicy() *cobra.Command {
	var (
		r       remote
		request admin.PolicyRollbackRequest
		unpin   bool
	)
	cmd := &cobra.Command{
		Use:   "policy POLICY --reason TEXT",
		Short: "Take a policy back to an earlier number, and hold it there whatever the file says",
		Long: "Take a policy back to an earlier number, and hold it there whatever the file says.\n\nA model that is called policy is rolled back by its full name, such as\n" +
			"safestate rollback default/policy.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			policy, err := objectName(args[0])
			if err != nil {
				return err
			}
			if unpin && (cmd.Flags().Changed("to") || cmd.Flags().Changed("expect-number")) {
				return fmt.Errorf("--unpin does not go with --to and --expect-number")
			}
			a, err := asking(cmd.Context(), &r, func(ctx context.Context) (admin.Answer[admin.Policy], error) {
				if unpin {
					return c.UnpinPolicy(ctx, policy, admin.ReasonRequest{Reason: request.Reason})
				}
				return c.RollbackPolicy(ctx, policy, request)
			})
			if err != nil {
				return err
			}
			return r.print(cmd, a.Raw, view.Policy(a.Value))
		},
	}
	r.flags(cmd)
	reasonFlag(cmd, &request.Reason, true)
	cmd.Flags().Uint64Var(&request.To, "to", 0, "the number to go back to (default: the one before)")
	cmd.Flags().Uint64Var(&request.ExpectNumber, "expect-number", 0, "refuse if the number in force is another by now (0: any)")
	cmd.Flags().BoolVar(&unpin, "unpin", false, "end an earlier rollback: follow the file again")
	return cmd
}

func waitFlag(cmd *cobra.Command, into *time.Duration) {
	cmd.Flags().DurationVar(into, "wait", 30*time.Second, "the longest to wait for the proof; 0: not at all")
}

// proofEvery is how often the proof is asked for.
const proofEvery = 200 * time.Millisecond

// withdraw does what takes a version out of traffic, and waits for the proof.
func (r *remote) withdraw(cmd *cobra.Command, arg string, wait time.Duration, do func(context.Context, *admin.Client, string) (admin.Answer[admin.Model], error)) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	model, err := objectName(arg)
	if err != nil {
		return err
	}
	if wait < 0 {
		return fmt.Errorf("--wait is %s: want 0 or more", wait)
	}
	a, err := asking(cmd.Context(), r, func(ctx context.Context) (admin.Answer[admin.Model], error) { return do(ctx, c, model) })
	if err != nil {
		return err
	}
	if wait == 0 {
		return r.print(cmd, a.Raw, view.Changed(a.Value))
	}
	begun, generation := time.Now(), a.Value.Generation
	if w := a.Value.Withdrawal; w != nil {
		generation = w.Generation
	}
	if r.output == "text" {
		fmt.Fprint(cmd.OutOrStdout(), view.Changed(a.Value))
	}
	a, proven, err := r.prove(cmd, c, model, a, generation, wait)
	if err != nil {
		return err
	}
	if err := r.print(cmd, a.Raw, view.Proof(a.Value, generation, time.Since(begun))); err != nil {
		return err
	}
	if !proven {
		return errNotProven
	}
	return nil
}

// prove asks until the withdrawal of a generation is proven, another took its
// place, or the time is over; it returns the last answer. A server that does not
// answer meanwhile is asked again.
func (r *remote) prove(cmd *cobra.Command, c *admin.Client, model string, a admin.Answer[admin.Model], generation uint64, wait time.Duration) (admin.Answer[admin.Model], bool, error) {
	ctx, stop := untilSignal()
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	acked := -1
	for {
		m := a.Value
		if m.Proven(generation) {
			return a, true, nil
		}
		if w := m.Withdrawal; w == nil || w.Generation > generation {
			return a, false, nil
		}
		if p := m.Proof; r.output == "text" && p.Generation == m.Generation && p.Acked != acked {
			acked = p.Acked
			fmt.Fprint(cmd.OutOrStdout(), view.Progress(m))
		}
		select {
		case <-ctx.Done():
			return a, false, nil
		case <-time.After(proofEvery):
		}
		next, err := asking(ctx, r, func(ctx context.Context) (admin.Answer[admin.Model], error) { return c.Model(ctx, model) })
		if err == nil {
			a = next
		}
	}
}
