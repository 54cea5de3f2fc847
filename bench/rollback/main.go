// Command rollback measures how long a version that turns bad keeps its traffic:
// from its first bad answer to the proxy's ACK of the weights without it, at 500
// requests a second. It runs the demo several times and prints the median.
//
// Run it by `make bench-rollback`, from the root of the repository.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// timeline is what the demo writes: milliseconds since the first bad answer.
type timeline struct {
	Decided float64 `json:"decided_ms"`
	Acked   float64 `json:"acked_ms"`
	Bad     int     `json:"callers_bad_answers"`
	Asked   int     `json:"callers_answers"`
}

func main() {
	log.SetFlags(0)
	rounds := flag.Int("rounds", 5, "how often")
	sandbox := flag.String("sandbox", "bin/sandbox", "the sandbox's binary")
	envoy := flag.String("envoy", os.Getenv("ENVOY"), "the Envoy binary (default: $ENVOY)")
	out := flag.String("out", "bench/out", "where ratios.json is written")
	flag.Parse()
	if *rounds < 1 {
		log.Fatal("rollback: -rounds has to be at least 1")
	}
	if err := run(*rounds, *sandbox, *envoy, *out); err != nil {
		log.Fatal("rollback: ", err)
	}
}

func run(rounds int, sandbox, envoy, out string) error {
	folder, err := os.MkdirTemp("", "safestate-rollback-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }() // logs of what went well
	var all []timeline
	for i := range rounds {
		t, err := once(sandbox, envoy, folder)
		if err != nil {
			return err
		}
		fmt.Printf("%d: decided after %.0f ms, ACKed after %.0f ms; callers got %d bad answers of %d\n", i+1, t.Decided, t.Acked, t.Bad, t.Asked)
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b timeline) int { return int(a.Acked - b.Acked) })
	fmt.Printf("\nfirst bad answer to ACK: median %.0f ms, %.0f to %.0f\n", all[len(all)/2].Acked, all[0].Acked, all[len(all)-1].Acked)
	return merge(filepath.Join(out, "ratios.json"), map[string]float64{"rollback_ms": all[len(all)/2].Acked})
}

func once(sandbox, envoy, folder string) (t timeline, err error) {
	file := filepath.Join(folder, "timeline.json")
	text, err := exec.Command(sandbox, "-demo", "-timeline", file, "-envoy", envoy, "-logs", filepath.Join(folder, "logs")).CombinedOutput()
	if err != nil {
		return t, fmt.Errorf("%w\n%s", err, text)
	}
	written, err := os.ReadFile(file)
	if err != nil {
		return t, err
	}
	return t, json.Unmarshal(written, &t)
}

// merge adds figures to those that other commands have written.
func merge(file string, figures map[string]float64) error {
	known := map[string]float64{}
	if text, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(text, &known); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	maps.Copy(known, figures)
	text, err := json.MarshalIndent(known, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
