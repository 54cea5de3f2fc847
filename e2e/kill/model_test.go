package kill

import (
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/protocol"
)

// model is a server of a version. It counts whatever reaches it, health and other
// calls too, and answers each as clean; over gRPC ModelInfer by a message and all
// else by an empty one.
type model struct {
	port   int
	asked  atomic.Int64
	answer string       // of a prediction, as JSON
	hold   atomic.Value // func(http.ResponseWriter, *http.Request); nil: none

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// startModel ends with the test.
func startModel(t testing.TB, answer string) *model {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &model{port: l.Addr().(*net.TCPAddr).Port, answer: answer, conns: map[net.Conn]bool{}}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: m, Protocols: protocols, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0), ConnState: m.state}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return m
}

func (m *model) state(c net.Conn, s http.ConnState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s == http.StateClosed || s == http.StateHijacked {
		delete(m.conns, c)
	} else {
		m.conns[c] = true
	}
}

// open is how many connections there are.
func (m *model) open() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.conns)
}

// ServeHTTP implements http.Handler.
func (m *model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.asked.Add(1)
	if hold, ok := m.hold.Load().(func(http.ResponseWriter, *http.Request)); ok && hold != nil {
		hold(w, r)
		return
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		m.call(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, m.answer)
}

func (m *model) call(w http.ResponseWriter, r *http.Request) {
	var message []byte
	if strings.HasSuffix(r.URL.Path, "/ModelInfer") {
		_, _ = io.Copy(io.Discard, r.Body)
		message, _ = protocol.ToGRPC(nil, []byte(m.answer), nil, protocol.Options{Raw: true})
	}
	w.Header().Set("Content-Type", "application/grpc")
	_, _ = w.Write(protocol.Frame(nil, message))
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
}
