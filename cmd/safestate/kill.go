package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/admin/view"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/release"
)

func newKill() *cobra.Command {
	var (
		r       remote
		t       killTarget
		request admin.KillRequest
		wait    time.Duration
	)
	cmd := &cobra.Command{
		Use:   "kill MODEL[/VERSION] --reason TEXT",
		Short: "Stop a model, a version, a route or everything, and wait until that is proven",
		Long: "Stop a model, a version of it, a route (--route) or everything (--all): one person, no\napproval, with the store away and during a rollout.\n\n" +
			"It waits until every expected proxy is proven: it has taken routes and clusters\nwithout the target, and its workers show them. The proof is a probe through the\nproxy's own listener, not its word." + "\n" + exitCodes,
		Example: `  safestate kill fraud --reason "scores everything 0"
  safestate kill fraud/v2 --mode blackhole --reason "leaks names"
  safestate kill --all --reason "feed is poisoned" --wait 30s`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			if wait < 0 {
				return fmt.Errorf("--wait is %s: want 0 or more", wait)
			}
			keys, err := t.keys(cmd.Context(), &r, c, args)
			if err != nil {
				return err
			}
			begun := time.Now()
			a, err := r.kill(cmd, c, &request, keys, args)
			if err != nil {
				return err
			}
			if over, err := r.done(cmd, wait == 0, a.Raw, view.Killed(a.Value)); over || err != nil {
				return err
			}
			return r.proveKill(cmd, c, a.Value.State, begun, wait)
		},
	}
	r.flags(cmd)
	t.flags(cmd)
	reasonFlag(cmd, &request.Reason, true)
	cmd.Flags().StringVar(&request.Mode, "mode", string(kill.Degrade), "degrade: the ladder answers; default: Envoy alone, with the safe default; blackhole: a plain 503")
	cmd.Flags().DurationVar(&wait, "wait", 10*time.Second, "the longest to wait for the proof; 0: not at all")
	return cmd
}

// killProofEvery is how often the proof of a kill is asked for: a person waits.
const killProofEvery = 50 * time.Millisecond

// proveKill asks until what was done is proven, or the time is over. A server that
// does not answer meanwhile is asked again. What somebody else has undone by then is
// an error.
func (r *remote) proveKill(cmd *cobra.Command, c *admin.Client, did admin.KillState, begun time.Time, wait time.Duration) error {
	ctx, stop := untilSignal()
	defer stop()
	ctx, cancel := context.WithDeadline(ctx, begun.Add(wait))
	defer cancel()
	var last admin.Answer[admin.KillProof]
	told := ""
	for {
		next, err := asking(ctx, r, func(ctx context.Context) (admin.Answer[admin.KillProof], error) { return c.KillProof(ctx, did.Target) })
		if err == nil {
			last = next
			if line := view.KillProgress(last.Value); r.output == "text" && line != told {
				fmt.Fprint(cmd.OutOrStdout(), line)
				told = line
			}
		}
		k := last.Value
		if k.State.Generation > did.Generation && k.State.Killed != did.Killed {
			return overtaken(k.State)
		}
		if k.Complete && k.State.Generation >= did.Generation {
			return r.print(cmd, last.Raw, view.KillProof(k, time.Since(begun)))
		}
		select {
		case <-ctx.Done():
			if last.Raw == nil {
				return fmt.Errorf("no proof was told within %s: %w", wait, errNotProven)
			}
			if err := r.print(cmd, last.Raw, view.KillProof(k, time.Since(begun))); err != nil {
				return err
			}
			return errNotProven
		case <-time.After(killProofEvery):
		}
	}
}

// overtaken is what a command ends with whose kill or revive does not hold any more.
func overtaken(by admin.KillState) error {
	what := "revived"
	if by.Killed {
		what = "killed"
	}
	return fmt.Errorf("%s was %s meanwhile, generation %d, by %s: %s", by.Target, what, by.Generation, by.By, by.Reason)
}

func newRevive() *cobra.Command {
	var (
		r       remote
		t       killTarget
		request admin.ReviveRequest
		ramp    time.Duration
		wait    time.Duration
	)
	cmd := &cobra.Command{
		Use:   "revive MODEL[/VERSION] --generation N --reason TEXT",
		Short: "Give what was killed its traffic back",
		Long: "Give what was killed its traffic back, at once or by a ramp.\n\nIt names the generation that the person saw (`safestate status` shows it): what was\n" +
			"killed anew since stays killed. Where the access file asks for a second person, it\nwaits for `safestate approve`." + "\n" + exitCodes,
		Example: `  safestate revive fraud --generation 1 --reason "v2 is mended" --ramp 10m`,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			request.Ramp = release.Duration(ramp)
			return r.undo(cmd, &t, args, wait, func(ctx context.Context, c *admin.Client, key string) (admin.Answer[admin.KillState], error) {
				request.Target = key
				return c.Revive(ctx, request)
			})
		},
	}
	r.flags(cmd)
	t.flags(cmd)
	reasonFlag(cmd, &request.Reason, true)
	generationFlag(cmd, &request.Generation)
	cmd.Flags().DurationVar(&ramp, "ramp", 0, "how long it takes until all traffic is back; 0: at once")
	cmd.Flags().DurationVar(&wait, "wait", 10*time.Second, "the longest to wait until all proxies show it; 0: not at all")
	return cmd
}

func newApprove() *cobra.Command {
	var (
		r       remote
		t       killTarget
		request admin.ApproveRequest
		wait    time.Duration
	)
	cmd := &cobra.Command{
		Use:   "approve MODEL[/VERSION] --generation N --ask N --reason TEXT",
		Short: "Approve another person's revive",
		Long: "Approve another person's revive, within an hour.\n\nIt names what the person saw (`safestate status` shows both numbers): the generation, and\n" +
			"the number of what was asked for. What was asked for anew since is not approved." + "\n" + exitCodes,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.undo(cmd, &t, args, wait, func(ctx context.Context, c *admin.Client, key string) (admin.Answer[admin.KillState], error) {
				request.Target = key
				return c.Approve(ctx, request)
			})
		},
	}
	r.flags(cmd)
	t.flags(cmd)
	reasonFlag(cmd, &request.Reason, true)
	generationFlag(cmd, &request.Generation)
	cmd.Flags().Uint64Var(&request.Ask, "ask", 0, "the number of what is asked for as you saw it: another is not approved (required)")
	if err := cmd.MarkFlagRequired("ask"); err != nil {
		panic(err) // there is no such flag
	}
	cmd.Flags().DurationVar(&wait, "wait", 10*time.Second, "the longest to wait until all proxies show it; 0: not at all")
	return cmd
}

func generationFlag(cmd *cobra.Command, into *uint64) {
	cmd.Flags().Uint64Var(into, "generation", 0, "the target's generation as you saw it: of another it is refused (required)")
	if err := cmd.MarkFlagRequired("generation"); err != nil {
		panic(err) // there is no such flag
	}
}

// undo asks for a revive or approves one, and waits until proxies show it.
func (r *remote) undo(cmd *cobra.Command, t *killTarget, args []string, wait time.Duration, do func(context.Context, *admin.Client, string) (admin.Answer[admin.KillState], error)) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	if wait < 0 {
		return fmt.Errorf("--wait is %s: want 0 or more", wait)
	}
	key, err := t.key(cmd.Context(), r, c, args)
	if err != nil {
		return err
	}
	begun := time.Now()
	a, err := asking(cmd.Context(), r, func(ctx context.Context) (admin.Answer[admin.KillState], error) { return do(ctx, c, key) })
	if err != nil {
		return err
	}
	if over, err := r.done(cmd, wait == 0 || a.Value.Killed, a.Raw, view.Revived(a.Value)); over || err != nil {
		return err
	}
	return r.proveKill(cmd, c, a.Value, begun, wait)
}

// done prints what a kill or a revive did, where it is over or a person reads. Else it
// is on standard error, where it is durable and what is missing: the proof is what
// follows on the other.
func (r *remote) done(cmd *cobra.Command, over bool, raw []byte, text string) (bool, error) {
	if over || r.output == "text" {
		return over, r.print(cmd, raw, text)
	}
	_, err := fmt.Fprint(cmd.ErrOrStderr(), text)
	return false, err
}
