package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/store"
)

// put writes a target's next state over the one that it was made from; it is in
// force then. With store.ErrConflict somebody else was first, and get says what
// there is now, unless that cannot be read: then the error says so too.
func (b *killBook) put(ctx context.Context, from killPage, next kill.State) error {
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	over, err := b.over(from, next)
	if err != nil {
		return err
	}
	entry, err := b.store.Put(ctx, killKey(next.Target), text, over)
	if errors.Is(err, store.ErrConflict) {
		return errors.Join(err, b.reread(ctx, next.Target))
	}
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.broken, next.Target.Key())
	if b.pages[next.Target].revision >= entry.Revision {
		return nil // the watch has told of it, or of a later one
	}
	if now := b.pages[next.Target].state; now.Sequence != from.state.Sequence {
		// a kill that was taken here meanwhile, without the store
		next = kill.Reconcile(now, next, kill.Moment{At: time.Now().UTC(), Replica: b.replica})
		b.unsaved[next.Target] = true
	} else {
		delete(b.unsaved, next.Target)
	}
	b.keep(killPage{next, entry.Revision})
	b.enforce()
	return nil
}

// over is the revision that a state is written over. What nobody can read is
// overwritten by a kill alone: it may say that the target is killed.
func (b *killBook) over(from killPage, next kill.State) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	bad, is := b.broken[next.Target.Key()]
	switch {
	case !is:
		return from.revision, nil
	case !next.Killed:
		return 0, bad.err
	default:
		return bad.revision, nil
	}
}

// spoiled reports whether nobody can read what the store has of a target.
func (b *killBook) spoiled(t kill.Target) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, is := b.broken[t.Key()]
	return is
}

// reread takes over what the store has of a target now. That may be an older one
// than is known: the store was set back.
func (b *killBook) reread(ctx context.Context, t kill.Target) error {
	before := b.get(t).revision
	entry, err := b.store.Get(ctx, killKey(t))
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.pages[t].revision != before: // told otherwise meanwhile
		return nil
	case errors.Is(err, store.ErrNotFound):
		b.gone(t.Key(), t)
		return nil
	case err != nil:
		return err
	}
	changed, err := b.accept(t.Key(), entry)
	if changed {
		b.enforce()
	}
	return err
}

// alone is a kill without the store: it is in force when alone returns. The local
// copy has it, and not the disk before that is flushed.
func (b *killBook) alone(o kill.Order, t kill.Target) kill.State {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, known := b.pages[t]
	if !known {
		p.state = kill.New(t)
	}
	next := kill.Kill(p.state, o)
	b.keep(killPage{next, p.revision})
	b.unsaved[t] = true
	b.enforce()
	return next
}

// stored reports whether the store has the newest state of a target.
func (b *killBook) stored(t kill.Target) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pages[t].revision != 0 && !b.unsaved[t]
}

// lost returns the targets whose newest state is not in the store.
func (b *killBook) lost() []kill.Target {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []kill.Target
	for t, is := range b.unsaved {
		if is {
			out = append(out, t)
		}
	}
	return out
}

// save writes what the store has lost, or could not take. An error is of what is not
// written: one target's keeps none of the others from it.
func (b *killBook) save(ctx context.Context) error {
	if !b.ready() {
		return nil
	}
	var left []error
	for _, t := range b.lost() {
		from := b.get(t)
		err := b.put(ctx, from, from.state)
		switch {
		case err == nil:
		case errors.Is(err, store.ErrUnavailable):
			return err
		case errors.Is(err, store.ErrConflict) && !b.spoiled(t): // the next time, from what there is now
		default:
			left = append(left, fmt.Errorf("%s: %w", t, err))
		}
	}
	return errors.Join(left...)
}
