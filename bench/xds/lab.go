package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/safestate/safestate/envoy"
)

// lab holds the processes of one run, all on loopback and all ended by close.
type lab struct {
	settings *settings
	run
	folder  string
	asked   atomic.Int64 // requests that reached the first model
	running []*child
	ports   [2]string // of the first model's versions
	servers []*http.Server
}

// child is a process of a run.
type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // of its standard output; closed at its end
	log   string      // the file of its standard error
}

// series is one subject's rounds.
type series struct {
	lab     *lab
	subject *subject
	server  *child
	clients *child
	envoys  []string // addresses for traffic
	n       int      // the last change
	cpu     int64    // the clients' until then, in µs
	blocks  []block
	seen    []time.Duration // for each measured change until the clients' own last acceptance
	work    []float64       // for each the clients' CPU time since the one before, in ms
	asked   int             // requests that showed what real Envoys do
	shares  []share
}

// share is what traffic through a real Envoy showed after a flip.
type share struct{ want, got float64 }

func newLab(s *settings, r run) (*lab, error) {
	folder, err := os.MkdirTemp("", "safestate-bench-xds-")
	if err != nil {
		return nil, err
	}
	l := &lab{settings: s, run: r, folder: folder}
	if r.tls {
		if err := writeTLS(folder); err != nil {
			return nil, errors.Join(err, l.close())
		}
	}
	for i := range l.ports {
		if l.ports[i], err = l.model(fmt.Sprintf("v%d", i+1)); err != nil {
			return nil, errors.Join(err, l.close())
		}
	}
	return l, nil
}

// model answers everything with its version.
func (l *lab) model(version string) (port string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		l.asked.Add(1)
		_, _ = io.WriteString(w, version)
	})}
	l.servers = append(l.servers, s)
	go func() { _ = s.Serve(listener) }()
	_, port, err = net.SplitHostPort(listener.Addr().String())
	return port, err
}

func (l *lab) close() error {
	for i := len(l.running) - 1; i >= 0; i-- {
		c := l.running[i]
		_ = c.in.Close()
		_ = c.cmd.Process.Kill()
		for range c.lines {
		}
		_ = c.cmd.Wait()
	}
	for _, s := range l.servers {
		_ = s.Close()
	}
	return os.RemoveAll(l.folder)
}

// spawn starts a program with its standard error in a file.
func (l *lab) spawn(name, program string, args ...string) (*child, error) {
	c := &child{cmd: exec.Command(program, args...), lines: make(chan string, 1000), log: filepath.Join(l.folder, name+".log")}
	stderr, err := os.Create(c.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = stderr.Close() }()
	c.cmd.Stderr = stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	l.running = append(l.running, c)
	go func() {
		defer close(c.lines)
		in := bufio.NewScanner(out)
		in.Buffer(nil, 64<<20)
		for in.Scan() {
			c.lines <- in.Text()
		}
	}()
	return c, nil
}

// line waits for the next line that a child prints.
func (c *child) line() (string, error) {
	select {
	case text, ok := <-c.lines:
		if ok {
			return text, nil
		}
	case <-time.After(5 * time.Minute):
	}
	return "", fmt.Errorf("%s has ended, or says nothing\n%s", filepath.Base(c.log), c.complaints())
}

// complaints are what a child wrote to its standard error.
func (c *child) complaints() []byte {
	text, _ := os.ReadFile(c.log)
	return text
}

// start starts a subject with its clients, and where it is ours the real Envoys.
func (l *lab) start(s *subject, first bool) (*series, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	told := job{Subject: s.name, Change: l.change.name, Address: freePort(), Clients: l.clients, Models: l.models, Samples: l.settings.samples, Ports: l.ports[:]}
	if first {
		told.Profile = l.settings.profile
	}
	if l.tls {
		told.TLS = l.folder
	}
	argument, err := told.argument()
	if err != nil {
		return nil, err
	}
	out := &series{lab: l, subject: s}
	out.server, err = l.spawn("server-"+s.name, self, "server", argument)
	if err != nil {
		return nil, err
	}
	if _, err := out.server.line(); err != nil {
		return nil, err
	}
	out.clients, err = l.spawn("clients-"+s.name, self, "clients", argument)
	if err != nil {
		return nil, err
	}
	if err := out.said(nil, 0); err != nil { // all have the world as it is before any change
		return nil, fmt.Errorf("%w\nand the server says:\n%s", err, out.server.complaints())
	}
	if s.name != ours || l.tls {
		return out, nil
	}
	for i := range l.settings.envoys {
		traffic, err := l.envoy(i, told.Address)
		if err != nil {
			return nil, err
		}
		out.envoys = append(out.envoys, traffic)
	}
	return out, nil
}

// envoy starts a real one and waits until it has its routes. The kernel chooses
// its port for traffic: the listener that all are given names port 0.
func (l *lab) envoy(i int, xds string) (traffic string, err error) {
	admin := freePort()
	name := fmt.Sprintf("envoy-%d", i)
	b, err := envoy.Bootstrap(envoy.Options{NodeID: name, Admin: admin, Processor: freePort(), XDS: xds, Answers: freePort()})
	if err != nil {
		return "", err
	}
	text, err := envoy.YAML(b)
	if err != nil {
		return "", err
	}
	file := filepath.Join(l.folder, name+".yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return "", err
	}
	c, err := l.spawn(name, l.settings.envoy, "-c", file, "--use-dynamic-base-id", "--concurrency", "1", "-l", "error")
	if err != nil {
		return "", err
	}
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if traffic, err = listens(admin); err == nil {
			if err = takes(traffic); err == nil {
				return traffic, nil
			}
		}
		if time.Now().After(until) {
			return "", fmt.Errorf("%s takes no traffic: %w\n%s", name, err, c.complaints())
		}
	}
}

// round makes a block of measured changes, and looks at traffic where it pauses.
func (s *series) round(measured int, counts bool) error {
	from := s.n + 1
	to := s.lab.change.last(s.n, measured)
	for _, n := range s.lab.change.pauses(from, to) {
		if err := s.make(n, counts); err != nil {
			return err
		}
		for _, address := range s.envoys {
			if err := s.lab.change.traffic(s, address, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// make makes the changes up to the nth.
func (s *series) make(n int, counts bool) error {
	first := s.n + 1
	s.n = n
	if _, err := fmt.Fprintf(s.server.in, "%d %d %d\n", s.lab.clients+len(s.envoys), first, n); err != nil {
		return err
	}
	text, err := s.server.line()
	if err != nil {
		return fmt.Errorf("%w\nand the clients say:\n%s", err, s.clients.complaints())
	}
	var b block
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		return err
	}
	for i := first; i <= n; i++ {
		counted := &b
		if !counts {
			counted = nil
		}
		if err := s.said(counted, i); err != nil {
			return err
		}
	}
	if counts && len(b.N) > 0 {
		s.blocks = append(s.blocks, b)
	}
	return nil
}

// said reads what the clients say of a change, and counts it where it is in the
// block.
func (s *series) said(b *block, n int) error {
	text, err := s.clients.line()
	if err != nil {
		return err
	}
	var of int
	var last, cpu int64
	if _, err := fmt.Sscanf(text, "change %d %d %d", &of, &last, &cpu); err != nil || of != n {
		return fmt.Errorf("the clients say %q, want change %d", text, n)
	}
	if b != nil {
		if i := slices.Index(b.N, n); i >= 0 {
			s.seen = append(s.seen, time.Duration(last-b.At[i]))
			s.work = append(s.work, float64(cpu-s.cpu)/1000)
		}
	}
	s.cpu = cpu
	return nil
}

// freePort returns a loopback address that nothing listened on just now.
func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer func() { _ = l.Close() }()
	return strings.TrimSpace(l.Addr().String())
}
