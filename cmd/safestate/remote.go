package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/serve"
)

// remote is how a command reaches a running safestate, and how it prints what
// that answers.
type remote struct {
	server  string
	token   string // the file that holds it
	tls     clientTLS
	output  string
	timeout time.Duration
}

// serverVariable names the environment variable that stands in for --server.
const serverVariable = "SAFESTATE_SERVER"

func (r *remote) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.server, "server", cmp.Or(os.Getenv(serverVariable), "http://"+serve.DefaultHTTP), "URL of a safestate, its --http; the environment's "+serverVariable+" stands in for it")
	f.StringVar(&r.token, "token-file", os.Getenv(tokenVariable), "file that holds the token to show the server; the environment's "+tokenVariable+" stands in for it")
	r.tls.flags(f)
	f.StringVarP(&r.output, "output", "o", "text", "text: for people, 80 columns; json: what the API answers, byte by byte")
	f.DurationVar(&r.timeout, "timeout", 10*time.Second, "the longest that one question to the server takes")
}

// client checks the flags and makes the client of the API.
func (r *remote) client() (*admin.Client, error) {
	if r.output != "text" && r.output != "json" {
		return nil, fmt.Errorf("--output %q is none: want text or json", r.output)
	}
	if r.timeout <= 0 {
		return nil, fmt.Errorf("--timeout is %s: want more than 0", r.timeout)
	}
	o := admin.ClientOptions{User: whoami()}
	var err error
	if o.TLS, err = r.tls.config(); err != nil {
		return nil, err
	}
	if r.token != "" {
		if _, err := tokenIn(r.token); err != nil { // now, and not after a question
			return nil, err
		}
		o.Token = func() (string, error) { return tokenIn(r.token) }
	}
	c, err := admin.NewClient(r.server, o)
	if err != nil {
		return nil, fmt.Errorf("--server: %w", err)
	}
	return c, nil
}

// whoami is the user that runs the command, as a claim for the history.
func whoami() string {
	if name := os.Getenv("SUDO_USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// print writes an answer: its own bytes, or the text for people.
func (r *remote) print(cmd *cobra.Command, raw []byte, text string) error {
	if r.output == "json" {
		text = string(raw)
	}
	_, err := fmt.Fprint(cmd.OutOrStdout(), text)
	return err
}

// asking is a command's question to the server, bounded by --timeout.
func asking[T any](ctx context.Context, r *remote, ask func(context.Context) (admin.Answer[T], error)) (admin.Answer[T], error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	return ask(ctx)
}

// objectName makes NAME or NAMESPACE/NAME the full name; what may stand there is
// the server's to say.
func objectName(arg string) (string, error) {
	switch strings.Count(arg, "/") {
	case 0:
		arg = "default/" + arg
	case 1:
	default:
		return "", fmt.Errorf("%q is none: want NAME or NAMESPACE/NAME", arg)
	}
	if namespace, name, _ := strings.Cut(arg, "/"); namespace == "" || name == "" {
		return "", fmt.Errorf("%q is none: want NAME or NAMESPACE/NAME", arg)
	}
	return arg, nil
}

// errNotProven ends the process with status 3 where the command has said what
// is missing.
var errNotProven = errors.New("not proven")

// exitCodes is what commands that ask a server say of their exit codes.
const exitCodes = `
Exit codes: 0 done, 1 an error or a mistake on the command line, 3 done but not
proven: the proxies that may still serve the old state are named.`
