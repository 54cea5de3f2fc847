package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/admin/view"
	"github.com/safestate/safestate/internal/release"
)

func newRollout() *cobra.Command {
	rollout := &cobra.Command{
		Use:   "rollout",
		Short: "Give a model's new version traffic, by steps",
		Args:  cobra.NoArgs, // or a mistyped word would print the help and succeed
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	rollout.AddCommand(
		newRolloutStart(),
		newRolloutVerb(release.Pause, "Let the weights stand as they are; a bad version is rolled back all the same"),
		newRolloutVerb(release.Resume, "Go on from a pause"),
		newRolloutVerb(release.Promote, "Pass the gate that a rollout waits at, or skip the rest of its step"),
		newRolloutVerb(release.Abort, "Give the stable version all the traffic at once, and wait until that is proven"),
		newRolloutStatus(),
	)
	return rollout
}

func newRolloutStart() *cobra.Command {
	var (
		r       remote
		request = admin.RolloutRequest{Action: string(release.Start)}
		steps   []string
		hold    time.Duration
	)
	cmd := &cobra.Command{
		Use:   "start MODEL VERSION --reason TEXT",
		Short: "Begin to give a version traffic",
		Example: `  safestate rollout start fraud v2 --reason "new features"
  safestate rollout start fraud v2 --reason "the feed is back" --again
  safestate rollout start fraud v2 --reason "by hand" --step 5,1m,100 --step 50,10m,1000,gate --step 100`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			request.Version = args[1]
			request.Hold = holdOf(cmd, hold)
			for _, text := range steps {
				step, err := parseStep(text)
				if err != nil {
					return fmt.Errorf("--step %q: %w", text, err)
				}
				request.Steps = append(request.Steps, step)
			}
			if n := len(request.Steps); n > 0 && request.Steps[n-1].Weight != 100 {
				return fmt.Errorf("the last --step is at %d %%, and what passes it is promoted: end with --step 100, or 100,gate where a person is to say so", request.Steps[n-1].Weight)
			}
			return r.rollout(cmd, args[0], request)
		},
	}
	r.flags(cmd)
	reasonFlag(cmd, &request.Reason, true)
	cmd.Flags().StringArrayVar(&steps, "step", nil, "a step in place of the plan's: PERCENT[,TIME][,REQUESTS][,gate], such as 10,2m,500; once for each")
	cmd.Flags().BoolVar(&request.Again, "again", false, "start a version that was rolled back, or end a degraded state; it is watched as any other")
	cmd.Flags().BoolVar(&request.Force, "force", false, "start what is refused for safety, and keep automation from undoing it for --hold")
	holdFlag(cmd, &hold)
	cmd.Flags().Uint64Var(&request.ExpectGeneration, "expect-generation", 0, "refuse if the model's generation is another by now (0: any)")
	return cmd
}

// parseStep reads PERCENT[,TIME][,REQUESTS][,gate].
func parseStep(text string) (release.Step, error) {
	var s release.Step
	weight, rest, more := strings.Cut(text, ",")
	n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(weight), "%"))
	if err != nil || n < 0 || n > 100 {
		return s, fmt.Errorf("%q is no percentage from 0 to 100", weight)
	}
	s.Weight = n
	if !more {
		return s, nil
	}
	seen := map[string]bool{}
	for part := range strings.SplitSeq(rest, ",") {
		part = strings.TrimSpace(part)
		var kind string
		if part == "gate" {
			kind, s.Gate = "gate", true
		} else if n, err := strconv.ParseUint(part, 10, 64); err == nil {
			kind, s.MinRequests = "number of requests", n
		} else if d, err := time.ParseDuration(part); err == nil && d >= 0 {
			kind, s.Duration = "time", release.Duration(d)
		} else {
			return s, fmt.Errorf("%q is no time such as 2m, no number of requests and not gate", part)
		}
		if seen[kind] {
			return s, fmt.Errorf("%q is a second %s", part, kind)
		}
		seen[kind] = true
	}
	return s, nil
}

func newRolloutVerb(verb release.Verb, short string) *cobra.Command {
	var (
		r       remote
		request = admin.RolloutRequest{Action: string(verb)}
		wait    time.Duration
		hold    time.Duration
	)
	abort := verb == release.Abort
	cmd := &cobra.Command{
		Use:   string(verb) + " MODEL",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			request.Hold = holdOf(cmd, hold)
			if abort {
				return r.withdraw(cmd, args[0], wait, func(ctx context.Context, c *admin.Client, model string) (admin.Answer[admin.Model], error) {
					return c.Rollout(ctx, model, request)
				})
			}
			return r.rollout(cmd, args[0], request)
		},
	}
	r.flags(cmd)
	reasonFlag(cmd, &request.Reason, abort)
	if verb == release.Promote {
		cmd.Flags().BoolVar(&request.Full, "full", false, "skip all steps that are left")
		cmd.Flags().BoolVar(&request.Force, "force", false, "promote what is refused for safety, and keep automation from undoing it for --hold")
		holdFlag(cmd, &hold)
	}
	if abort {
		waitFlag(cmd, &wait)
	}
	cmd.Flags().Uint64Var(&request.ExpectGeneration, "expect-generation", 0, "refuse if the model's generation is another by now (0: any)")
	return cmd
}

func holdFlag(cmd *cobra.Command, into *time.Duration) {
	cmd.Flags().DurationVar(into, "hold", time.Duration(release.DefaultHold), "with --force: how long automation does not undo it; 0: not at all")
}

// holdOf is what --hold says; nil where it was not given.
func holdOf(cmd *cobra.Command, hold time.Duration) *release.Duration {
	if !cmd.Flags().Changed("hold") {
		return nil
	}
	d := release.Duration(hold)
	return &d
}

func reasonFlag(cmd *cobra.Command, into *string, required bool) {
	usage := "why, for the history"
	if required {
		usage += " (required)"
	}
	cmd.Flags().StringVar(into, "reason", "", usage)
	if required {
		_ = cmd.MarkFlagRequired("reason")
	}
}

// rollout sends a request and says where the model is then.
func (r *remote) rollout(cmd *cobra.Command, arg string, request admin.RolloutRequest) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	model, err := objectName(arg)
	if err != nil {
		return err
	}
	a, err := asking(cmd.Context(), r, func(ctx context.Context) (admin.Answer[admin.Model], error) { return c.Rollout(ctx, model, request) })
	if err != nil {
		return err
	}
	return r.print(cmd, a.Raw, view.Changed(a.Value))
}

func newRolloutStatus() *cobra.Command {
	var (
		r     remote
		watch bool
	)
	cmd := &cobra.Command{
		Use:   "status MODEL",
		Short: "Say where a model is, and what it waits for",
		Long: "Say where a model is, and what it waits for.\n\nWith --watch it goes on until the rollout has ended: exit code 0 where the\n" +
			"version was promoted, 1 where it was rolled back or aborted.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			model, err := objectName(args[0])
			if err != nil {
				return err
			}
			ask := func(ctx context.Context) (admin.Answer[admin.Model], error) { return c.Model(ctx, model) }
			if watch {
				return r.watch(cmd, rolloutFrames(ask))
			}
			a, err := asking(cmd.Context(), &r, ask)
			if err != nil {
				return err
			}
			return r.print(cmd, a.Raw, view.Model(a.Value))
		},
	}
	r.flags(cmd)
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on until the rollout ends: redraw a terminal, elsewhere a line for each change")
	return cmd
}

// rolloutFrames watches a rollout to its end.
func rolloutFrames(ask func(context.Context) (admin.Answer[admin.Model], error)) func(context.Context) (frame, error) {
	rolling := "" // the version whose rollout was seen
	return func(ctx context.Context) (frame, error) {
		a, err := ask(ctx)
		if err != nil {
			return frame{}, err
		}
		m := a.Value
		f := frame{raw: a.Raw, page: view.Model(m), line: view.ModelLine(m)}
		switch {
		case m.Rollout != nil:
			rolling = m.Rollout.Version
		case rolling != "":
			f.done = true
			if m.Candidate != rolling && m.Stable != rolling {
				f.err = fmt.Errorf("the rollout of %s has ended without it: %s", rolling, view.Phase(m))
			}
		default: // it ended before the first look, or there was none
			f.done = true
			if m.Phase != release.PhasePromoted {
				f.err = fmt.Errorf("no rollout of %s runs: %s", m.Model, view.Phase(m))
			}
		}
		return f, nil
	}
}
