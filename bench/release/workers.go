package main

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
)

// workers spread pieces of work over the processors. The random numbers of a
// piece depend on the seed, the part and its number alone.
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
				do(i, rand.New(rand.NewPCG(w.seed, w.part<<24|uint64(i))))
			}
		})
	}
	all.Wait()
}
