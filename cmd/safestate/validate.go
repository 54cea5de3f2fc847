package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/safestate/safestate/internal/compile"
)

func newValidate() *cobra.Command {
	return &cobra.Command{
		Use:   "validate DIR",
		Short: "Check a configuration folder: every mistake in one go, exit 1 if there is any",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			snapshot, problems := compile.Dir(args[0])
			for _, p := range problems {
				fmt.Fprintln(cmd.OutOrStdout(), p)
			}
			if problems.Failed() {
				return errReported
			}
			policies := 0
			for i := range snapshot.Routes {
				if snapshot.Routes[i].Policy != nil {
					policies++
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %d routes, %d with a policy, %d model versions: valid\n",
				args[0], len(snapshot.Routes), policies, len(snapshot.Clusters))
			return nil
		},
	}
}
