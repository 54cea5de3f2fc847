package signals

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"github.com/safestate/safestate/internal/breaker"
)

// ReporterOptions are what a Reporter needs.
type ReporterOptions struct {
	// Name tells people which host reports: a host's or a pod's name. The reporter
	// adds what makes it unique.
	Name string
	// Links are the ways to control planes: Dial, Hub.Link. Each gets every report.
	Links []Link
	// Breakers are the host's, whose states are reported and which the control
	// plane may open; nil: none.
	Breakers *breaker.Set
	// Kills is the set of kills that the host has in force, for every report: it must
	// not wait. nil: nobody is told.
	Kills func() InForce
	// OnLink is told when a link begins to work (nil) and why it does not any
	// more, or refuses reports; nil: nobody is. It is called from several
	// goroutines.
	OnLink func(err error)
}

// Reporter counts in a host and reports to control planes. It is safe for
// concurrent use. A nil Reporter counts nothing.
type Reporter struct {
	name  string
	epoch time.Time
	wall  int64 // the epoch in Unix nanoseconds
	o     ReporterOptions

	rows table
	// flights are the requests that are open.
	flights flights
	dirty   atomic.Bool // a row has counted since the rows were last read
	lost    atomic.Uint64

	mostRows, sharedRows int

	reading  sync.Mutex // held to read rows and number reports: both grow together
	readings uint64
	sequence uint64
	breakers breakerStates

	senders []*sender
	closing chan struct{}
	closed  sync.Once
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// lastWords is how long Close may take to send the last counts.
const lastWords = time.Second

// NewReporter begins to report. Close ends it.
func NewReporter(o ReporterOptions) *Reporter {
	epoch := time.Now()
	r := &Reporter{
		name: fit(o.Name) + "/" + rand.Text()[:10], epoch: epoch, wall: epoch.UnixNano(), o: o,
		rows:     table{byName: map[rowName]*Row{}},
		mostRows: MostRows, sharedRows: sharedRows,
		closing: make(chan struct{}),
	}
	if r.o.OnLink == nil {
		r.o.OnLink = func(error) {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	for _, link := range o.Links {
		s := &sender{reporter: r, link: link, wake: make(chan struct{}, 1)}
		r.senders = append(r.senders, s)
		r.running.Go(func() { s.run(ctx) })
	}
	if o.Kills != nil {
		r.running.Go(r.followKills)
	}
	return r
}

// Name is how reports call the reporter.
func (r *Reporter) Name() string { return r.name }

// Lost is how many requests were not counted because there was no room for
// their version's row.
func (r *Reporter) Lost() uint64 { return r.lost.Load() }

// stamp is a time as reports have it, in nanoseconds since 1970. All of one
// reporter's go by the clock that it began with: somebody sets the machine's, and
// what came later would seem to have been before.
func (r *Reporter) stamp(t time.Time) int64 { return r.wall + int64(t.Sub(r.epoch)) }

// Close sends what has been counted since the last report and ends. It takes a
// second at most, whatever the control planes do.
func (r *Reporter) Close() {
	if r == nil {
		return
	}
	r.closed.Do(func() {
		close(r.closing)
		end := time.AfterFunc(lastWords, r.cancel)
		defer end.Stop()
		r.running.Wait()
		r.cancel()
	})
}

// hurry has every link report within some milliseconds.
func (r *Reporter) hurry() {
	for _, s := range r.senders {
		s.hurry()
	}
}
