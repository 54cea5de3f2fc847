package xds

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/safestate/safestate/envoy"
)

const (
	// DefaultLinger is how long a version that left the configuration stays
	// known to the proxies: longer than any request that was routed to it may
	// take.
	DefaultLinger = 10 * time.Second
	// DefaultExpect is how long a proxy that went is still expected to accept
	// what is published.
	DefaultExpect = 10 * time.Minute
	// DefaultResend is how long a version that a proxy refused is not sent to
	// it again.
	DefaultResend = 30 * time.Second
	// CoalesceWindow is how long a coalesced Set waits for others.
	CoalesceWindow = 20 * time.Millisecond

	// maxVersions bounds how many Sets back Proof can be asked for.
	maxVersions = 1024
)

// Options are the settings of a Server. The zero value is ready.
type Options struct {
	Linger time.Duration // 0: DefaultLinger
	Expect time.Duration // 0: DefaultExpect
	Resend time.Duration // 0: DefaultResend

	// PeerNodes is how many node ids are taken from peers with one certificate, or,
	// where the transport vouches for nobody, from one host; twice as many streams
	// are. 0: DefaultPeerNodes.
	PeerNodes int

	// ProcessorsOnly: proxies are configured elsewhere, and a configuration of nothing
	// but what processors ask for is none that is empty.
	ProcessorsOnly bool

	// Identity returns the names that the transport has proven of a peer. Where
	// ok, a proxy's node id must be one of them or begin with one and a slash.
	// Where not, the transport vouches for nobody, and any id is taken. nil:
	// nothing is held against anything. PeerNames is one for TLS.
	Identity func(ctx context.Context) (names []string, ok bool)

	Observer Observer // nil: nobody is told
}

// Observer is told what proxies do with a configuration. Its methods are called
// on the stream's goroutine, several at once, and must not block. Nodes and
// messages are text from outside: bounded and printable, and no more than that.
type Observer interface {
	// Accepted: the proxy took this version of this type.
	Accepted(node, typeURL, version string)
	// Refused: it did not, and goes on with what it had; message is Envoy's.
	Refused(node, typeURL, version, message string)
	// Denied: a proxy that says it is node was turned away, and why; a node that
	// was turned away before it said so is empty. A peer can have this called as
	// often as it likes.
	Denied(node string, cause Cause, why string)
}

// Urgency says whether a Set waits for others.
type Urgency int

const (
	// Coalesced: what changes within CoalesceWindow is one push.
	Coalesced Urgency = iota
	// AtOnce: pushed before Set returns, with what waits.
	AtOnce
)

// ErrEmpty is the refusal of a configuration without listeners, routes and
// clusters: it would take everything from every proxy, and is what an unread
// store looks like.
var ErrEmpty = errors.New("the configuration has no listener, no route and no cluster: nothing is published")

// Server serves one configuration to every proxy that asks, incrementally or
// state-of-the-world, all types on one stream or each on its own. Before the
// first Set it answers nothing. Its methods are safe for concurrent use.
//
// Of two configurations a proxy always has the older or the newer, never a mix
// that drops a request: what routes need is accepted before the routes change,
// and taken away only when every connected proxy has accepted the new routes
// and Linger has passed.
type Server struct {
	options Options
	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	setting sync.Mutex // held through Set, so that Sets keep their order

	mu       sync.Mutex
	latest   *content    // of the last Set; nil before the first
	world    *world      // what is pushed; nil before the first push
	coalesce *time.Timer // until latest is pushed; nil: it is
	seq      uint64
	versions map[string]uint64 // the newest Set of each version
	order    []string          // versions, oldest first, some twice
	retired  retired
	ledger   ledger
	waiters  map[*waiter]struct{}
	closed   bool
}

// New returns a Server that has nothing yet.
func New(o Options) *Server {
	o.Linger = orElse(o.Linger, DefaultLinger)
	o.Expect = orElse(o.Expect, DefaultExpect)
	o.Resend = orElse(o.Resend, DefaultResend)
	o.PeerNodes = orElse(o.PeerNodes, DefaultPeerNodes)
	s := &Server{options: o, versions: map[string]uint64{}, retired: newRetired(), ledger: newLedger(), waiters: map[*waiter]struct{}{}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

func orElse[N int | time.Duration](n, fallback N) N {
	if n <= 0 {
		return fallback
	}
	return n
}

// WriteBuffer is the room to write a push of many routes at once, in bytes: a tenth
// of its cost is in the writing of it in pieces.
const WriteBuffer = 128 << 10

// ServerOptions are what a gRPC server that serves proxies only should be made
// with: Codec, WriteBuffer, and windows that are not found out by pings, which cost
// as much as the pushes themselves.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(Codec(protobuf())),
		grpc.StaticStreamWindowSize(64 << 10),
		grpc.StaticConnWindowSize(1 << 20),
		grpc.WriteBufferSize(WriteBuffer),
		grpc.ReadBufferSize(4 << 10), // a proxy says little, and there are thousands
	}
}

// Close ends all streams; the proxies keep what they have.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.stop()
	for _, t := range []*time.Timer{s.coalesce, s.retired.timer} {
		if t != nil {
			t.Stop()
		}
	}
	s.ledger.close()
	for w := range s.waiters {
		s.finish(w)
	}
}

// Set publishes r. It refuses what Validate refuses, a route to a missing
// cluster among it, and an empty configuration; then everything stays as it
// was. The same content again is not sent again.
func (s *Server) Set(r *envoy.Resources, u Urgency) error {
	if len(r.Listeners)+len(r.Routes)+len(r.Clusters) == 0 && (!s.options.ProcessorsOnly || len(r.Runtimes) == 0) {
		return ErrEmpty
	}
	version := r.Version()
	s.setting.Lock()
	defer s.setting.Unlock()
	before := s.last()
	if before == nil || before.version != version {
		next, err := newContent(r, version, before)
		if err != nil {
			return fmt.Errorf("the configuration is refused, the last good one stays: %w", err)
		}
		s.replace(next)
	}
	s.push(u)
	return nil
}

// Version is the content hash of the last Set; empty before the first. It is
// pushed, or will be within CoalesceWindow.
func (s *Server) Version() string {
	if c := s.last(); c != nil {
		return c.version
	}
	return ""
}

func (s *Server) last() *content {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest
}

// replace makes next the latest.
func (s *Server) replace(next *content) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	next.seq = s.seq
	s.latest = next
	s.versions[next.version] = next.seq
	s.order = append(s.order, next.version)
	if len(s.order) > maxVersions {
		oldest := s.order[0]
		s.order = s.order[1:]
		if s.versions[oldest]+maxVersions <= s.seq { // not Set again since
			delete(s.versions, oldest)
		}
	}
}

// push brings the latest to the streams, now or soon.
func (s *Server) push(u Urgency) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed || s.world != nil && s.world.content == s.latest:
	case u == AtOnce:
		s.publish()
	case s.coalesce == nil:
		s.coalesce = time.AfterFunc(CoalesceWindow, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if !s.closed && s.coalesce != nil {
				s.publish()
			}
		})
	}
}

// publish makes the latest content the world. s.mu is held.
func (s *Server) publish() {
	if s.coalesce != nil {
		s.coalesce.Stop()
		s.coalesce = nil
	}
	s.retireWhatLeft()
	s.lead()
}

// lead leads all streams to the latest content and what is retired. s.mu is
// held.
func (s *Server) lead() {
	s.world = newWorld(s.latest, &s.retired, s.world)
	for c := range s.ledger.hosts { // first: a kill waits for no proxy there
		c.advance()
	}
	for c := range s.ledger.streams {
		c.advance()
	}
	s.reviewAll()
}
