package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/serve"
	"github.com/safestate/safestate/istio"
)

func newValidate() *cobra.Command {
	var (
		mesh string
		o    istio.Options
	)
	cmd := &cobra.Command{
		Use:   "validate DIR",
		Short: "Check a configuration folder: every mistake in one go, exit 1 if there is any",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			read := compile.Dir
			switch mesh {
			case "":
			case serve.MeshIstio:
				read = func(dir string) (*compile.Snapshot, config.Problems) { return carriedByIstio(dir, o) }
			default:
				return fmt.Errorf("--mesh %q is none: want %s", mesh, serve.MeshIstio)
			}
			snapshot, problems := read(args[0])
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
	cmd.Flags().StringVar(&mesh, "mesh", "", "istio: check it for a mesh, which serves the routes and reads VirtualServices too (default: for Envoys that safestate configures)")
	meshFlags(cmd.Flags(), &o)
	return cmd
}

// carriedByIstio is a folder for a mesh, with what its routes cannot carry.
func carriedByIstio(dir string, o istio.Options) (*compile.Snapshot, config.Problems) {
	snapshot, problems := istio.Folder(dir, o)
	if problems.Failed() {
		return nil, problems
	}
	objects, err := istio.Render(snapshot, o)
	if err == nil {
		err = objects.Err()
	}
	if err != nil {
		problems = append(problems, config.Problem{Message: err.Error()})
	}
	return snapshot, problems
}
