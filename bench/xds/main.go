// Command xds measures how long a change of weights takes to reach every proxy,
// against go-control-plane's own caches, interleaved in one run. The simulated
// proxies are in a process of their own, one connection and one stream each;
// each server is a process of its own, whose CPU time counts alone; two real
// Envoys follow ours. It prints what it found and adds its ratios to
// bench/out/ratios.json.
//
// Run it by `make bench-xds`, from the root of the repository.
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
	clients int    // simulated proxies of each server
	many    int    // of a second, shorter run; 0: none
	models  int    // with a route and a policy each
	wide    int    // models of a third run; 0: none
	envoys  int    // real ones, at ours
	rounds  int    // blocks of flips of each server, interleaved
	flips   int    // in a block
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
	flag.IntVar(&s.clients, "clients", 1000, "simulated proxies of each server")
	flag.IntVar(&s.many, "many", 5000, "simulated proxies of a second run, printed only; 0: none")
	flag.IntVar(&s.models, "models", 20, "models, each with a route and a policy")
	flag.IntVar(&s.wide, "wide", 100, "models of a third run, printed only; 0: none")
	flag.IntVar(&s.envoys, "envoys", 2, "real Envoys at safestate's server")
	flag.IntVar(&s.rounds, "rounds", 6, "blocks of flips of each server, interleaved, after one that is not counted")
	flag.IntVar(&s.flips, "flips", 10, "flips in a block")
	flag.StringVar(&s.only, "only", "", "the servers to measure, comma-separated (default: all)")
	flag.StringVar(&s.out, "out", "bench/out", "where ratios.json is")
	flag.StringVar(&s.profile, "profile", "", "host:port where the first server answers pprof")
	flag.Parse()
	if err := run(&s); err != nil {
		log.Fatal("bench/xds: ", err)
	}
}

func run(s *settings) error {
	chosen := subjects()
	if s.only != "" {
		names := strings.Split(s.only, ",")
		chosen = slices.DeleteFunc(chosen, func(c subject) bool { return !slices.Contains(names, c.name) })
	}
	if len(chosen) == 0 {
		return fmt.Errorf("no server is called %q", s.only)
	}
	all, err := measure(s, chosen, s.clients, s.models, s.rounds)
	if err != nil {
		return err
	}
	show(all, s.clients, s.models)
	few := slices.DeleteFunc(slices.Clone(chosen), func(c subject) bool { return !slices.Contains(inLargeRuns, c.name) })
	for _, large := range []struct{ clients, models int }{{s.many, s.models}, {s.clients, s.wide}} {
		if large.clients == 0 || large.models == 0 || len(few) == 0 {
			continue
		}
		measured, err := measure(s, few, large.clients, large.models, min(s.rounds, 2))
		if err != nil {
			return err
		}
		show(measured, large.clients, large.models)
	}
	found, err := ratios(all)
	if err != nil || found == nil {
		return err
	}
	return merge(s.out, found)
}

// measure runs every subject once a round, in another order each time.
func measure(s *settings, chosen []subject, n, models, rounds int) (_ []*series, err error) {
	l, err := newLab(s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	var all []*series
	for i := range chosen {
		one, err := l.start(&chosen[i], n, models, i == 0)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", chosen[i].name, err)
		}
		all = append(all, one)
	}
	for round := range rounds + 1 {
		for i := range all {
			one := all[(i+round)%len(all)]
			if err := one.round(s.flips, round > 0); err != nil {
				return nil, fmt.Errorf("%s: %w", one.subject.name, err)
			}
		}
	}
	return all, nil
}
