package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof" // answers at -profile's address only
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/safestate/safestate/envoy"
)

// pause is between the flips of a block: what a flip leaves behind, garbage
// apart, is done by then.
const pause = 20 * time.Millisecond

// block is what a server measured of its flips, one after the other.
type block struct {
	Acks [][]int64 // for each flip when each client's acceptance came, in µs after it was published, in order
	Set  []int64   // µs until the server's own call came back
	At   []int64   // when it was published, in ns since 1970
	CPU  int64     // user and system time of the process for all of it, in µs
	RSS  int64     // bytes, at the end
}

// acks counts the acceptances of the flip that is under way.
type acks struct {
	start   atomic.Int64
	next    atomic.Int64 // of times
	written atomic.Int64
	times   []int64
	done    chan struct{}
}

func (a *acks) acked() {
	i := a.next.Add(1)
	if int(i) > len(a.times) {
		return // more than were waited for: of clients that have just come
	}
	a.times[i-1] = (time.Now().UnixNano() - a.start.Load()) / 1000
	if int(a.written.Add(1)) == len(a.times) {
		a.done <- struct{}{}
	}
}

// runServer is the process of one server: SUBJECT ADDRESS CLIENTS MODELS
// SAMPLES PROFILE [PORT PORT]. Of its standard input, "WANT FIRST LAST" asks
// for the flips from FIRST to LAST, each accepted WANT times; the answer is a
// block.
func runServer(args []string) error {
	if len(args) < 6 {
		return fmt.Errorf("server: want SUBJECT ADDRESS CLIENTS MODELS SAMPLES PROFILE [PORT PORT], got %q", args)
	}
	s, err := subjectNamed(args[0])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	models, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	w, err := newWorld(args[4], models, args[6:])
	if err != nil {
		return err
	}
	if args[5] != "" {
		profiler := &http.Server{Addr: args[5], ReadHeaderTimeout: time.Minute}
		go func() { _ = profiler.ListenAndServe() }()
	}
	counted := &acks{done: make(chan struct{}, 1)}
	served, err := s.make(n, counted.acked)
	if err != nil {
		return err
	}
	r, err := w.at(0)
	if err != nil {
		return err
	}
	if err := served.set(r); err != nil {
		return err
	}
	// The kernel's own probes of idle connections are off: those of thousands
	// are due at one moment here, more than the loopback device queues, and
	// with gRPC's timeout on the socket one that is lost ends its connection.
	l, err := (&net.ListenConfig{KeepAlive: -1}).Listen(context.Background(), "tcp", args[1])
	if err != nil {
		return err
	}
	g := grpc.NewServer(served.options()...)
	served.register(g)
	go func() { _ = g.Serve(l) }()
	fmt.Println("serving")
	return commands(w, served, counted)
}

// commands carries out one line of the standard input after the other.
func commands(w *world, served server, counted *acks) error {
	in := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		var want, first, last int
		if _, err := fmt.Sscan(in.Text(), &want, &first, &last); err != nil {
			return fmt.Errorf("command %q: %w", in.Text(), err)
		}
		b, err := flips(w, served, counted, want, first, last)
		if err != nil {
			return err
		}
		if err := out.Encode(b); err != nil {
			return err
		}
	}
	return in.Err()
}

// flips makes and measures the flips from first to last. They are rendered
// before: that costs the same whoever serves them.
func flips(w *world, served server, counted *acks, want, first, last int) (*block, error) {
	var rendered []*envoy.Resources
	for flip := first; flip <= last; flip++ {
		r, err := w.at(flip)
		if err != nil {
			return nil, err
		}
		rendered = append(rendered, r)
	}
	b := &block{}
	before := cpuTime()
	for i, r := range rendered {
		counted.times = make([]int64, want)
		counted.written.Store(0)
		counted.next.Store(0)
		start := time.Now()
		counted.start.Store(start.UnixNano())
		if err := served.set(r); err != nil {
			return nil, err
		}
		b.Set = append(b.Set, time.Since(start).Microseconds())
		select {
		case <-counted.done:
		case <-time.After(time.Minute):
			return nil, fmt.Errorf("flip %d: %d of %d acceptances after a minute", first+i, counted.written.Load(), want)
		}
		b.Acks = append(b.Acks, counted.times)
		b.At = append(b.At, start.UnixNano())
		time.Sleep(pause)
	}
	b.CPU = (cpuTime() - before).Microseconds()
	b.RSS = resident()
	return b, nil
}

// cpuTime is this process's user and system time.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // only a bad address fails
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident is this process's resident memory in bytes; 0 where it is unknown.
func resident() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
