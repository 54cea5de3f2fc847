package access

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/safestate/safestate/internal/strictyaml"
)

// recheck is how often the file is read. What is new is used when it is read a second
// time: so twice that is the longest that a token which is taken out of it goes on.
const recheck = time.Second

// Options are what a Gate is opened with. All may be left out.
type Options struct {
	// Told hears what a person should know, once: that a changed file is not used
	// (bad) or used, and that an issuer cannot be reached or can be again. Default:
	// nobody.
	Told func(text string, bad bool)
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Gate says who asks by an access file, as it is now. Safe for concurrent use.
type Gate struct {
	path    string
	told    func(text string, bad bool)
	now     func() time.Time
	current atomic.Pointer[policy]

	mu   sync.Mutex
	used reading // what is current
	last reading // what was read last
	bad  error   // what is wrong with that; nil: it is current
}

// reading is what the file and those beside it had at a time.
type reading struct {
	policy *policy
	digest [sha256.Size]byte // of all of them
	err    error             // what is wrong with them; nil: they can be used
}

func (r reading) same(other reading) bool {
	if r.err != nil || other.err != nil {
		return r.err != nil && other.err != nil && r.err.Error() == other.err.Error()
	}
	return r.digest == other.digest
}

// Open reads an access file. One that is wrong is an error here; later on the
// last good one stays.
func Open(path string, o Options) (*Gate, error) {
	g := &Gate{path: path, told: o.Told, now: o.Now}
	if g.told == nil {
		g.told = func(string, bool) {}
	}
	if g.now == nil {
		g.now = time.Now
	}
	g.used = g.read()
	if g.used.err != nil {
		return nil, g.used.err
	}
	g.last = g.used
	g.current.Store(g.used.policy)
	return g, nil
}

// read reads the file and those beside it.
func (g *Gate) read() reading {
	data, err := strictyaml.Read(g.path)
	if err == nil && len(bytes.TrimSpace(data)) == 0 {
		err = fmt.Errorf("%s: is empty: want who may do what, or a comment that says that nobody may", g.path)
	}
	if err != nil {
		return reading{err: err}
	}
	p, err := parse(g.path, data, g.now)
	if err != nil {
		return reading{err: err}
	}
	all := sha256.New()
	_, _ = all.Write(data) // a hash takes everything
	for _, b := range p.beside {
		_, _ = all.Write(b.digest[:])
	}
	return reading{policy: p, digest: [sha256.Size]byte(all.Sum(nil))}
}

// Run follows the file and the issuers' keys until ctx ends.
func (g *Gate) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { g.followKeys(ctx) })
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			g.Reload()
		}
	}
}

// Reload reads the file again, and those beside it. What is new is used when two
// readings agree: one that is half written may say less of whom it keeps out.
func (g *Gate) Reload() {
	g.mu.Lock()
	defer g.mu.Unlock()
	before, now := g.last, g.read()
	g.last = now
	switch {
	case !now.same(before):
		return
	case now.err != nil:
		g.refuse(now.err)
		return
	case now.same(g.used) && g.bad == nil:
		return
	}
	now.policy.keep(g.current.Load())
	g.current.Store(now.policy)
	g.used, g.bad = now, nil
	g.told(fmt.Sprintf("the access file %s has changed and is used", g.path), false)
}

// refuse keeps the last good file, and says so once for each mistake.
func (g *Gate) refuse(err error) {
	if g.bad == nil || g.bad.Error() != err.Error() {
		g.told(fmt.Sprintf("the access file is not used as it is now, the last good one stays: %v", err), true)
	}
	g.bad = err
}

// Problem is what is wrong with the file as it is now; nil: it is in use.
func (g *Gate) Problem() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.bad
}

// keep takes over the keys of issuers that are still the same.
func (p *policy) keep(was *policy) {
	for i, made := range p.issuers {
		for _, old := range was.issuers {
			if made.same(old) {
				p.issuers[i] = old
			}
		}
	}
}

// followKeys reads the issuers' keys at the start and from time to time. One that
// cannot be reached is told once, and once it is back.
func (g *Gate) followKeys(ctx context.Context) {
	lost := map[string]bool{}
	tick := time.NewTicker(refreshKeys)
	defer tick.Stop()
	for {
		for _, i := range g.current.Load().issuers {
			name := i.settings.Name
			err := i.keys.fetch(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil && !lost[name]:
				g.told(fmt.Sprintf("the keys of the issuer %s cannot be read: %v", name, err), true)
			case err == nil && lost[name]:
				g.told(fmt.Sprintf("the keys of the issuer %s are read again", name), false)
			}
			lost[name] = err != nil
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Authenticate says who sends a request.
func (g *Gate) Authenticate(r *http.Request) (Principal, error) {
	return g.current.Load().authenticate(r.Context(), OfRequest(r))
}

// AuthenticateRPC says who makes a gRPC call.
func (g *Gate) AuthenticateRPC(ctx context.Context) (Principal, error) {
	return g.current.Load().authenticate(ctx, OfRPC(ctx))
}

// Approvals returns how many other persons have to approve a revive: 0 or 1.
func (g *Gate) Approvals(t Target) int { return g.current.Load().approvals(t) }
