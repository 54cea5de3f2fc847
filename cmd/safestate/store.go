package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/safestate/safestate/internal/admin"
	controlplane "github.com/safestate/safestate/internal/control"
	"github.com/safestate/safestate/internal/store/etcd"
)

func newStore() *cobra.Command {
	store := &cobra.Command{
		Use:   "store",
		Short: "Save and bring back what safestate keeps: releases, their history, policies",
		Args:  cobra.NoArgs, // or a mistyped word would print the help and succeed
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	store.AddCommand(newStoreBackup(), newStoreRestore())
	return store
}

func newStoreBackup() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Save all that a running safestate keeps to a file, in place of what is there",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			ctx, stop := untilSignal()
			defer stop()
			if cmd.Flags().Changed("timeout") {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, r.timeout)
				defer cancel()
			}
			n, err := backupTo(ctx, c, args[0])
			if err != nil {
				return err
			}
			return r.print(cmd, fmt.Appendf(nil, "{\n  \"bytes\": %d\n}\n", n), fmt.Sprintf("%s: %d bytes\n", args[0], n))
		},
	}
	r.flags(cmd)
	cmd.Flags().Lookup("timeout").Usage = "the longest that the backup takes (default: as long as it needs)"
	cmd.Flags().Lookup("timeout").DefValue = "0s"
	return cmd
}

func newStoreRestore() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "restore FILE --data-dir DIR",
		Short: "Put a backup into a data folder that holds no store, before safestate is started there",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := etcd.Restore(dir, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is restored into %s: start safestate with --data-dir %s\n", args[0], dir, dir)
			if newer := copies(dir); len(newer) > 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "what was decided after the backup holds, by %s there: move them away where the backup is to hold\n", strings.Join(newer, " and "))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "data-dir", "", "the data folder (required)")
	_ = cmd.MarkFlagRequired("data-dir")
	return cmd
}

// copies are the files in a data folder that remember what is newer than a backup.
func copies(dir string) []string {
	var out []string
	for _, name := range controlplane.Copies() {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			out = append(out, name)
		}
	}
	return out
}

// backupTo puts a backup in the place of a file, whole or not at all. Nobody
// else may read it: it holds what the store holds.
func backupTo(ctx context.Context, c *admin.Client, path string) (int64, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.Remove(f.Name()) }() // it is gone where all went well
	n, err := c.Backup(ctx, f)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return n, err
}
