// Samplemodel is a small model server for trying safestate out: fraud scoring
// over the Open Inference Protocol and the other protocols that safestate
// reads. It fails on command.
//
//	samplemodel -addr 127.0.0.1:9101 -version v1 -control 127.0.0.1:9201
//	curl -X POST 127.0.0.1:9201/fault -d '{"fault": "nan-bare", "for": "10s"}'
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/safestate/safestate/e2e/faultmodel"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "samplemodel:", err)
		os.Exit(1)
	}
}

// run serves until SIGINT or SIGTERM.
func run(args []string) error {
	fs := flag.NewFlagSet("samplemodel", flag.ContinueOnError)
	addr := fs.String("addr", "127.0.0.1:9101", "host:port of the model")
	control := fs.String("control", "", "host:port of the control endpoint: POST /fault, GET /state, GET /faults; empty: none")
	version := fs.String("version", "v1", "v1, v2 or small")
	latency := fs.Duration("latency", 0, "added to every answer")
	tokens := fs.Int("tokens", faultmodel.StreamTokens, "of a completion")
	pace := fs.Duration("pace", 0, "between two tokens of a stream; 0: 2ms, negative: none")
	header := fs.Bool("fault-header", false, "let a request choose its fault by x-sample-fault")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	model, err := faultmodel.Start(faultmodel.Options{
		Addr: *addr, Version: *version, Latency: *latency, Tokens: *tokens, Pace: *pace, FaultHeader: *header,
	})
	if err != nil {
		return err
	}
	defer model.Close()
	if *control != "" {
		l, err := net.Listen("tcp", *control)
		if err != nil {
			return err
		}
		srv := &http.Server{Handler: model.Control(), ReadHeaderTimeout: 5 * time.Second}
		defer func() { _ = srv.Close() }()
		go func() { _ = srv.Serve(l) }() // ends with the process
	}
	fmt.Printf("samplemodel %s listens on %s\n", *version, model.Addr())
	<-ctx.Done()
	return nil
}
