package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/admin/view"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/release"
)

// killTarget is what a command stops or gives back, as it is named on the command
// line.
type killTarget struct {
	route string
	all   bool
}

func (t *killTarget) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.route, "route", "", "a rule of a route in the place of a model: NAMESPACE/ROUTE/RULE")
	cmd.Flags().BoolVar(&t.all, "all", false, "everything: every model on every route")
}

// key is the target's key. What "a/b" is, a model or a version of one, the server
// knows.
func (t *killTarget) key(ctx context.Context, r *remote, c *admin.Client, args []string) (string, error) {
	named := 0
	for _, is := range []bool{t.route != "", t.all, len(args) > 0} {
		if is {
			named++
		}
	}
	if named != 1 {
		return "", errors.New("want one of MODEL[/VERSION], --route and --all")
	}
	switch {
	case t.all:
		return kill.Everything.Key(), nil
	case t.route != "":
		return checkedTarget(kill.ForRoute(t.route))
	}
	arg := args[0]
	for _, scope := range kill.Scopes() { // a key, as other commands print it
		if strings.HasPrefix(arg, string(scope)+"/") && strings.Count(arg, "/") > 1 || arg == string(kill.All) {
			if key, err := kill.ParseKey(arg); err == nil {
				return key.Key(), nil
			}
		}
	}
	switch strings.Count(arg, "/") {
	case 0:
		return checkedTarget(kill.ForModel("default/" + arg))
	case 1:
		return whichTarget(ctx, r, c, arg)
	default:
		return checkedTarget(kill.Target{Scope: kill.Version, Name: arg})
	}
}

func checkedTarget(t kill.Target) (string, error) { return t.Key(), t.Validate() }

// whichTarget says whether "a/b" is the model b of the namespace a, or the version b
// of the model default/a.
func whichTarget(ctx context.Context, r *remote, c *admin.Client, arg string) (string, error) {
	first, second, _ := strings.Cut(arg, "/")
	model, version := kill.ForModel(arg), kill.ForVersion("default/"+first, second)
	if err := errors.Join(model.Validate(), version.Validate()); err != nil {
		return "", err
	}
	is, err := asking(ctx, r, func(ctx context.Context) (admin.Answer[admin.Status], error) { return c.Status(ctx) })
	if err != nil {
		return "", err
	}
	var found []string
	for i := range is.Value.Models {
		m := &is.Value.Models[i]
		if m.Model == arg {
			found = append(found, model.Key())
		}
		if m.Model == "default/"+first && slices.ContainsFunc(m.Versions, func(v admin.Version) bool { return v.Name == second }) {
			found = append(found, version.Key())
		}
	}
	kills, err := asking(ctx, r, func(ctx context.Context) (admin.Answer[admin.KillList], error) { return c.Kills(ctx) })
	if err == nil {
		for _, k := range kills.Value.Kills {
			if (k.Target == model.Key() || k.Target == version.Key()) && !slices.Contains(found, k.Target) {
				found = append(found, k.Target)
			}
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", fmt.Errorf("%q is neither the model %s nor the version %s of the model default/%s", arg, arg, second, first)
	default:
		return "", fmt.Errorf("%q may be %s: say which", arg, strings.Join(found, " or "))
	}
}

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
			if request.Target, err = t.key(cmd.Context(), &r, c, args); err != nil {
				return err
			}
			begun := time.Now()
			a, err := asking(cmd.Context(), &r, func(ctx context.Context) (admin.Answer[admin.Killed], error) { return c.Kill(ctx, request) })
			if err != nil {
				return err
			}
			if wait == 0 || r.output == "text" {
				if err := r.print(cmd, a.Raw, view.Killed(a.Value)); err != nil || wait == 0 {
					return err
				}
			}
			return r.proveKill(cmd, c, request.Target, a.Value.State.Generation, begun, wait)
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

// proveKill asks until a generation of a target is proven, or the time is over. A
// server that does not answer meanwhile is asked again.
func (r *remote) proveKill(cmd *cobra.Command, c *admin.Client, target string, generation uint64, begun time.Time, wait time.Duration) error {
	ctx, stop := untilSignal()
	defer stop()
	ctx, cancel := context.WithDeadline(ctx, begun.Add(wait))
	defer cancel()
	var last admin.Answer[admin.KillProof]
	told := ""
	for {
		next, err := asking(ctx, r, func(ctx context.Context) (admin.Answer[admin.KillProof], error) { return c.KillProof(ctx, target) })
		if err == nil {
			last = next
			if line := view.KillProgress(last.Value); r.output == "text" && line != told {
				fmt.Fprint(cmd.OutOrStdout(), line)
				told = line
			}
		}
		k := last.Value
		if k.Complete && k.State.Generation >= generation {
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
		Use:   "approve MODEL[/VERSION] --generation N --reason TEXT",
		Short: "Approve another person's revive",
		Args:  cobra.MaximumNArgs(1),
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
	over := wait == 0 || a.Value.Killed
	if over || r.output == "text" {
		if err := r.print(cmd, a.Raw, view.Revived(a.Value)); err != nil || over {
			return err
		}
	}
	return r.proveKill(cmd, c, key, a.Value.Generation, begun, wait)
}
