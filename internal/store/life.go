package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// Life is what engines have in common: what their Close waits for, and what is tried
// anew until then. It is safe for concurrent use; make it by NewLife.
type Life struct {
	Alive context.Context // ends with End

	end   context.CancelFunc
	mu    sync.Mutex // orders Enter before End
	group sync.WaitGroup
}

// NewLife begins one, which ends with ctx or by End.
func NewLife(ctx context.Context) *Life {
	l := &Life{}
	l.Alive, l.end = context.WithCancel(ctx)
	return l
}

// End ends Alive and waits for those who have entered.
func (l *Life) End() {
	l.mu.Lock()
	l.end()
	l.mu.Unlock()
	l.group.Wait()
}

// Enter makes End wait for the caller until Leave, unless it has begun.
func (l *Life) Enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Alive.Err() != nil {
		return false
	}
	l.group.Add(1)
	return true
}

// Leave ends what Enter began.
func (l *Life) Leave() { l.group.Done() }

// Go runs what End waits for. The caller has entered, or has the Life to itself.
func (l *Life) Go(run func()) { l.group.Go(run) }

// Join is a context that ends with ctx and with the life.
func (l *Life) Join(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(l.Alive, cancel)
	return ctx, func() { stop(); cancel() }
}

// Again runs what holds a lease under a key until ctx or the life ends: once lost, it
// is tried anew, as Breathe has it with longest, from the beginning where it lived for
// a lease. what is the attempt's name for problem.
func (l *Life) Again(ctx context.Context, what, key string, lease, longest time.Duration, problem func(error), hold func(context.Context) error) {
	if err := CheckKey(key); err != nil {
		problem(err) // a mistake that no waiting mends
		<-ctx.Done()
		return
	}
	if !l.Enter() {
		return
	}
	defer l.Leave()
	ctx, cancel := l.Join(ctx)
	defer cancel()
	for tries := 0; ctx.Err() == nil; tries++ {
		begun := time.Now()
		err := hold(ctx)
		if err != nil && ctx.Err() == nil {
			problem(fmt.Errorf("%w: %s of %s tries again", err, what, key))
		}
		if time.Since(begun) > lease {
			tries = 0
		}
		Breathe(ctx, tries, longest)
	}
}

// Followed is how an engine learns of the changes below a prefix: Read gives the
// records as they are, and Follow feeds their changes until it loses the thread.
type Followed struct {
	Read   func(context.Context) ([]Entry, int64, error)
	Follow func(ctx context.Context, entries []Entry, revision int64, feed *Feed) error
}

// Lived is how long a watch has to have gone on for its end to be the first.
const Lived = 2 * time.Second

// Watch implements Store.Watch: it reads, follows, and reads anew whenever the thread
// is lost.
func (l *Life) Watch(ctx context.Context, prefix string, f Followed, problem func(error)) <-chan []Event {
	out := make(chan []Event)
	feed := NewFeed()
	if !l.Enter() {
		close(out)
		return out
	}
	ctx, cancel := l.Join(ctx)
	l.Go(func() { feed.Deliver(ctx, out) })
	go func() {
		defer l.Leave()
		defer cancel()
		f.feed(ctx, prefix, feed, problem)
	}()
	return out
}

func (f *Followed) feed(ctx context.Context, prefix string, feed *Feed, problem func(error)) {
	for tries := 0; ctx.Err() == nil; tries++ {
		entries, revision, err := f.Read(ctx)
		if err == nil {
			begun := time.Now()
			feed.Replace(entries, revision)
			err = f.Follow(ctx, entries, revision, feed)
			if time.Since(begun) > Lived { // one that is refused at once is tried more and more seldom
				tries = 0
			}
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			problem(fmt.Errorf("%w: the watch of %s begins anew", err, prefix))
		}
		Breathe(ctx, tries, Seldom)
	}
}

// Seldom is how often what fails and fails is tried again.
const Seldom = 2 * time.Second

// Breathe waits before another try, 50 ms at first and longest in the end, with full
// jitter: many replicas lose one store at the same moment.
func Breathe(ctx context.Context, tries int, longest time.Duration) {
	longest = min(50*time.Millisecond<<min(tries, 10), longest)
	Pause(ctx, rand.N(longest)+time.Millisecond)
}

// Pause waits and reports whether ctx still lives.
func Pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// CheckKey holds a key against what every engine takes.
func CheckKey(key string) error {
	odd := func(r rune) bool { return r <= ' ' || r >= 0x7f }
	if !strings.HasPrefix(key, "/") || len(key) > 512 || strings.ContainsFunc(key, odd) {
		return fmt.Errorf("store: key %q: want up to 512 printable ASCII characters, the first a slash", key)
	}
	return nil
}
