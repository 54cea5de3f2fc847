package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
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
	flag.BoolVar(&s.quick, "quick", false, "a short form: fewer runs, 300 days")
	flag.StringVar(&s.out, "out", "bench/out", "where release.json and ratios.json are")
	flag.StringVar(&s.only, "only", "", "one part: curve, late, healthy, incidents")
	flag.Parse()
	if err := run(s); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(s settings) error {
	w := &workers{seed: s.seed}
	runs := 1000
	if s.quick {
		runs = 100
	}
	if s.only == "" || s.only == "curve" {
		begin := time.Now()
		c := &curve{Name: "A new version that is bad from its first answer", RPS: 500, Rate: baseline, Runs: runs}
		c.run(w, 0)
		c.print()
		fmt.Println(time.Since(begin).Round(time.Second))
	}
	if s.only == "" || s.only == "late" {
		for _, rate := range []float64{baseline, 0} {
			begin := time.Now()
			c := &curve{Name: "A version that was well for three days", RPS: 500, Rate: rate, Runs: runs / 5}
			c.run(w, 72*time.Hour)
			c.print()
			fmt.Println(time.Since(begin).Round(time.Second))
		}
	}
	if s.only == "" || s.only == "stop" {
		fmt.Println("\nEvery answer bad from one moment on, 500 requests a second, 99 % at the version, 1 % at its control")
		a, b := stops(w, runs, false), stops(w, runs, true)
		a.print("without a breaker")
		b.print("its breaker opens after five")
	}
	if s.only == "" || s.only == "healthy" {
		days := s.days
		if s.quick {
			days = min(days, 300)
		}
		begin := time.Now()
		h := healthyDays(w, days)
		h.print()
		fmt.Println(time.Since(begin).Round(time.Second))
	}
	if s.only == "" || s.only == "incidents" {
		variants := 300
		if s.quick {
			variants = 40
		}
		begin := time.Now()
		c := playAll(w, variants)
		c.print(4)
		fmt.Println(time.Since(begin).Round(time.Second))
	}
	return nil
}

// workers spread work over the processors; the random numbers of a piece depend
// on its number alone.
type workers struct {
	seed uint64
	part uint64
}

func (w *workers) each(n int, do func(i int, r *rand.Rand)) {
	w.part++
	var next atomic.Int64
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i, rand.New(rand.NewPCG(w.seed<<20+w.part, uint64(i))))
			}
		})
	}
	all.Wait()
}
