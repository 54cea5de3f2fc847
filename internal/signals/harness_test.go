package signals

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/safestate/safestate/internal/signals/signalsv1"
)

// host writes reports by hand: what it has counted of each row since it began.
type host struct {
	name     string
	epoch    time.Time
	clock    time.Duration // ahead of the hub's
	sequence uint64
	rows     map[rowName]*signalsv1.Counts
}

func newHost(name string) *host {
	return &host{name: name, epoch: time.Now(), rows: map[rowName]*signalsv1.Counts{}}
}

func (h *host) now() uint64 { return uint64(time.Now().Add(h.clock).UnixNano()) }

// count adds answers of v1, or of another version, all of one caller.
func (h *host) count(clean, bad uint64, version ...string) {
	name := rowName{"node-" + h.name, "default/r/0", "default/m", "v1"}
	if len(version) > 0 {
		name.version = version[0]
	}
	c := h.rows[name]
	if c == nil {
		c = &signalsv1.Counts{
			Node: name.node, Route: name.route, Model: name.model, Version: name.version, Since: h.now(),
			Callers: []*signalsv1.Caller{{Place: 3}},
		}
		h.rows[name] = c
	}
	c.Asked += clean + bad
	c.Clean += clean
	c.Bad += bad
	c.Callers[0].Clean += clean
	c.Callers[0].Bad += bad
	c.LastAsked = h.now()
	if bad > 0 {
		c.FirstBad, c.LastBad = h.now(), h.now()
		if c.Detectors == nil {
			c.Detectors = map[string]uint64{}
		}
		c.Detectors["nonfinite"] += bad
	}
}

// report makes the next report, of all rows or of those of some versions.
func (h *host) report(versions ...string) *signalsv1.Report {
	h.sequence++
	m := &signalsv1.Report{
		Reporter: h.name, Epoch: uint64(h.epoch.Add(h.clock).UnixNano()), Sequence: h.sequence, Sent: h.now(),
	}
	for _, c := range h.rows {
		if len(versions) == 0 || slices.Contains(versions, c.Version) {
			m.Counts = append(m.Counts, proto.Clone(c).(*signalsv1.Counts))
		}
	}
	return m
}

func deliver(t *testing.T, h *Hub, reports ...*signalsv1.Report) {
	t.Helper()
	for _, m := range reports {
		if err := h.Deliver(m); err != nil {
			t.Fatalf("refused: %v", err)
		}
	}
}

// totals writes down a hub's totals: version, asked, clean, bad.
func totals(h *Hub) string {
	var lines []string
	for _, v := range h.Totals() {
		lines = append(lines, fmt.Sprintf("%s %d %d %d", v.Name, v.Asked, v.Clean, v.Bad))
	}
	return strings.Join(lines, ", ")
}

func newHub(t *testing.T) *Hub {
	t.Helper()
	h := NewHub(HubOptions{})
	t.Cleanup(h.Close)
	return h
}

// wire is a link whose far end is the test.
type wire struct {
	mu      sync.Mutex
	streams []*wireStream
	refuse  error // of new streams
	deaf    bool  // Send blocks
	mute    bool  // reports are not acknowledged
	tries   []time.Time
}

type wireStream struct {
	ctx  context.Context //nolint:containedctx // the stream's
	wire *wire
	back chan *signalsv1.Directive
	hang chan error

	mu      sync.Mutex
	reports []*signalsv1.Report
	at      []time.Time
}

func (w *wire) link(ctx context.Context) (Stream, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tries = append(w.tries, time.Now())
	if w.refuse != nil {
		return nil, w.refuse
	}
	s := &wireStream{ctx: ctx, wire: w, back: make(chan *signalsv1.Directive, 1000), hang: make(chan error, 1)}
	w.streams = append(w.streams, s)
	return s, nil
}

func (w *wire) set(change func(*wire)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
}

// stream returns the newest stream.
func (w *wire) stream() *wireStream {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.streams) == 0 {
		return nil
	}
	return w.streams[len(w.streams)-1]
}

func (s *wireStream) Send(m *signalsv1.Report) error {
	var deaf, mute bool
	s.wire.set(func(w *wire) { deaf, mute = w.deaf, w.mute })
	if deaf {
		<-s.ctx.Done()
		return s.ctx.Err()
	}
	s.mu.Lock()
	s.reports, s.at = append(s.reports, m), append(s.at, time.Now())
	s.mu.Unlock()
	if !mute {
		s.back <- &signalsv1.Directive{Acknowledged: m.Sequence}
	}
	return nil
}

func (s *wireStream) Recv() (*signalsv1.Directive, error) {
	select {
	case d := <-s.back:
		return d, nil
	case err := <-s.hang:
		return nil, err
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

func (s *wireStream) CloseSend() error { return nil }

// got returns the reports so far, and when they came.
func (s *wireStream) got() ([]*signalsv1.Report, []time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.reports), slices.Clone(s.at)
}

// notes keeps what a link says of itself.
type notes struct {
	mu   sync.Mutex
	said []error
}

func (n *notes) note(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.said = append(n.said, err)
}

func (n *notes) has(err error) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.said, func(e error) bool { return errors.Is(e, err) || e == err })
}

func (n *notes) list() []error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.said)
}

func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
