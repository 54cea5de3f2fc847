// Package refresh keeps a safe default's body fresh out of band: it reads a
// file or a URL every interval, validates what it read and keeps the last good
// one. Who answers with it calls Body.Get, which does no I/O.
//
// A source that several policies name is read once, at the shortest of their
// intervals; each policy validates for itself.
package refresh

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/tenant"
)

// Defaults of Options' and policy.Refresh's fields that are 0.
const (
	DefaultMaxBytes = 1 << 20
	DefaultTimeout  = 10 * time.Second // of one read of a URL
	DefaultInterval = time.Minute
)

// Options says how sources are read.
type Options struct {
	MaxBytes int64         // of a body; a longer one is a failure
	Timeout  time.Duration // of one read of a URL
	Files    tenant.Files  // where files have to be
	// OnResult is told of each read of a source, once: of nil where it gave a
	// body that all its users find valid, else of what was wrong. It must not
	// call the registry. May be nil.
	OnResult func(source string, err error)
}

// Registry reads each source that is asked for once. It is safe for
// concurrent use.
type Registry struct {
	opt    Options
	ctx    context.Context //nolint:containedctx // the life of every source's goroutine
	cancel context.CancelFunc
	wg     sync.WaitGroup
	load   func(policy.Refresh) (loader, error)

	mu      sync.Mutex
	sources map[key]*source
}

// key names a source: one of the two is set.
type key struct{ file, url string }

// source is one file or URL with all that use it.
type source struct {
	name   string // for people: no credentials
	load   loader
	cancel context.CancelFunc
	wake   chan struct{} // the interval has changed

	// Guarded by Registry.mu.
	users map[*Body]struct{}
	last  []byte // what was read last, whether or not anybody found it valid; nil: nothing yet
}

// NewRegistry returns a registry that reads until ctx ends or Close is called.
func NewRegistry(ctx context.Context, opt Options) *Registry {
	if opt.MaxBytes <= 0 {
		opt.MaxBytes = DefaultMaxBytes
	}
	if opt.Timeout <= 0 {
		opt.Timeout = DefaultTimeout
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &Registry{opt: opt, ctx: ctx, cancel: cancel, sources: map[key]*source{}}
	r.load = r.loaderOf
	return r
}

// Acquire returns the body of a source, kept fresh until release is called.
// The first read is started and not waited for: until it succeeds Get has
// nothing, unless another policy has the source already. validate says what a
// good body is; it runs on one goroutine at a time and must not keep or change
// its argument; nil accepts everything that is not empty. An error means that
// cfg names no source that can be read.
func (r *Registry) Acquire(cfg policy.Refresh, validate func(body []byte) error) (body *Body, release func(), err error) {
	load, err := r.load(cfg)
	if err != nil {
		return nil, nil, err
	}
	if cfg.Interval <= 0 {
		cfg.Interval = policy.Duration(DefaultInterval)
	}
	b := &Body{interval: cfg.Interval.D(), validate: validate}
	k := key{cfg.File, cfg.URL}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sources[k]
	if !ok {
		s = r.start(nameOf(cfg), load)
		r.sources[k] = s
	}
	s.users[b] = struct{}{}
	if s.last != nil {
		b.offer(s.last)
	}
	s.changed()
	return b, sync.OnceFunc(func() { r.release(k, s, b) }), nil
}

func (r *Registry) release(k key, s *source, b *Body) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(s.users, b)
	if len(s.users) > 0 {
		s.changed()
		return
	}
	s.cancel()
	if r.sources[k] == s {
		delete(r.sources, k)
	}
}

// Close stops every source and waits until they have stopped. Bodies keep what
// they have.
func (r *Registry) Close() {
	r.cancel()
	r.wg.Wait()
}

func (r *Registry) start(name string, load loader) *source {
	ctx, cancel := context.WithCancel(r.ctx)
	s := &source{name: name, load: load, cancel: cancel, wake: make(chan struct{}, 1), users: map[*Body]struct{}{}}
	r.wg.Go(func() { r.run(ctx, s) })
	return s
}

func (s *source) changed() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run reads a source until ctx ends. Its users are there before it first reads
// their interval: start is called with the lock held.
func (r *Registry) run(ctx context.Context, s *source) {
	for ctx.Err() == nil {
		began := time.Now()
		r.once(ctx, s)
		if !r.rest(ctx, s, began) {
			return
		}
	}
}

// rest waits for the next reading, which is an interval after began. It
// reports whether there is to be one.
func (r *Registry) rest(ctx context.Context, s *source, began time.Time) bool {
	for {
		timer := time.NewTimer(time.Until(began.Add(r.interval(s))))
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
			return true
		case <-s.wake:
			timer.Stop()
		}
	}
}

func (r *Registry) interval(s *source) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	least := time.Duration(0)
	for b := range s.users {
		if least == 0 || b.interval < least {
			least = b.interval
		}
	}
	if least == 0 {
		return DefaultInterval
	}
	return least
}

// once reads the source and offers what it read to its users.
func (r *Registry) once(ctx context.Context, s *source) {
	ctx, cancel := context.WithTimeout(ctx, r.opt.Timeout)
	defer cancel()
	read, err := s.load(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		if r.ctx.Err() != nil || len(s.users) == 0 {
			return // being stopped is no failure
		}
		for b := range s.users {
			b.failed(err)
		}
		r.report(s, err)
		return
	}
	// The same bytes again are as good or bad as the first time.
	same := s.last != nil && bytes.Equal(read, s.last)
	s.last = read
	for b := range s.users {
		if same && b.seen {
			b.confirm()
		} else {
			b.offer(read)
		}
		if err == nil {
			err = b.rejected
		}
	}
	r.report(s, err)
}

func (r *Registry) report(s *source, err error) {
	if r.opt.OnResult != nil {
		r.opt.OnResult(s.name, err)
	}
}
