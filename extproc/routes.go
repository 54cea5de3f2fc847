package extproc

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/safestate/safestate/internal/policy"
)

// idle is how long a route that nobody pinned is kept without a request.
const idle = 10 * time.Minute

// maxRoutes bounds the routes kept: past it a request with an unseen policy is
// refused, upon which Envoy does what the route says for a processor that is
// away. It is far above what one replica serves, and keeps whoever can dial
// the processor from filling its memory.
const maxRoutes = 10_000

// maxBad bounds the policies that are remembered as unreadable, and what they
// may hold: whoever can dial the processor could send any.
const maxBad = 1000

var errTooManyRoutes = errors.New("safestate: more policies than one processor keeps")

// routes caches routes by the text of their policy.
type routes struct {
	server *Server
	state  *State
	gate   *gate

	mu     sync.RWMutex
	byText map[string]*route
	digest map[string]*route // the same by policy.Digest of the text
	bad    map[string]error  // policies that do not compile, so that each is tried once
	pinned map[string]bool
	// inForce is, by a route's name, which of its policies requests came with last.
	inForce map[string]*atomic.Pointer[route]

	stop chan struct{}
	done sync.WaitGroup
}

func newRoutes(s *Server, state *State, g *gate) *routes {
	r := &routes{
		server: s, state: state, gate: g,
		byText: map[string]*route{}, digest: map[string]*route{}, bad: map[string]error{}, pinned: map[string]bool{}, inForce: map[string]*atomic.Pointer[route]{},
		stop: make(chan struct{}),
	}
	r.done.Go(r.sweep)
	return r
}

// get returns the route of the policy that a request brings, building it the
// first time. Nothing is made of a policy that the gate does not admit.
func (r *routes) get(c *carried) (*route, error) {
	switch {
	case c.policy == "":
		return nil, errNoPolicy
	case len(c.policy) > policy.MaxBytes:
		return nil, policy.ErrTooLarge
	}
	r.mu.RLock()
	found := r.byText[c.policy]
	r.mu.RUnlock()
	if found != nil && r.gate.known(found, c) {
		return r.use(found), nil
	}
	admitted, err := r.gate.admit(c)
	if err != nil {
		return nil, err
	}
	if found, err = r.of(c.policy); err != nil {
		if refused := (*refusedError)(nil); errors.As(err, &refused) {
			return nil, r.gate.count(refused, c.route)
		}
		return nil, err
	}
	found.keep(admitted)
	return r.use(found), nil
}

// use notes that requests come with a policy, which makes it the one in force.
func (r *routes) use(found *route) *route {
	found.touch()
	if found.inForce.Load() != found {
		r.mu.Lock()
		defer r.mu.Unlock()
		if found.inForce.Load() != found {
			found.inForce.Store(found)
			found.configure(r.state)
		}
	}
	return found
}

// of returns the route of a policy that is trusted.
func (r *routes) of(text string) (*route, error) {
	r.mu.RLock()
	found, err := r.byText[text], r.bad[text]
	r.mu.RUnlock()
	if found != nil {
		found.touch()
		return found, nil
	}
	if err != nil {
		return nil, err
	}
	return r.build(text)
}

// build makes a route without holding anybody up. Of two that are made at once
// for one policy the first is kept.
func (r *routes) build(text string) (*route, error) {
	built, err := r.compile(text)
	r.mu.Lock()
	defer r.mu.Unlock()
	if found := r.byText[text]; found != nil {
		if built != nil {
			built.ladder.Close()
		}
		return found, nil
	}
	if err == nil && len(r.byText) >= maxRoutes {
		built.ladder.Close()
		err = errTooManyRoutes
	}
	if err != nil {
		if len(r.bad) < maxBad {
			r.bad[text] = err
			if refused := (*refusedError)(nil); !errors.As(err, &refused) { // who counts it logs it
				r.server.log.BadPolicy(err)
			}
		}
		return nil, err
	}
	built.touch()
	if built.inForce = r.inForce[built.policy.Route]; built.inForce == nil {
		built.inForce = &atomic.Pointer[route]{}
		r.inForce[built.policy.Route] = built.inForce
	}
	built.inForce.Store(built) // it was configured when it was made
	r.byText[text] = built
	r.digest[policy.Digest(text)] = built
	return built, nil
}

func (r *routes) compile(text string) (*route, error) {
	p, err := policy.Parse(text)
	if err == nil {
		err = refuseFiles(r.state.Ladder.Files, p)
	}
	if err != nil {
		return nil, err
	}
	built, err := newRoute(p, r.server.metrics, r.state, r.server.signals)
	if err == nil {
		built.text, built.head = text, policy.DigestHead(text)
	}
	return built, err
}

// pin builds the routes of policies and keeps these, and no earlier ones,
// whether or not requests come. With an error the earlier ones stay pinned.
func (r *routes) pin(policies []*policy.Policy) error {
	pinned := make(map[string]bool, len(policies))
	for _, p := range policies {
		text, err := p.Marshal()
		if err == nil {
			_, err = r.of(string(text))
		}
		if err != nil {
			return fmt.Errorf("policy %s on route %s: %w", p.Name, p.Route, err)
		}
		pinned[string(text)] = true
	}
	r.mu.Lock()
	r.pinned = pinned
	r.mu.Unlock()
	return nil
}

// sweep forgets routes without requests.
func (r *routes) sweep() {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-r.stop:
			return
		case now := <-tick.C:
			for _, old := range r.expired(now) {
				old.ladder.Close()
			}
		}
	}
}

func (r *routes) expired(now time.Time) []*route {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.bad)
	var out []*route
	for text, route := range r.byText {
		if !r.pinned[text] && now.Sub(time.Unix(0, route.lastUsed.Load())) > idle {
			delete(r.byText, text)
			delete(r.digest, policy.Digest(text))
			out = append(out, route)
		}
	}
	names := map[string]bool{}
	for _, route := range r.byText {
		names[route.policy.Route] = true
	}
	maps.DeleteFunc(r.inForce, func(name string, _ *atomic.Pointer[route]) bool { return !names[name] })
	return out
}

func (r *routes) close() {
	close(r.stop)
	r.done.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, route := range r.byText {
		route.ladder.Close()
	}
	clear(r.byText)
	clear(r.digest)
}

// byDigest returns the route of a policy that is pinned or was admitted not long
// ago; nil: there is none.
func (r *routes) byDigest(digest string) *route {
	r.mu.RLock()
	found := r.digest[digest]
	pinned := found != nil && r.pinned[found.text]
	r.mu.RUnlock()
	if found == nil || !pinned && !r.gate.stands(found) {
		return nil
	}
	return r.use(found)
}

// named returns the route of a name that was used last; nil: there is none.
func (r *routes) named(name string) (found *route) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, route := range r.byText {
		if route.policy.Route == name && (found == nil || route.lastUsed.Load() > found.lastUsed.Load()) {
			found = route
		}
	}
	return found
}

// touch notes a use, to the second: a busy route does not share a cache line's
// writes for nothing.
func (r *route) touch() {
	now := time.Now().UnixNano()
	if now-r.lastUsed.Load() > int64(time.Second) {
		r.lastUsed.Store(now)
	}
}
