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
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/safestate/safestate/envoy"
)

// pause is between changes: what one leaves behind, garbage apart, is done by
// then.
const pause = 20 * time.Millisecond

// block is what a server measured of its changes, one after the other.
type block struct {
	N      []int     // their numbers
	Acks   [][]int64 // for each when each client's acceptance came, in µs after it began, in order
	Render []int64   // µs that went by for rendering, where it is a part
	Set    []int64   // µs until the server's own call came back
	At     []int64   // when it began, in ns since 1970
	CPU    int64     // user and system time of the process for all of it, in µs
	RSS    int64     // bytes, at the end
}

// acks counts the acceptances of the change that is under way.
type acks struct {
	types   []string // that count
	start   atomic.Int64
	next    atomic.Int64 // of times
	written atomic.Int64
	times   []int64
	done    chan struct{}
}

func (a *acks) acked(typeURL string) {
	if !slices.Contains(a.types, typeURL) {
		return
	}
	i := a.next.Add(1)
	if int(i) > len(a.times) {
		return // more than were waited for: of clients that have just come
	}
	a.times[i-1] = (time.Now().UnixNano() - a.start.Load()) / 1000
	if int(a.written.Add(1)) == len(a.times) {
		a.done <- struct{}{}
	}
}

// runServer is the process of one server: it is told a job. Of its standard input,
// "CLIENTS FIRST LAST" asks for the changes from FIRST to LAST, each accepted by so
// many clients; the answer is a block.
func runServer(args []string) error {
	j, s, c, err := jobOf(args)
	if err != nil {
		return err
	}
	w, err := newWorld(j.Samples, j.Models, j.Ports)
	if err != nil {
		return err
	}
	if j.Profile != "" {
		profiler := &http.Server{Addr: j.Profile, ReadHeaderTimeout: time.Minute}
		go func() { _ = profiler.ListenAndServe() }()
	}
	counted := &acks{types: c.types, done: make(chan struct{}, 1)}
	served, err := s.make(j.Clients, counted.acked)
	if err != nil {
		return err
	}
	r, err := c.at(w, 0)
	if err != nil {
		return err
	}
	if err := served.set(r); err != nil {
		return err
	}
	// The kernel's own probes of idle connections are off: those of thousands
	// are due at one moment here, more than the loopback device queues, and
	// with gRPC's timeout on the socket one that is lost ends its connection.
	l, err := (&net.ListenConfig{KeepAlive: -1}).Listen(context.Background(), "tcp", j.Address)
	if err != nil {
		return err
	}
	options := served.options()
	secure, err := serverTLS(j.TLS)
	if err != nil {
		return err
	}
	if secure != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(secure)))
	}
	g := grpc.NewServer(options...)
	served.register(g)
	go func() { _ = g.Serve(l) }()
	fmt.Println("serving")
	return (&bench{c, w, served, counted}).commands()
}

// bench is a server, and what it is measured by.
type bench struct {
	*change
	world   *world
	served  server
	counted *acks
}

// commands carries out one line of the standard input after the other.
func (b *bench) commands() error {
	in := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		var clients, first, last int
		if _, err := fmt.Sscan(in.Text(), &clients, &first, &last); err != nil {
			return fmt.Errorf("command %q: %w", in.Text(), err)
		}
		made, err := b.run(clients, first, last)
		if err != nil {
			return err
		}
		if err := out.Encode(made); err != nil {
			return err
		}
	}
	return in.Err()
}

// run makes the changes from first to last, and measures those that are. What is
// rendered as no part of them is rendered before: that costs the same whoever
// serves it.
func (b *bench) run(clients, first, last int) (*block, error) {
	rendered := map[int]*envoy.Resources{}
	for n := first; n <= last && !b.rendered; n++ {
		r, err := b.at(b.world, n)
		if err != nil {
			return nil, err
		}
		rendered[n] = r
	}
	out := &block{}
	for n := first; n <= last; n++ {
		before := cpuTime()
		made, err := b.one(clients, n, rendered[n])
		if err != nil {
			return nil, fmt.Errorf("change %d: %w", n, err)
		}
		time.Sleep(pause)
		if !b.measured(n) {
			continue
		}
		out.N, out.CPU = append(out.N, n), out.CPU+(cpuTime()-before).Microseconds()
		out.Acks, out.At = append(out.Acks, b.counted.times), append(out.At, made.began.UnixNano())
		out.Render, out.Set = append(out.Render, made.render.Microseconds()), append(out.Set, made.set.Microseconds())
	}
	out.RSS = resident()
	return out, nil
}

// made is one change.
type made struct {
	began       time.Time
	render, set time.Duration
}

// one makes a change, and waits until every client has accepted all of it.
func (b *bench) one(clients, n int, r *envoy.Resources) (made, error) {
	b.counted.times = make([]int64, clients*len(b.types))
	b.counted.written.Store(0)
	b.counted.next.Store(0)
	out := made{began: time.Now()}
	b.counted.start.Store(out.began.UnixNano())
	if r == nil {
		var err error
		if r, err = b.at(b.world, n); err != nil {
			return out, err
		}
		out.render = time.Since(out.began)
	}
	published := time.Now()
	if err := b.served.set(r); err != nil {
		return out, err
	}
	out.set = time.Since(published)
	select {
	case <-b.counted.done:
		return out, nil
	case <-time.After(time.Minute):
		return out, fmt.Errorf("%d of %d acceptances after a minute", b.counted.written.Load(), len(b.counted.times))
	}
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
