package notify

import (
	"context"
	"slices"
	"sync"
	"time"
)

// What becomes of a message or an event, as it is counted.
const (
	Delivered  = "delivered"  // a message
	Retried    = "retried"    // a try that failed, and is made again
	Overflowed = "overflowed" // an event that gave way: too much waited
	Refused    = "refused"    // a message that the receiver will never take
	GaveUp     = "gave-up"    // a message that was tried for too long
)

// Outcomes returns all of them.
func Outcomes() []string { return []string{Delivered, Retried, Overflowed, Refused, GaveUp} }

// maxMessages bounds the messages that wait for delivery.
const maxMessages = 256

// receiver tells one receiver. Safe for concurrent use.
type receiver struct {
	settings settings
	sender   *sender
	options  *Options
	wake     chan struct{} // something came
	changed  func()        // what is to be kept has changed

	mu       sync.Mutex
	book     *book
	messages []message // that wait, or are being sent
	retry    time.Time // not before; zero: now
	resend   time.Time // of what fires
	failing  bool      // it was said that it fails
}

func newReceiver(s settings, sender *sender, o *Options, changed func()) *receiver {
	return &receiver{settings: s, sender: sender, options: o, wake: make(chan struct{}, 1), changed: changed, book: newBook(s.Window)}
}

// offer takes an event in, where the receiver wants it.
func (r *receiver) offer(e Event) {
	if !r.settings.wants(e) {
		return
	}
	r.mu.Lock()
	dropped := r.book.add(e, r.options.Now())
	r.mu.Unlock()
	if dropped != nil {
		r.lost(Overflowed, 1)
	}
	r.poke()
}

// lost counts events that were dropped.
func (r *receiver) lost(why string, events int) {
	for range events {
		r.options.Observe(r.settings.Name, why)
	}
}

// run delivers until ctx ends.
func (r *receiver) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-timer.C:
		}
		for {
			m, next := r.due()
			if m == nil {
				timer.Stop()
				if !next.IsZero() {
					timer.Reset(max(next.Sub(r.options.Now()), 0))
				}
				break
			}
			r.deliver(ctx, *m)
			if ctx.Err() != nil {
				return
			}
		}
		r.again(ctx)
	}
}

// due returns the message to send now, the most severe first, or when to look
// again.
func (r *receiver) due() (*message, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.options.Now()
	told, next := r.book.take(now)
	for _, events := range told {
		r.messages = append(r.messages, newMessage(events, now))
	}
	if len(told) > 0 {
		r.bound()
		r.changed()
	}
	if r.settings.Form == Alertmanager && len(r.book.firing()) > 0 {
		if r.resend.IsZero() {
			r.resend = now.Add(r.settings.Resend)
		}
		next = earlier(next, r.resend)
	} else {
		r.resend = time.Time{}
	}
	switch {
	case len(r.messages) == 0:
		return nil, next
	case r.retry.After(now):
		return nil, earlier(next, r.retry)
	}
	first := r.messages[0]
	for _, m := range r.messages[1:] {
		if m.severity().rank() > first.severity().rank() {
			first = m
		}
	}
	return &first, next
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// bound drops the least severe and oldest messages of too many.
func (r *receiver) bound() {
	for len(r.messages) > maxMessages {
		at := 0
		for i, m := range r.messages {
			if m.severity().rank() < r.messages[at].severity().rank() {
				at = i
			}
		}
		r.lost(Overflowed, len(r.messages[at].Events))
		r.messages = slices.Delete(r.messages, at, at+1)
	}
}

// deliver tries to send a message once, and notes how that went.
func (r *receiver) deliver(ctx context.Context, m message) {
	o := r.sender.send(ctx, m, r.options.Now())
	if ctx.Err() != nil && o.err != nil {
		return // it is kept, and sent after the next start
	}
	if told := r.note(m, o); told != "" { // without the lock: whoever hears it may take long
		r.options.Told(told, o.err != nil)
	}
	r.changed()
}

// note says what becomes of a message after a try, and what a person should know.
func (r *receiver) note(m message, o outcome) (told string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name, now := r.settings.Name, r.options.Now()
	at := slices.IndexFunc(r.messages, func(other message) bool { return other.ID == m.ID })
	if at < 0 {
		return "" // it gave way meanwhile, and was counted
	}
	r.messages[at].Tries++
	switch {
	case o.err == nil:
		r.options.Observe(name, Delivered)
		r.retry = time.Time{}
		if r.failing {
			r.failing, told = false, "notifications to "+name+" are delivered again"
		}
	case o.final:
		r.lost(Refused, len(m.Events))
		told = "the receiver " + name + " refuses a notification, which is dropped: " + o.err.Error()
	case now.Sub(m.Queued) >= r.settings.GiveUpAfter:
		r.lost(GaveUp, len(m.Events))
		told = "a notification to " + name + " was tried for too long and is dropped: " + o.err.Error()
	default:
		r.options.Observe(name, Retried)
		r.retry = now.Add(o.pause(r.messages[at].Tries))
		if !r.failing {
			r.failing, told = true, "notifications to "+name+" fail and are tried again: "+o.err.Error()
		}
		return told
	}
	r.messages = slices.Delete(r.messages, at, at+1)
	return told
}

// again tells an Alertmanager what still fires, lest it takes it for over. What
// holds no more, which another replica has told, is let go.
func (r *receiver) again(ctx context.Context) {
	r.mu.Lock()
	now := r.options.Now()
	if r.resend.IsZero() || r.resend.After(now) {
		r.mu.Unlock()
		return
	}
	firing := r.book.firing()
	r.resend = now.Add(r.settings.Resend)
	r.mu.Unlock()
	var holding, over []Event
	for _, e := range firing {
		if r.options.Holds(e.Key) { // without the lock: it may ask whoever notifies
			holding = append(holding, e)
		} else {
			over = append(over, e)
		}
	}
	r.let(over)
	if len(holding) > 0 {
		// Not tried again: the next resend is.
		if o := r.sender.send(ctx, newMessage(holding, now), now); o.err != nil {
			r.options.Observe(r.settings.Name, Retried)
		}
	}
	r.poke() // to set the timer
}

// let lets conditions go that are over, unless they are told of anew.
func (r *receiver) let(over []Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range over {
		if r.book.last[e.Key].ID == e.ID {
			delete(r.book.last, e.Key)
			r.changed()
		}
	}
}

func (r *receiver) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
