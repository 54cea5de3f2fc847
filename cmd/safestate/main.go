// Command safestate keeps bad model answers from their callers: it is Envoy's
// external processor and control plane, and the tool that checks and renders
// their configuration.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "dev"

// errReported ends the process with status 1 where the command has said why.
var errReported = errors.New("reported")

func main() {
	root := &cobra.Command{
		Use:           "safestate",
		Short:         "A fail-safe layer for model inference behind Envoy",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	if plugin(os.Args[0]) { // what help and mistakes call it
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl safestate"}
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())
	})
	root.AddCommand(newServe(), newValidate(), newRender(),
		newStatus(), newRollout(), newRollback(), newKill(), newRevive(), newApprove(), newAudit(), newHistory(), newProxy(), newKeys(), newAccess(), newStore())
	if err := root.Execute(); err != nil {
		os.Exit(exit(err))
	}
}

// plugin reports whether kubectl runs it: by that name it is found on the PATH.
func plugin(name string) bool {
	return strings.TrimSuffix(filepath.Base(name), ".exe") == "kubectl-safestate"
}

// exit says what went wrong, where the command has not, and returns the
// process's status.
func exit(err error) int {
	switch {
	case errors.Is(err, errNotProven):
		return 3
	case errors.Is(err, errNotWell):
		return 2
	case !errors.Is(err, errReported):
		fmt.Fprintln(os.Stderr, "safestate:", err)
	}
	return 1
}
