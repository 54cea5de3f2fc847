package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// result is what one round of load on one target showed.
type result struct {
	requests int
	failed   int           // answers that were not what the target is there to give
	p50, p99 time.Duration // of one request
	first    time.Duration // the median to a stream's first content; 0: no streams
	tokens   int           // of all answers
	cpu      time.Duration // of all measured processes, per request or, of streams, per token
	envoy    time.Duration // Envoy's part of it
}

// target is one way through a proxy.
type target struct {
	name string
	dial func() (caller, error) // one connection
	pids []int                  // whose CPU time counts, Envoy first
	// spread is the time over which a round's connections begin: streams that
	// begin together would go on together.
	spread time.Duration
}

// caller is one connection of a client. It is used by one goroutine.
type caller interface {
	call() (sample, error)
	close()
}

// sample is one request.
type sample struct {
	took  time.Duration
	first time.Duration // to the first content of a stream
	// tokens of a stream; 0: an answer in one piece
	tokens int
	good   bool // what the target is there to give
}

// load sends requests over as many connections as asked for, one at a time on
// each, for the given time.
func load(t *target, connections int, during time.Duration) (result, error) {
	before, envoyBefore, err := cpuTime(t.pids)
	if err != nil {
		return result{}, err
	}
	var (
		mu   sync.Mutex
		all  []sample
		errs []error
		wg   sync.WaitGroup
	)
	until := time.Now().Add(during)
	for i := range connections {
		wg.Go(func() {
			time.Sleep(t.spread * time.Duration(i) / time.Duration(connections))
			samples, err := one(t, until)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, samples...)
			if err != nil {
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	after, envoyAfter, err := cpuTime(t.pids)
	if err != nil {
		return result{}, err
	}
	if len(errs) > 0 {
		return result{}, fmt.Errorf("%s: %w", t.name, errs[0])
	}
	if len(all) == 0 {
		return result{}, fmt.Errorf("%s: no request finished", t.name)
	}
	return sum(all, after-before, envoyAfter-envoyBefore), nil
}

func one(t *target, until time.Time) (samples []sample, err error) {
	c, err := t.dial()
	if err != nil {
		return nil, err
	}
	defer c.close()
	for time.Now().Before(until) {
		s, err := c.call()
		if err != nil {
			return samples, err
		}
		samples = append(samples, s)
	}
	return samples, nil
}

// sum makes the figures of a round.
func sum(all []sample, cpu, envoy time.Duration) result {
	r := result{requests: len(all)}
	for _, s := range all {
		r.tokens += s.tokens
		if !s.good {
			r.failed++
		}
	}
	rank := func(of func(sample) time.Duration, percent int) time.Duration {
		slices.SortFunc(all, func(a, b sample) int { return cmp.Compare(of(a), of(b)) })
		return of(all[len(all)*percent/100])
	}
	took := func(s sample) time.Duration { return s.took }
	r.p50, r.p99 = rank(took, 50), rank(took, 99)
	r.first = rank(func(s sample) time.Duration { return s.first }, 50)
	per := time.Duration(len(all))
	if r.tokens > 0 {
		per = time.Duration(r.tokens)
	}
	r.cpu, r.envoy = cpu/per, envoy/per
	return r
}

// cpuTime adds up the user and system time of processes, from the kernel's
// own accounting, in ticks of 10 ms; first is that of the first one.
func cpuTime(pids []int) (total, first time.Duration, err error) {
	for i, pid := range pids {
		if i == 1 {
			first = total
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, 0, err
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		for _, f := range fields[11:13] {
			ticks, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return 0, 0, err
			}
			total += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	if len(pids) == 1 {
		first = total
	}
	return total, first, nil
}
