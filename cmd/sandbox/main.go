// Sandbox is what `make run` runs: sample models, safestate and Envoy on this
// machine. It prints what to try, stays up, and stops everything on Ctrl-C or
// as soon as one part ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
)

// controls is how many ports in a row the sample models' control takes; MLServer
// takes four of them.
const controls = 5

// options are the flags.
type options struct {
	models   string // sample or mlserver
	envoy    string // the binary
	bin      string // folder of safestate and samplemodel
	config   string // folder of the policies; empty: a copy of the samples
	samples  string // folder of the samples
	mlserver string // Python environment with MLServer
	trained  string // folder of the scikit-learn models
	logs     string // folder of the parts' logs
	demo     bool   // show a release that goes wrong, and stop
	timeline string // file for the demo's figures; empty: none

	traffic, admin, http, grpc, answers int
	v1, v2, small, chat, chatSmall      int
	control                             int // the first of controls
}

func main() {
	// Children die with the thread that started them (Pdeathsig), so it has to
	// be the one that lives as long as the process.
	runtime.LockOSThread()
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*options, error) {
	var o options
	fs := flag.NewFlagSet("sandbox", flag.ContinueOnError)
	fs.StringVar(&o.models, "models", "sample", "sample: the Go models; mlserver: scikit-learn models on MLServer")
	fs.StringVar(&o.envoy, "envoy", os.Getenv("ENVOY"), "the Envoy binary")
	fs.StringVar(&o.bin, "bin", "", "folder of safestate and samplemodel (default: where sandbox is)")
	fs.StringVar(&o.config, "config", "", "folder of the configuration (default: a copy of fraud and chat, or of mlserver, of -config-root)")
	fs.StringVar(&o.samples, "config-root", filepath.Join("docs", "samples"), "folder of the samples")
	fs.StringVar(&o.mlserver, "mlserver", ".cache/mlserver", "Python environment that has MLServer")
	fs.StringVar(&o.trained, "trained", ".cache/mlserver-models", "folder of the scikit-learn models")
	fs.StringVar(&o.logs, "logs", ".cache/run", "folder of the parts' logs")
	fs.BoolVar(&o.demo, "demo", false, "release fraud v2, break it, print what became of it, and stop")
	fs.StringVar(&o.timeline, "timeline", "", "file that -demo writes its figures to, as JSON")
	fs.IntVar(&o.traffic, "traffic-port", 10000, "Envoy takes traffic here")
	fs.IntVar(&o.admin, "admin-port", 9901, "Envoy's admin interface")
	fs.IntVar(&o.http, "http-port", 8686, "safestate's /healthz, /readyz, /metrics and API")
	fs.IntVar(&o.grpc, "grpc-port", 18000, "safestate's external processor and ADS")
	fs.IntVar(&o.answers, "answers-port", 18001, "safestate's ladder as Envoy's upstream")
	fs.IntVar(&o.v1, "v1-port", 9101, "the model, version v1")
	fs.IntVar(&o.v2, "v2-port", 9102, "the model, version v2")
	fs.IntVar(&o.small, "small-port", 9103, "the small fallback model")
	fs.IntVar(&o.chat, "chat-port", 9115, "the chat model")
	fs.IntVar(&o.chatSmall, "chat-small-port", 9116, "the small chat model, the fallback")
	fs.IntVar(&o.control, "control-port", 9201, "the first of five control ports of the sample models, or of MLServer's further ports")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if o.bin == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		o.bin = filepath.Dir(self)
	}
	switch {
	case o.models != "sample" && o.models != "mlserver":
		return nil, fmt.Errorf("-models is %q, want sample or mlserver", o.models)
	case o.demo && (o.models != "sample" || o.config != ""):
		return nil, errors.New("-demo is about the sample models and their own configuration")
	case o.envoy == "":
		return nil, errors.New("no Envoy: run `make setup`, or name a binary by ENVOY")
	}
	return &o, nil
}

// run starts everything, waits, and stops everything.
func run(args []string) error {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()

	s := newStage(o)
	if err := s.checkPorts(); err != nil {
		return err
	}
	err = s.play(ctx)
	s.stop()
	return err
}
