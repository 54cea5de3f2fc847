// Command xds measures how long a change takes to reach every proxy, of weights or
// a kill, against go-control-plane's own caches, interleaved in one run. The
// simulated proxies are in a process of their own, one connection and one stream
// each; each server is a process of its own, whose CPU time counts alone; two real
// Envoys follow ours. It prints what it found and adds its ratios to
// bench/out/ratios.json.
//
// A flip of weights is measured from the publishing on, and changes routes. A kill
// changes routes and clusters, and is measured from the moment at which it is in
// memory: its rendering is a part of it, for every server the same.
//
// Run it by `make bench-xds` and `make bench-kill`, from the root of the repository.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"
)

// settings are the flags.
type settings struct {
	envoy   string // the Envoy binary
	samples string // the folder of the samples' folders
	change  string // flip or kill
	clients int    // simulated proxies of each server
	many    int    // of a second, shorter run; 0: none
	secure  int    // of another one, over TLS; 0: none
	models  int    // with a route and a policy each
	wide    int    // models of a third run; 0: none
	envoys  int    // real ones, at ours
	rounds  int    // blocks of changes of each server, interleaved
	flips   int    // measured changes in a block
	only    string // comma-separated subjects; empty: all
	out     string
	profile string // host:port for pprof of the first server
}

func main() {
	log.SetFlags(0)
	roles := map[string]func([]string) error{"server": runServer, "clients": runClients}
	if len(os.Args) > 1 {
		if role := roles[os.Args[1]]; role != nil {
			if err := role(os.Args[2:]); err != nil {
				log.Fatal(os.Args[1], ": ", err)
			}
			return
		}
	}
	var s settings
	flag.StringVar(&s.envoy, "envoy", os.Getenv("ENVOY"), "the Envoy binary (default: $ENVOY)")
	flag.StringVar(&s.samples, "samples", "docs/samples", "the folder of the samples")
	flag.StringVar(&s.change, "change", "flip", "what is measured: flip, of a model's weights, or kill")
	flag.IntVar(&s.clients, "clients", 1000, "simulated proxies of each server")
	flag.IntVar(&s.many, "many", 5000, "simulated proxies of a second run, printed only; 0: none")
	flag.IntVar(&s.secure, "secure", 0, "simulated proxies of a run over TLS, printed only; 0: none")
	flag.IntVar(&s.models, "models", 20, "models, each with a route and a policy")
	flag.IntVar(&s.wide, "wide", 100, "models of a third run, printed only; 0: none")
	flag.IntVar(&s.envoys, "envoys", 2, "real Envoys at safestate's server")
	flag.IntVar(&s.rounds, "rounds", 6, "blocks of changes of each server, interleaved, after one that is not counted")
	flag.IntVar(&s.flips, "flips", 10, "measured changes in a block")
	flag.StringVar(&s.only, "only", "", "the servers to measure, comma-separated (default: all)")
	flag.StringVar(&s.out, "out", "bench/out", "where ratios.json is")
	flag.StringVar(&s.profile, "profile", "", "host:port where the first server answers pprof")
	flag.Parse()
	if err := measureAll(&s); err != nil {
		log.Fatal("bench/xds: ", err)
	}
}

func measureAll(s *settings) error {
	chosen := subjects()
	if s.only != "" {
		names := strings.Split(s.only, ",")
		chosen = slices.DeleteFunc(chosen, func(c subject) bool { return !slices.Contains(names, c.name) })
	}
	if len(chosen) == 0 {
		return fmt.Errorf("no server is called %q", s.only)
	}
	c, err := changeNamed(s.change)
	if err != nil {
		return err
	}
	all, err := measure(s, chosen, run{change: c, clients: s.clients, models: s.models, rounds: s.rounds, flips: s.flips})
	if err != nil {
		return err
	}
	for _, large := range []struct {
		subjects []string
		run
	}{
		{inLargeRuns, run{change: c, clients: s.many, models: s.models, rounds: min(s.rounds, 2), flips: s.flips}},
		{inLargeRuns, run{change: c, clients: s.clients, models: s.wide, rounds: min(s.rounds, 2), flips: s.flips}},
		{[]string{ours}, run{change: c, clients: s.secure, models: s.models, rounds: 1, flips: min(s.flips, mostSecure), tls: true}},
	} {
		few := slices.DeleteFunc(slices.Clone(chosen), func(c subject) bool { return !slices.Contains(large.subjects, c.name) })
		if large.clients == 0 || large.models == 0 || len(few) == 0 {
			continue
		}
		if _, err := measure(s, few, large.run); err != nil {
			return err
		}
	}
	found, err := ratios(c, all)
	if err != nil || found == nil {
		return err
	}
	return merge(s.out, found)
}

// run is one set of measurements.
type run struct {
	change  *change
	clients int // simulated proxies of each server
	models  int
	rounds  int // that count; one before them does not
	flips   int // measured changes in a round
	tls     bool
}

// mostSecure bounds the measured changes of the run over TLS, each of which is a
// gigabyte.
const mostSecure = 10

// measure runs every subject once a round, in another order each time, and prints
// what was found.
func measure(s *settings, chosen []subject, r run) (_ []*series, err error) {
	l, err := newLab(s, r)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	var all []*series
	for i := range chosen {
		one, err := l.start(&chosen[i], i == 0)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", chosen[i].name, err)
		}
		all = append(all, one)
	}
	for round := range r.rounds + 1 {
		for i := range all {
			one := all[(i+round)%len(all)]
			if err := one.round(r.flips, round > 0); err != nil {
				return nil, fmt.Errorf("%s: %w", one.subject.name, err)
			}
		}
	}
	show(all, r)
	return all, nil
}
