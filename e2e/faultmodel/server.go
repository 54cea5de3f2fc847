package faultmodel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Options of a Server. The zero value listens on free ports of 127.0.0.1 and
// serves version v1.
type Options struct {
	Addr    string // host:port; empty: a free port of 127.0.0.1
	Version string // v1, v2 or small; empty: v1
	// Latency is added to every answer.
	Latency time.Duration
	// FaultHeader lets a request choose its own fault by x-sample-fault, which
	// is convenient on a laptop and wrong anywhere else.
	FaultHeader bool
}

// Server is a running model server. Its methods are safe for concurrent use.
type Server struct {
	opts Options
	addr string

	mu       sync.Mutex
	http     *http.Server
	listener net.Listener
	up       bool
	fault    Fault
	until    time.Time // zero: for ever
	counts   [numFaults]int
	nth      int // inference requests since the last Set
	requests int // inference requests that reached the server
	clean    int // clean answers that went out
	hijacked map[net.Conn]bool
	canned   *reply
	closed   bool
	revive   *time.Timer
}

// Start listens and serves until Close.
func Start(opts Options) (*Server, error) {
	if opts.Version == "" {
		opts.Version = "v1"
	}
	if opts.Addr == "" {
		opts.Addr = "127.0.0.1:0"
	}
	s := &Server{opts: opts, addr: opts.Addr, hijacked: map[net.Conn]bool{}}
	if err := s.listen(); err != nil {
		return nil, err
	}
	return s, nil
}

// Addr is host:port. It stays the same while the server is down.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Port is the port of Addr.
func (s *Server) Port() string {
	_, port, err := net.SplitHostPort(s.Addr())
	if err != nil {
		return ""
	}
	return port
}

func (s *Server) listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.up {
		return nil
	}
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	s.addr, s.listener = l.Addr().String(), l
	s.http = &http.Server{Handler: http.HandlerFunc(s.handle), ReadHeaderTimeout: 10 * time.Second}
	s.up = true
	srv := s.http
	go func() { _ = srv.Serve(l) }() // ends with ErrServerClosed: see stop
	return nil
}

// stop closes the listener and every connection, hijacked ones too.
func (s *Server) stop() {
	s.mu.Lock()
	srv := s.http
	s.up = false
	if s.listener != nil {
		_ = s.listener.Close() // by hand: a server that has not come to Serve yet does not know it
	}
	for c := range s.hijacked {
		_ = c.Close()
	}
	s.mu.Unlock()
	if srv != nil {
		_ = srv.Close()
	}
}

// Close stops the server for good.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	if s.revive != nil {
		s.revive.Stop()
	}
	s.mu.Unlock()
	s.stop()
}

// Set makes every inference answer fail from now on, until Set(None) or the
// end of a duration above 0.
func (s *Server) Set(f Fault, d time.Duration) {
	if f == C15Bomb {
		bombBytes() // made now, so that the answer is not late as well
	}
	s.mu.Lock()
	s.fault, s.until, s.nth = f, time.Time{}, 0
	if d > 0 {
		s.until = time.Now().Add(d)
	}
	s.mu.Unlock()
	if f == S15Down {
		s.Down(d)
	} else {
		s.Up()
	}
}

// Down closes the listener and every connection, and listens again after d;
// 0 is until Up. The fault counts once the server's own dial was refused.
func (s *Server) Down(d time.Duration) {
	s.stop()
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		s.served(S15Down)
	} else {
		_ = conn.Close()
	}
	if d > 0 {
		s.mu.Lock()
		s.revive = time.AfterFunc(d, s.Up)
		s.mu.Unlock()
	}
}

// Up listens again. A port that is not free at once is tried for a second.
func (s *Server) Up() {
	for range 100 {
		if s.listen() == nil {
			return
		}
		time.Sleep(10 * time.Millisecond) // the port is the kernel's for a moment
	}
}

// Can makes every inference answer, where no fault is set, exactly these
// bytes; nil ends it. Headers other than content-length are sent as given.
func (s *Server) Can(header http.Header, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.canned = nil
	if header != nil {
		s.canned = &reply{status: http.StatusOK, header: header, body: body}
	}
}

// Count is how often a fault was really served since Start. It moves once the
// last byte is written, which may be just after the caller has read it.
func (s *Server) Count(f Fault) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[f]
}

// Requests is how many inference requests reached the server since Start.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

func (s *Server) served(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[f]++
}

func (s *Server) track(c net.Conn, add bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if add {
		s.hijacked[c] = true
	} else {
		delete(s.hijacked, c)
	}
}

// next decides what the next answer is.
func (s *Server) next(r *http.Request) (f Fault, nth int, canned *reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if !s.until.IsZero() && time.Now().After(s.until) {
		s.fault, s.until = None, time.Time{}
	}
	f = s.fault
	if h := r.Header.Get("X-Sample-Fault"); h != "" && s.opts.FaultHeader {
		if asked, err := Parse(h); err == nil {
			f = asked
		}
	}
	if f == S15Down { // it is up again, or this request would not be here
		f = None
	}
	nth = s.nth
	s.nth++
	return f, nth, s.canned
}

func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/health/ready"), strings.HasSuffix(r.URL.Path, "/health/live"), r.URL.Path == "/ping":
		w.WriteHeader(http.StatusOK)
		return
	case r.URL.Path == "/v2":
		writeJSON(w, map[string]any{"name": "samplemodel", "version": s.opts.Version, "extensions": []string{"binary_tensor_data"}})
		return
	}
	t, ok := parsePath(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	if !t.infer {
		writeJSON(w, map[string]any{"name": t.model, "versions": []string{s.opts.Version}, "platform": "samplemodel"})
		return
	}
	s.infer(w, r, t)
}

func (s *Server) infer(w http.ResponseWriter, r *http.Request, t target) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest))
	if err != nil {
		return // the caller left
	}
	fault, nth, canned := s.next(r)
	if s.opts.Latency > 0 {
		select {
		case <-time.After(s.opts.Latency):
		case <-r.Context().Done():
			return
		}
	}
	if canned != nil && fault == None {
		canned.write(w)
		return
	}
	q := readRequest(t.protocol, r.Header, body)
	p := t.protocol
	if p == V2 && q.binary {
		p = V2B
	}
	if q.failure != nil || len(q.rows) == 0 {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		writeJSON(w, map[string]string{"error": fmt.Sprint("bad input: ", q.failure)})
		return
	}
	a := newAnswer(s.opts.Version, q.rows, p == V2B)
	a.id, a.model, a.version = q.id, t.model, s.opts.Version
	s.answer(w, r, p, a, fault, nth)
}

// answer applies the fault, if there is one on this protocol, and counts what
// went out.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, p Protocol, a *answer, fault Fault, nth int) {
	c := row{}
	if fault.On(p) {
		c = catalogue[fault]
	}
	if c.answer != nil {
		c.answer(p, a)
	}
	out := render(p, a)
	if c.reply != nil {
		c.reply(p, out)
	}
	if c.serve != nil {
		if c.serve(&exchange{server: s, w: w, r: r, reply: out, nth: nth}) {
			s.served(fault)
		}
		return
	}
	out.write(w)
	if c.name == "" {
		s.mu.Lock()
		s.clean++
		s.mu.Unlock()
		return
	}
	s.served(fault)
}

// State is what the control endpoint tells.
type State struct {
	Fault    string         `json:"fault"`
	Up       bool           `json:"up"`
	Requests int            `json:"requests"`
	Clean    int            `json:"clean"`
	Counts   map[string]int `json:"counts"` // faults served, by name
}

// State returns a copy of the counters.
func (s *Server) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := State{Fault: s.fault.String(), Up: s.up, Requests: s.requests, Clean: s.clean, Counts: map[string]int{}}
	for _, f := range Faults() {
		if s.counts[f] > 0 {
			out.Counts[f.String()] = s.counts[f]
		}
	}
	return out
}

// Control is the control endpoint: POST /fault with {"fault": NAME, "for":
// "10s"} sets a fault (an empty name ends it), GET /state tells the counters,
// GET /faults the names.
func (s *Server) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /fault", func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			Fault string `json:"fault"`
			For   string `json:"for"`
		}
		err := json.NewDecoder(io.LimitReader(r.Body, 4096)).Decode(&q)
		var f Fault
		if err == nil {
			f, err = Parse(q.Fault)
		}
		var d time.Duration
		if err == nil && q.For != "" {
			d, err = time.ParseDuration(q.For)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.Set(f, d)
		writeJSON(w, s.State())
	})
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.State()) })
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) {
		names := make([]string, 0, numFaults)
		for _, f := range Faults() {
			names = append(names, f.String())
		}
		writeJSON(w, names)
	})
	return mux
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a caller that left is not the model's concern
}
