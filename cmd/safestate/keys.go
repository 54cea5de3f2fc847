package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/admin/view"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/signing"
)

func newKeys() *cobra.Command {
	keys := &cobra.Command{
		Use:   "keys",
		Short: "The keys that sign policies: those of a running safestate, and files of your own",
		Args:  cobra.NoArgs, // or a mistyped word would print the help and succeed
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	keys.AddCommand(newKeysList(), newKeysRotate(), newKeysGenerate(), newKeysPublic())
	return keys
}

func newKeysList() *cobra.Command {
	var (
		r    remote
		pems bool
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Print which key signs, which are accepted, and what a rotation waits for",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			a, err := asking(cmd.Context(), &r, c.Keys)
			if err != nil {
				return err
			}
			if pems {
				for _, k := range a.Value.Keys {
					fmt.Fprint(cmd.OutOrStdout(), k.PEM)
				}
				return nil
			}
			return r.print(cmd, a.Raw, view.Keys(a.Value, time.Now()))
		},
	}
	r.flags(cmd)
	cmd.Flags().BoolVar(&pems, "pem", false, "print the public keys in PEM, as --policy-keys reads them")
	return cmd
}

func newKeysRotate() *cobra.Command {
	var (
		r              remote
		request        admin.KeyRotationRequest
		after, overlap time.Duration
	)
	cmd := &cobra.Command{
		Use:   "rotate --reason TEXT",
		Short: "Have another key sign policies, once every host has it",
		Long: `Have another key sign policies, once every host has it.

The new key is handed to the hosts first and signs when all of them have it; the old
one is dropped when every proxy has policies that are signed by the new one. No
request is refused in between. Hosts that have their keys from files are not known
here: give them what safestate keys list --pem prints within --after.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for name, to := range map[string]struct {
				from time.Duration
				into **release.Duration
			}{"after": {after, &request.After}, "overlap": {overlap, &request.Overlap}} {
				if cmd.Flags().Changed(name) {
					d := release.Duration(to.from)
					*to.into = &d
				}
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			a, err := asking(cmd.Context(), &r, func(ctx context.Context) (admin.Answer[admin.Keys], error) { return c.RotateKeys(ctx, request) })
			if err != nil {
				return err
			}
			return r.print(cmd, a.Raw, view.Keys(a.Value, time.Now()))
		},
	}
	r.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&request.Reason, "reason", "", "why, for the log (required)")
	f.DurationVar(&after, "after", signing.DefaultSettle, "how long the new key waits at least before it signs")
	f.DurationVar(&overlap, "overlap", signing.DefaultOverlap, "how long the old key is accepted at least after that")
	f.BoolVar(&request.Force, "force", false, "take the next step of a rotation that is under way at once: a host that lacks the key, or a proxy that has old policies, is then refused")
	_ = cmd.MarkFlagRequired("reason")
	return cmd
}

func newKeysGenerate() *cobra.Command {
	return &cobra.Command{
		Use:   "generate FILE",
		Short: "Write a new private key to a file that is not there yet, and print its public half",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := signing.Generate(rand.Reader)
			if err != nil {
				return err
			}
			if err := writeNew(args[0], key.PEM()); err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(key.Public().PEM())
			return err
		},
	}
}

func newKeysPublic() *cobra.Command {
	return &cobra.Command{
		Use:   "public FILE",
		Short: "Print the public half of a private key's file, as --policy-keys reads it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := readPrivate(args[0])
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(key.Public().PEM())
			return err
		},
	}
}

func readPrivate(path string) (signing.Private, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return signing.Private{}, err
	}
	key, err := signing.ParsePrivate(text)
	if err != nil {
		return key, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// writeNew writes a file that only this user may read, and never over another one:
// a key that is lost cannot be made again.
func writeNew(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		_ = os.Remove(path) // half a key is none
	}
	return err
}
