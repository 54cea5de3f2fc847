package signals

import (
	"context"
	"sync"
	"time"

	"github.com/safestate/safestate/internal/signals/signalsv1"
)

// Relay hands what a hub takes on to the hub of the control plane that leads, and
// passes on to the hosts what that one opens. It keeps no queue: what has not been
// handed on is read from the hub, which has the newest of every row, so that a
// leader that is away or slow costs nothing. It is safe for concurrent use.
type Relay struct {
	hub    *Hub
	onLink func(error)
	wake   chan struct{}

	mu      sync.Mutex
	cancel  context.CancelFunc
	ended   chan struct{}
	waiting []*hubRow // rows that have not been handed on; under the hub's lock
	all     bool      // there are too many of them: all are to be handed on; under the hub's lock
}

// NewRelay makes the relay of a hub, of which a hub has one. onLink is told when
// the link begins to work (nil) and why it does not any more; it may be nil, and
// must not call To.
func NewRelay(h *Hub, onLink func(error)) *Relay {
	if onLink == nil {
		onLink = func(error) {}
	}
	return &Relay{hub: h, onLink: onLink, wake: make(chan struct{}, 1)}
}

// To hands on by a link from now on, and not by the earlier one any more; nil:
// to nobody, because this control plane leads, or none does. A link to the
// hub's own process must not be given.
func (r *Relay) To(link Link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel != nil {
		r.cancel()
		<-r.ended
		r.cancel = nil
	}
	if link == nil {
		r.attach(false)
		return
	}
	r.attach(true)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	r.cancel, r.ended = cancel, ended
	go func() {
		defer close(ended)
		keep(ctx, nil, r.onLink, func(ctx context.Context) (bool, error) { return r.stream(ctx, link) })
	}()
}

// Close ends the relay.
func (r *Relay) Close() { r.To(nil) }

func (r *Relay) attach(on bool) {
	h := r.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	r.clear()
	h.relay = nil
	if on {
		h.relay = r
	}
}

// clear forgets which rows wait. The hub's lock is held.
func (r *Relay) clear() {
	for _, row := range r.waiting {
		row.waiting = false
	}
	r.waiting, r.all = nil, false
}

// toRelay notes a row that is to be handed on. Rows that the hub has forgotten since
// wait too, which nobody bounds but this: while the link is down a reporter may
// begin anew again and again.
func (h *Hub) toRelay(row *hubRow) {
	r := h.relay
	if r == nil || r.all || row.waiting {
		return
	}
	if len(r.waiting) >= mostRowsOfAll {
		r.clear()
		r.all = true
		return
	}
	row.waiting = true
	r.waiting = append(r.waiting, row)
}

func (r *Relay) hurry() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// stream hands on everything that the hub has, and then what it takes.
func (r *Relay) stream(parent context.Context, link Link) (answered bool, err error) {
	ctx, cancel := context.WithCancel(parent)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel()
	stream, err := link(ctx)
	if err != nil {
		return false, err
	}
	ear := newEar(r.onLink, r.opened)
	reading.Go(func() { ear.listen(stream) })
	err = r.handOn(ctx, stream, cancel, ear)
	return ear.hasHeard(), err
}

func (r *Relay) handOn(ctx context.Context, stream Stream, cancel context.CancelFunc, ear *ear) error {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for all := true; ; all = false {
		now := time.Now()
		reports := r.reports(now, all)
		if err := sendAll(stream, cancel, reports); err != nil {
			return ear.reason(err)
		}
		if ear.silent(now, len(reports) > 0) {
			return errSilent
		}
		select {
		case <-tick.C:
		case <-r.wake:
		case err := <-ear.ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// opened passes on what the leader opens.
func (r *Relay) opened(list []*signalsv1.OpenBreaker) {
	now := time.Now()
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	for _, o := range list[:min(len(list), mostBreakers)] {
		if len(o.Key) <= 3*mostName && o.Milliseconds > 0 {
			r.hub.spread(o.Key, now.Add(time.Duration(min(o.Milliseconds, mostOpen))*time.Millisecond), now)
		}
	}
}

// reports makes the reports of what has not been handed on, or of all. Rows go
// under the number of the report that brought them: the leader may have newer ones
// of other rows.
func (r *Relay) reports(now time.Time, all bool) []*signalsv1.Report {
	h := r.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	rows := r.waiting
	if all || r.all {
		rows = nil
		for _, known := range h.reporters {
			for _, row := range known.rows {
				rows = append(rows, row)
			}
			known.relayed, known.signed = false, false
		}
	}
	r.clear()
	var out []*signalsv1.Report
	open := map[*reporter]map[uint64]*signalsv1.Report{}
	for _, row := range rows {
		of := open[row.reporter]
		if of == nil {
			of = map[uint64]*signalsv1.Report{}
			open[row.reporter] = of
		}
		m := of[row.sequence]
		if m == nil || len(m.Counts) >= rowsAReport {
			m = row.report(now)
			row.reporter.signed = row.reporter.signed || row.sequence == row.reporter.sequence
			of[row.sequence] = m
			out = append(out, m)
		}
		m.Counts = append(m.Counts, row.message())
	}
	for _, known := range h.reporters {
		if known.breakersAt > 0 && !known.relayed {
			known.relayed = true
			out = append(out, known.report(now))
		}
		if !known.signed {
			known.signed = true
			out = append(out, known.sign(now))
		}
	}
	return out
}

// sign makes the report that the reporter lives, or that it has ended: as the newest
// of its own said.
func (r *reporter) sign(now time.Time) *signalsv1.Report {
	return r.saying(&signalsv1.Report{Reporter: r.name, Epoch: r.epoch, Sequence: r.sequence, Held: age(now, r.lastSeen), Ends: r.ended})
}

// saying adds what it is, and what the newest of its own said of kills, to a report of
// that number.
func (r *reporter) saying(m *signalsv1.Report) *signalsv1.Report {
	m.InProxy = r.inProxy
	if m.Sequence == r.sequence {
		m.Kills, m.InFlight = r.stopped.set, r.stopped.open
	}
	return m
}

func age(now, then time.Time) uint64 { return uint64(max(now.Sub(then), 0)) }

// report makes an empty report of the number that brought the row. Times in it
// keep their age.
func (w *hubRow) report(now time.Time) *signalsv1.Report {
	m := &signalsv1.Report{
		Reporter: w.reporter.name, Epoch: w.reporter.epoch, Sequence: w.sequence, Held: age(now, w.received),
		Ends: w.reporter.ended && w.sequence == w.reporter.sequence,
	}
	if w.sent > 0 {
		m.Sent = w.sent + m.Held
	}
	return w.reporter.saying(m)
}

func (w *hubRow) message() *signalsv1.Counts {
	c := &signalsv1.Counts{
		Node: w.name.node, Route: w.name.route, Model: w.name.model, Version: w.name.version,
		Generation: w.times.generation, Policy: w.times.policy, Kills: w.times.kills, Marked: w.times.marked, Since: w.since,
		FirstBad: w.times.firstBad, LastBad: w.times.lastBad, LastAsked: w.times.lastAsked,
		Streak: w.times.streak,
	}
	w.tally.write(c)
	return c
}

// report makes the report of the reporter's breakers.
func (r *reporter) report(now time.Time) *signalsv1.Report {
	m := &signalsv1.Report{
		Reporter: r.name, Epoch: r.epoch, Sequence: r.breakersAt, BreakersKnown: true, Held: age(now, r.lastSeen),
	}
	for key, state := range r.breakers {
		m.Breakers = append(m.Breakers, &signalsv1.Breaker{Key: key, State: state})
	}
	return r.saying(m)
}
