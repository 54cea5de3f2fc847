package notify

import (
	"context"
	"sync"
	"time"
)

// Options are what a Notifier is made with. All may be left out.
type Options struct {
	// Path is a file that keeps what is not delivered yet, and what was told, over
	// a restart. Default: nothing is kept.
	Path string
	// Holds says whether a condition still holds, by its key: what does not is no
	// more repeated to an Alertmanager. Default: each does until it is told to be
	// over.
	Holds func(key string) bool
	// Observe counts an Outcome of a receiver: messages that were delivered or are
	// tried again, events that are lost. It must not block. Default: nobody counts.
	Observe func(receiver, outcome string)
	// Told hears what a person should know (bad), once: that a receiver fails, that
	// something is lost; and that it is well again. Default: nobody.
	Told func(text string, bad bool)
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Notifier tells receivers of events. Safe for concurrent use; a nil one tells
// nobody.
type Notifier struct {
	options   Options
	receivers []*receiver
	dirty     chan struct{}
}

// New makes a notifier, with what a former one at the same Path had not yet
// delivered. What cannot be read of that is told, and lost.
func New(s *Settings, o Options) *Notifier {
	if o.Holds == nil {
		o.Holds = func(string) bool { return true }
	}
	if o.Observe == nil {
		o.Observe = func(string, string) {}
	}
	if o.Told == nil {
		o.Told = func(string, bool) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	n := &Notifier{options: o, dirty: make(chan struct{}, 1)}
	for i, r := range s.receivers {
		n.receivers = append(n.receivers, newReceiver(r, newSender(r, s.pools[i]), &n.options, n.changed))
	}
	n.recall()
	return n
}

// Notify takes an event in and returns at once, whatever the receivers do. An
// event whose ID was told before is not told again.
func (n *Notifier) Notify(e Event) {
	if n == nil {
		return
	}
	e = e.cleaned()
	for _, r := range n.receivers {
		r.offer(e)
	}
	n.changed()
}

// Run delivers until ctx ends. What waits then is kept, where there is a Path.
func (n *Notifier) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, r := range n.receivers {
		running.Go(func() { r.run(ctx) })
	}
	n.follow(ctx)
	running.Wait()
	n.keep()
	for _, r := range n.receivers {
		r.sender.client.CloseIdleConnections()
	}
}

func (n *Notifier) changed() {
	select {
	case n.dirty <- struct{}{}:
	default:
	}
}
