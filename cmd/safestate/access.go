package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/safestate/safestate/internal/access"
)

func newAccess() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "access",
		Short: "Make tokens, and check the file that says who may do what",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAccessToken(), newAccessHash(), newAccessCheck())
	return cmd
}

func newAccessToken() *cobra.Command {
	var lives time.Duration
	cmd := &cobra.Command{
		Use:   "token NAME",
		Short: "Make a token: it is printed once, with the row for the access file",
		Long: `Make a token of 256 random bits. It goes to standard output and is kept nowhere;
the row for the access file, which has its SHA-256 only, goes to standard error:

  umask 077; safestate access token ann > token`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			token := access.NewToken()
			row, err := accessRow(args[0], token, lives)
			if err != nil {
				return err
			}
			fmt.Fprint(cmd.ErrOrStderr(), row)
			fmt.Fprintln(cmd.OutOrStdout(), token)
			return nil
		},
	}
	cmd.Flags().DurationVar(&lives, "expires", 0, "how long it is good for, such as 2160h (default: for ever)")
	return cmd
}

func newAccessHash() *cobra.Command {
	var lives time.Duration
	cmd := &cobra.Command{
		Use:   "hash NAME",
		Short: "Print the access file's row for a token that standard input has",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 64<<10)).ReadString('\n')
			if err != nil && line == "" {
				return fmt.Errorf("no token on standard input")
			}
			row, err := accessRow(args[0], strings.TrimSpace(line), lives)
			if err != nil {
				return err
			}
			fmt.Fprint(cmd.OutOrStdout(), row)
			return nil
		},
	}
	cmd.Flags().DurationVar(&lives, "expires", 0, "how long it is good for, such as 2160h (default: for ever)")
	return cmd
}

// accessRow is a token's row of an access file.
func accessRow(name, token string, lives time.Duration) (string, error) {
	if !access.IsName(name) {
		return "", fmt.Errorf("%q is no name: want at most 64 letters, digits and any of . _ @ + -", name)
	}
	if lives < 0 {
		return "", fmt.Errorf("--expires is %s: want more than 0", lives)
	}
	digest, err := access.Digest(token)
	if err != nil {
		return "", err
	}
	row := fmt.Sprintf("- name: %q\n  sha256: %q\n", name, digest)
	if lives > 0 {
		row += "  expires: " + time.Now().Add(lives).UTC().Format(time.RFC3339) + "\n"
	}
	return row, nil
}

func newAccessCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Read an access file as serve would, and say what is wrong with it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			gate, err := access.Open(args[0], access.Options{})
			if err != nil {
				return err
			}
			for _, warning := range gate.Warnings() {
				fmt.Fprintln(cmd.OutOrStdout(), "warning:", warning)
			}
			fmt.Fprintln(cmd.OutOrStdout(), args[0]+": valid")
			return nil
		},
	}
}
