// Command bench measures what safestate costs, against Envoy alone and against
// an external processor that does nothing, interleaved in one run: this
// machine's speed drifts, the ratios hold. It prints medians and ratios and
// writes bench/out/ratios.json.
//
// Run it by `make bench`, from the root of the repository.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// settings are the flags.
type settings struct {
	envoy     string        // the Envoy binary
	safestate string        // the safestate binary
	noop      string        // the no-op processor's binary
	samples   string        // the folder of the samples' folders
	rounds    int           // of each target, interleaved
	during    time.Duration // one round
	only      string        // the scenario to run; empty: all
	out       string
}

func main() {
	log.SetFlags(0)
	var s settings
	flag.StringVar(&s.envoy, "envoy", os.Getenv("ENVOY"), "the Envoy binary (default: $ENVOY)")
	flag.StringVar(&s.safestate, "safestate", "", "the safestate binary (default: built)")
	flag.StringVar(&s.noop, "noop", "", "the no-op processor's binary (default: built)")
	flag.StringVar(&s.samples, "samples", "docs/samples", "the folder of the samples")
	flag.IntVar(&s.rounds, "rounds", 7, "rounds of each target, interleaved")
	flag.DurationVar(&s.during, "during", 2*time.Second, "how long a round takes")
	flag.StringVar(&s.only, "only", "", "one scenario: scanner, unary, fallback, wasm, chat or grpc (default: all)")
	flag.StringVar(&s.out, "out", "bench/out", "where ratios.json is written")
	flag.Parse()
	if err := run(&s); err != nil {
		log.Fatal("bench: ", err)
	}
}

func run(s *settings) (err error) {
	ratios := map[string]float64{}
	l, err := newLab(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	ran := false
	for _, scenario := range []struct {
		name string
		run  func(ratios map[string]float64) error
	}{
		{"scanner", micro}, {"unary", l.proxies}, {"fallback", l.fallback}, {"wasm", l.filters}, {"chat", l.chat}, {"grpc", l.grpc},
	} {
		if s.only != "" && s.only != scenario.name {
			continue
		}
		ran = true
		if err := scenario.run(ratios); err != nil {
			return fmt.Errorf("%s: %w", scenario.name, err)
		}
	}
	if !ran {
		return fmt.Errorf("no scenario %q", s.only)
	}
	return write(s.out, ratios)
}

// write prints the ratios and saves them as one flat object, beside those that
// other commands have written there.
func write(folder string, ratios map[string]float64) error {
	fmt.Println()
	for _, name := range slices.Sorted(maps.Keys(ratios)) {
		fmt.Printf("%-36s %8.3f\n", name, ratios[name])
	}
	file := filepath.Join(folder, "ratios.json")
	all := map[string]float64{}
	if text, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(text, &all); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	maps.Copy(all, ratios)
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
