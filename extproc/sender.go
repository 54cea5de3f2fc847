package extproc

import (
	"sync"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
)

// sender sends an exchange's replies. The ladder's timer has one of its own to
// send while the ladder runs, and must not send it later: the exchange, and
// its stream, may be over by then. It is safe for concurrent use.
type sender struct {
	stream grpc.BidiStreamingServer[extprocv3.ProcessingRequest, extprocv3.ProcessingResponse]
	// tells: the WASM filter asks of every answer whether it has been looked at. It is
	// set before there is another goroutine.
	tells bool

	mu   sync.Mutex
	done bool // the ladder has answered
}

func (s *sender) send(r *reply) error {
	if s.tells {
		r = worded(r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream.SendMsg(r)
}

// askForTime has Envoy wait for the ladder's answer until the deadline.
func (s *sender) askForTime(deadline time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := time.Until(deadline)
	if s.done || left <= 0 {
		return
	}
	// Lost with the stream: then there is nobody to answer.
	_ = s.stream.SendMsg(moreTime(left))
}

// answered keeps askForTime from sending from now on.
func (s *sender) answered() {
	s.mu.Lock()
	s.done = true
	s.mu.Unlock()
}
