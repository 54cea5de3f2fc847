package signals

import (
	"context"
	"errors"
	"io"
	"maps"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/safestate/safestate/internal/signals/signalsv1"
)

// Register adds the hub to g.
func (h *Hub) Register(g grpc.ServiceRegistrar) { signalsv1.RegisterSignalsServer(g, h) }

var (
	errClosing = status.Error(codes.Unavailable, "safestate: the control plane is shutting down")
	errStreams = status.Errorf(codes.ResourceExhausted, "safestate: %d streams of reports are open already", MostReporters)
)

// Exchange implements the service.
func (h *Hub) Exchange(stream grpc.BidiStreamingServer[signalsv1.Report, signalsv1.Directive]) error {
	peer := h.peerOf(stream.Context())
	box, err := h.open(peer)
	if err != nil {
		return err
	}
	defer h.leave(box)
	ended := make(chan error, 1)
	go func() { ended <- h.read(stream, box) }() // ends with the stream
	for {
		var err error
		select {
		case <-box.wake:
		case err = <-ended:
		case <-h.closing:
			return errClosing
		}
		if d := box.take(time.Now()); d != nil {
			if err := stream.Send(d); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (h *Hub) read(stream grpc.BidiStreamingServer[signalsv1.Report, signalsv1.Directive], box *mailbox) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		box.acknowledge(m.Sequence, h.deliver(box.peer, m))
	}
}

// Link returns the way to the hub for a reporter in the same process.
func (h *Hub) Link() Link {
	return func(ctx context.Context) (Stream, error) {
		box, err := h.open("")
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { h.leave(box) })
		return &local{ctx, h, box}, nil
	}
}

// local is a stream within the process.
type local struct {
	ctx context.Context //nolint:containedctx // the stream lives as long
	hub *Hub
	box *mailbox
}

// Send implements Stream.
func (l *local) Send(m *signalsv1.Report) error {
	l.box.acknowledge(m.Sequence, l.hub.Deliver(m))
	return nil
}

// Recv implements Stream.
func (l *local) Recv() (*signalsv1.Directive, error) {
	for {
		select {
		case <-l.box.wake:
			if d := l.box.take(time.Now()); d != nil {
				return d, nil
			}
		case <-l.hub.closing:
			return nil, errClosing
		case <-l.ctx.Done():
			return nil, l.ctx.Err()
		}
	}
}

// CloseSend implements Stream.
func (l *local) CloseSend() error { return nil }

// mailbox holds what one stream has still to be told: the newest of it, however
// slowly the other side reads. It is safe for concurrent use.
type mailbox struct {
	wake chan struct{}
	peer string

	mu           sync.Mutex
	any          bool
	acknowledged uint64
	refused      string
	breakers     map[string]time.Time // until when they are to be open
}

// open makes the mailbox of a new stream: breakers that are open are news to it.
func (h *Hub) open(peer string) (*mailbox, error) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.boxes) >= MostReporters {
		return nil, errStreams
	}
	if s := h.shareOf(peer); !hasRoom(s.streams, MostReporters) {
		return nil, status.Errorf(codes.ResourceExhausted, "safestate: %q has %d streams of reports open already", fit(peer), s.streams)
	}
	h.charge(peer, share{streams: 1})
	box := &mailbox{wake: make(chan struct{}, 1), peer: peer, breakers: map[string]time.Time{}}
	for key, until := range h.shared.open {
		if until.After(now) {
			box.open(key, until)
		}
	}
	h.boxes[box] = struct{}{}
	return box, nil
}

func (h *Hub) leave(box *mailbox) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, open := h.boxes[box]; open {
		h.charge(box.peer, share{streams: -1})
		delete(h.boxes, box)
	}
}

func (b *mailbox) acknowledge(sequence uint64, refused error) {
	b.put(func() {
		b.refused = ""
		if refused != nil {
			b.refused = fit(refused.Error())
			return
		}
		b.acknowledged = max(b.acknowledged, sequence)
	})
}

func (b *mailbox) open(key string, until time.Time) {
	b.put(func() { b.breakers[key] = until })
}

func (b *mailbox) put(change func()) {
	b.mu.Lock()
	change()
	b.any = true
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take returns what is to be told, once; nil: nothing is.
func (b *mailbox) take(now time.Time) *signalsv1.Directive {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.any {
		return nil
	}
	d := &signalsv1.Directive{Acknowledged: b.acknowledged, Refused: b.refused}
	for key, until := range maps.All(b.breakers) {
		if left := until.Sub(now).Milliseconds(); left > 0 {
			d.Open = append(d.Open, &signalsv1.OpenBreaker{Key: key, Milliseconds: uint64(left)})
		}
	}
	clear(b.breakers)
	b.any = false
	return d
}
