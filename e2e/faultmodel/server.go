package faultmodel

import (
	"context"
	"encoding/json"
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
	// Tokens of a completion; 0: StreamTokens.
	Tokens int
	// Pace is the time between two tokens of a stream; 0: 2 ms, negative: none.
	Pace time.Duration
	// FirstToken is how late S07FirstTokenLate is; 0: 20 s.
	FirstToken time.Duration
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
	at       int       // the position of the fault; negative: its own
	until    time.Time // zero: for ever
	counts   [numFaults]int
	nth      int // inference requests since the last Set
	requests int // inference requests that reached the server
	clean    int // clean answers that went out
	open     int // streams that are being sent
	gone     int // answers whose caller left before their end
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
	if opts.Tokens <= 0 {
		opts.Tokens = StreamTokens
	}
	if opts.Pace == 0 {
		opts.Pace = 2 * time.Millisecond
	}
	if opts.FirstToken == 0 {
		opts.FirstToken = firstTokenDelay
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
	// gRPC comes as HTTP/2 with prior knowledge, on the same port.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s.http = &http.Server{
		Handler: http.HandlerFunc(s.handle), ReadHeaderTimeout: 10 * time.Second,
		Protocols: &protocols, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 10_000},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
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
// end of a duration above 0. A fault that has a place in a stream is at its own.
func (s *Server) Set(f Fault, d time.Duration) { s.SetAt(f, -1, d) }

// SetAt is Set with the place of the fault: the number of tokens of a stream
// that go out before it, or of messages of a ModelStreamInfer.
func (s *Server) SetAt(f Fault, at int, d time.Duration) {
	if f == C15Bomb {
		bombBytes() // made now, so that the answer is not late as well
	}
	s.mu.Lock()
	s.fault, s.at, s.until, s.nth = f, at, time.Time{}, 0
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

func (s *Server) track(c net.Conn, add bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if add {
		s.hijacked[c] = true
	} else {
		delete(s.hijacked, c)
	}
}

// turn is what the next answer is to be.
type turn struct {
	fault  Fault
	at     int // its position; negative: its own
	nth    int // requests before, since the fault was set
	canned *reply
}

// next decides what the next answer is.
func (s *Server) next(r *http.Request) turn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if !s.until.IsZero() && time.Now().After(s.until) {
		s.fault, s.until = None, time.Time{}
	}
	t := turn{fault: s.fault, at: s.at, nth: s.nth, canned: s.canned}
	if h := r.Header.Get("X-Sample-Fault"); h != "" && s.opts.FaultHeader {
		if asked, at, err := ParseAt(h); err == nil {
			t.fault, t.at = asked, at
		}
	}
	if t.fault == S15Down { // it is up again, or this request would not be here
		t.fault = None
	}
	s.nth++
	return t
}

// begin reads a request's body, takes its turn and waits the latency out; false
// says that the caller left.
func (s *Server) begin(r *http.Request) (body []byte, t turn, ok bool) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest))
	if err != nil {
		return nil, turn{}, false
	}
	t = s.next(r)
	return body, t, pause(r, s.opts.Latency)
}

func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/health/ready"), strings.HasSuffix(r.URL.Path, "/health/live"), r.URL.Path == "/ping":
		w.WriteHeader(http.StatusOK)
		return
	case r.URL.Path == "/v2":
		writeJSON(w, map[string]any{"name": "samplemodel", "version": s.opts.Version, "extensions": []string{"binary_tensor_data"}})
		return
	case r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc"):
		s.call(w, r)
		return
	case strings.HasSuffix(r.URL.Path, chatPath), strings.HasSuffix(r.URL.Path, legacyPath):
		s.complete(w, r)
		return
	case strings.HasSuffix(r.URL.Path, modelsPath):
		writeJSON(w, map[string]any{"object": "list", "data": []any{map[string]any{"id": s.opts.Version, "object": "model", "created": createdAt, "owned_by": "samplemodel"}}})
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
	body, turn, ok := s.begin(r)
	if !ok {
		return // the caller left
	}
	if turn.canned != nil && turn.fault == None {
		turn.canned.write(w)
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
	s.answer(w, r, p, a, turn)
}

// answer applies the fault, if there is one on this protocol, and counts what
// went out.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, p Protocol, a *answer, t turn) {
	c := row{}
	if t.fault.On(p) {
		c = catalogue[t.fault]
	}
	if c.answer != nil {
		c.answer(p, a)
	}
	out := render(p, a)
	if c.reply != nil {
		c.reply(p, out)
	}
	if c.serve != nil {
		if c.serve(&exchange{server: s, w: w, r: r, reply: out, nth: t.nth}) {
			s.served(t.fault)
		}
		return
	}
	out.write(w)
	if c.name == "" {
		s.cleaned()
		return
	}
	s.served(t.fault)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a caller that left is not the model's concern
}
