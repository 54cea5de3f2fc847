// Command release simulates what package sequential decides: how many requests
// the rollback of a bad version needs, how often a healthy one is rolled back,
// and what becomes of a corpus of incidents.
//
//	release [-seed 1] [-days 30000] [-quick] [-only curve,late,stop,healthy,incidents] [-out bench/out]
//
// Answers are drawn as counts by step, as the control plane gets them by report:
// no traffic flows and no time passes. The same seed gives the same figures on
// any machine. It writes release.json and adds rollback_requests_over_bound to
// ratios.json, both in the folder out.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

type settings struct {
	seed  uint64
	days  int
	quick bool
	out   string
	only  string
}

func main() {
	var s settings
	flag.Uint64Var(&s.seed, "seed", 1, "of the random numbers: the same seed, the same figures")
	flag.IntVar(&s.days, "days", 30000, "healthy version-days")
	flag.BoolVar(&s.quick, "quick", false, "a short form of a tenth of everything; it publishes nothing in ratios.json")
	flag.StringVar(&s.out, "out", "bench/out", "the folder of release.json and ratios.json")
	flag.StringVar(&s.only, "only", "", "parts: curve, late, stop, healthy, incidents; empty: all")
	flag.Parse()
	if err := run(s); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// part is one of the things that are simulated.
type part struct {
	name string
	do   func(w *workers, s settings, r *report)
}

var parts = []part{
	{"curve", func(w *workers, s settings, r *report) {
		r.Fresh = &curve{Name: "A new version that is bad from its first answer", RPS: 500, Rate: baseline, Runs: tenth(s, 1000)}
		r.Fresh.run(w, 0)
		r.Fresh.print(false)
	}},
	{"late", func(w *workers, s settings, r *report) {
		for _, rate := range []float64{baseline, 0} {
			c := curve{Name: "A version that turns bad after three days", RPS: 500, Rate: rate, Runs: tenth(s, 200)}
			c.run(w, 72*time.Hour)
			c.print(true)
			r.Late = append(r.Late, c)
		}
	}},
	{"stop", func(w *workers, s settings, r *report) {
		r.Stop = []stop{stops(w, tenth(s, 2000), false), stops(w, tenth(s, 2000), true)}
		fmt.Println("\nAll answers bad from one moment on; 500 requests a second, 99 % at the version, 1 % at its control")
		for i := range r.Stop {
			r.Stop[i].print()
		}
	}},
	{"healthy", func(w *workers, s settings, r *report) {
		h := healthyDays(w, tenth(s, s.days))
		h.print()
		r.Healthy = &h
	}},
	{"incidents", func(w *workers, s settings, r *report) {
		c := playAll(w, tenth(s, 300))
		c.print()
		r.Incidents = &c
	}},
}

func run(s settings) error {
	only := strings.Split(s.only, ",")
	r := &report{Seed: s.seed, Quick: s.quick}
	for i, p := range parts {
		if s.only != "" && !slices.Contains(only, p.name) {
			continue
		}
		begin := time.Now()
		p.do(&workers{seed: s.seed, part: uint64(i) << 32}, s, r)
		fmt.Printf("(%s)\n", time.Since(begin).Round(100*time.Millisecond))
	}
	return r.write(s.out)
}

// tenth is n, or a tenth of it for the short form.
func tenth(s settings, n int) int {
	if s.quick {
		return max(1, n/10)
	}
	return n
}
