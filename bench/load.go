package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sort"
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
	cpu      time.Duration // of all measured processes, per request
	envoy    time.Duration // Envoy's part of it
}

// target is one way through a proxy.
type target struct {
	name    string
	address string
	path    string
	body    []byte
	accept  func(*http.Response, []byte) bool
	pids    []int // whose CPU time counts, Envoy first
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
		all  []time.Duration
		bad  int
		errs []error
		wg   sync.WaitGroup
	)
	until := time.Now().Add(during)
	for range connections {
		wg.Go(func() {
			times, failed, err := one(t, until)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, times...)
			bad += failed
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
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	return result{
		requests: len(all), failed: bad,
		p50: all[len(all)/2], p99: all[len(all)*99/100],
		cpu:   (after - before) / time.Duration(len(all)),
		envoy: (envoyAfter - envoyBefore) / time.Duration(len(all)),
	}, nil
}

func one(t *target, until time.Time) (times []time.Duration, failed int, err error) {
	conn, err := net.Dial("tcp", t.address)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = conn.Close() }()
	request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n", t.path, len(t.body))
	request = append(request, t.body...)
	r := bufio.NewReaderSize(conn, 64<<10)
	var body bytes.Buffer
	for time.Now().Before(until) {
		started := time.Now()
		if _, err := conn.Write(request); err != nil {
			return times, failed, err
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return times, failed, err
		}
		body.Reset()
		if _, err := io.Copy(&body, resp.Body); err != nil {
			return times, failed, err
		}
		times = append(times, time.Since(started))
		if !t.accept(resp, body.Bytes()) {
			failed++
		}
	}
	return times, failed, nil
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
