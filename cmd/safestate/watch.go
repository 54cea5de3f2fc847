package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// watchEvery is how often --watch asks.
const watchEvery = time.Second

// frame is one state of what is watched.
type frame struct {
	raw  []byte // the API's bytes
	page string // for a terminal
	line string // for a log; a new one is a change
	done bool   // there is no more to watch
	err  error  // of the command, where it is done
}

// watch shows what ask returns until it is done or a signal comes: a terminal is
// redrawn, anything else gets a line, or the answer, for each change. A server
// that cannot be reached is asked again, unless that is so from the start.
func (r *remote) watch(cmd *cobra.Command, ask func(context.Context) (frame, error)) error {
	ctx, stop := untilSignal()
	defer stop()
	out := cmd.OutOrStdout()
	redraw := r.output == "text" && isTerminal(out)
	last, begun := "", false
	for {
		f, err := r.ask(ctx, ask)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !begun:
			return err
		case err != nil:
			f = frame{line: "no answer: " + err.Error(), page: "No answer: " + err.Error() + "\n"}
		}
		begun = true
		switch {
		case redraw:
			fmt.Fprint(out, "\x1b[H\x1b[2J", f.page) // from the top of an empty screen
		case f.line == last:
		case r.output == "json":
			_, _ = out.Write(f.raw)
		default:
			fmt.Fprintf(out, "%s %s\n", time.Now().UTC().Format(time.RFC3339), f.line)
		}
		last = f.line
		if f.done {
			return f.err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchEvery):
		}
	}
}

func (r *remote) ask(ctx context.Context, ask func(context.Context) (frame, error)) (frame, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	return ask(ctx)
}

// isTerminal reports whether the output is a terminal that can be redrawn.
func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
