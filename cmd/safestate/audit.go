package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/admin/view"
	"github.com/safestate/safestate/internal/audit"
)

func newAudit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Read, verify and export the audit trail",
	}
	cmd.AddCommand(newAuditList(), newAuditVerify(), newAuditExport())
	return cmd
}

func newAuditList() *cobra.Command {
	var (
		r     remote
		q     admin.AuditQuery
		since string
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "The newest entries of all replicas",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			if q.Since, err = sinceOf(since, time.Now()); err != nil {
				return err
			}
			a, err := asking(cmd.Context(), &r, func(ctx context.Context) (admin.Answer[admin.AuditList], error) { return c.Audit(ctx, q) })
			if err != nil {
				return err
			}
			return r.print(cmd, a.Raw, view.Audit(a.Value))
		},
	}
	r.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&q.Kind, "kind", "", "kinds, with commas between them: kill, revive, approval, refused, release, decision, policy, configuration, …")
	f.StringVar(&q.Target, "target", "", "what it was done to, as the entries have it, and what is within it: model/default/fraud")
	f.StringVar(&q.Actor, "actor", "", "who did it")
	f.StringVar(&q.Writer, "writer", "", "the chain that it is in")
	f.StringVar(&since, "since", "", "a time (2026-01-31T15:04:05Z), or how long ago (24h)")
	f.IntVar(&q.Limit, "limit", admin.DefaultLimit, "most entries")
	return cmd
}

// sinceOf reads a time, or how long ago it is.
func sinceOf(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("--since %q: want a time as 2026-01-31T15:04:05Z, or how long ago as 24h", text)
	}
	return t, nil
}

func newAuditVerify() *cobra.Command {
	var (
		keys   []string
		pruned bool
		output string
	)
	cmd := &cobra.Command{
		Use:   "verify PATH…",
		Short: "Hold audit trails against their hashes, signatures, anchors and each other",
		Long: "Hold audit trails against their hashes, signatures, heads and each other. PATH is the\nfolder of a trail (audit in the data folder), an export, or the file of an anchor; more of\nthem find more. It needs no server.\n\n" +
			"Exit codes: 0 nothing is wrong, 1 an error, 2 something was changed, dropped or\nreordered: the first such entry is named.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("--output %q is none: want text or json", output)
			}
			trusted := make([]ed25519.PublicKey, 0, len(keys))
			for _, path := range keys {
				key, err := audit.ReadPublicKey(path)
				if err != nil {
					return fmt.Errorf("--key: %w", err)
				}
				trusted = append(trusted, key)
			}
			sources := make([]audit.Source, 0, len(args))
			for _, path := range args {
				sources = append(sources, audit.Path(path))
			}
			report, err := audit.Verify(audit.VerifyOptions{Keys: trusted, Pruned: pruned}, sources...)
			if err != nil {
				return err
			}
			text := report.Text()
			if output == "json" {
				raw, err := json.MarshalIndent(report, "", "  ")
				if err != nil {
					return err
				}
				text = string(raw) + "\n"
			}
			fmt.Fprint(cmd.OutOrStdout(), text)
			if !report.OK() {
				return errNotWell
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&keys, "key", nil, "PEM file of a replica's public key, known from elsewhere; repeatable: then no other is trusted")
	f.BoolVar(&pruned, "pruned", false, "take chains that begin later than with entry 1, as the store's copies do")
	f.StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

func newAuditExport() *cobra.Command {
	var (
		r    remote
		dir  string
		wait time.Duration
	)
	cmd := &cobra.Command{
		Use:   "export > FILE",
		Short: "The whole audit trail, for somebody else to verify",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir != "" {
				return audit.ExportFolder(dir, cmd.OutOrStdout(), false)
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			if isTerminal(os.Stdout) {
				return fmt.Errorf("an export is for a file: want > FILE")
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), wait)
			defer cancel()
			return c.AuditExport(ctx, cmd.OutOrStdout())
		},
	}
	r.flags(cmd)
	cmd.Flags().StringVar(&dir, "folder", "", "a trail's folder, without a server")
	cmd.Flags().DurationVar(&wait, "wait", 10*time.Minute, "the longest that it may take")
	return cmd
}
