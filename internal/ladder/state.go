package ladder

import (
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/budget"
	"github.com/safestate/safestate/internal/bulkhead"
	"github.com/safestate/safestate/internal/cache"
	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/fallback"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/local"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/refresh"
	"github.com/safestate/safestate/internal/tenant"
)

// State is what the ladders of all policies share, and what outlives a change
// of a policy: breakers, budgets, the cache, connections to fallback models,
// refreshed bodies. It is safe for concurrent use.
type State struct {
	Breakers  *breaker.Set
	Bulkheads *bulkhead.Set
	Budgets   *budget.Set
	Cache     cache.Store
	// CacheRemote: the store is not in the process.
	CacheRemote bool
	Flights     *cache.Flights
	Refreshed   *refresh.Registry
	// Kills is what no rung asks, and whose answers none gives; nil: nothing is
	// killed.
	Kills *kill.Live
	// Calls counts a call that is about to be made, until over is called: what is in
	// flight to what is killed. It is called before it is looked whether the model is.
	// nil: nobody counts.
	Calls func(route, model, version string) (over func())
	// Files is where the files that policies name have to be.
	Files tenant.Files
	// OnProblem is told of files of fallback models that cannot be read. May
	// be nil.
	OnProblem func(model string, err error)

	mu      sync.Mutex
	clients map[string]*shared
	closing sync.WaitGroup // clients that nobody uses any more
}

// calls counts a call at the place that it has.
func (s *State) calls(p *place, route, model, version string) {
	if s.Calls != nil {
		p.over = s.Calls(route, model, version)
	}
}

// effect is what kills leave, now, of a version's answers on a route.
func (s *State) effect(route, model, version string) kill.Effect {
	if s.Kills == nil {
		return kill.Effect{Percent: 100}
	}
	set, _ := s.Kills.Load()
	return set.Of(route, model, version, time.Now())
}

// shared is a client with the number of ladders that use it.
type shared struct {
	client *fallback.Client
	users  int
}

// client returns the client of a fallback model; equal settings share one, so
// that a change elsewhere in a policy keeps its connections.
func (s *State) client(cfg *policy.Fallback) (*fallback.Client, error) {
	key, err := clientKey(cfg)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.clients[key]; ok {
		c.users++
		return c.client, nil
	}
	c, err := fallback.New(*cfg, fallback.Options{Files: s.Files, OnProblem: func(err error) {
		if s.OnProblem != nil {
			s.OnProblem(cfg.Model, err)
		}
	}})
	if err != nil {
		return nil, err
	}
	if s.clients == nil {
		s.clients = map[string]*shared{}
	}
	s.clients[key] = &shared{client: c, users: 1}
	return c, nil
}

// release gives a client back; the last user closes it.
func (s *State) release(cfg *policy.Fallback) {
	key, err := clientKey(cfg)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[key]
	if c == nil {
		return
	}
	if c.users--; c.users == 0 {
		delete(s.clients, key)
		s.closing.Go(c.client.Close) // waits for a probe under way
	}
}

func clientKey(cfg *policy.Fallback) (string, error) {
	text, err := json.Marshal(cfg)
	return string(text), err
}

var (
	errNoDefault = errors.New("ladder: the policy has no safeDefault")
	errNoStream  = errors.New("ladder: the policy does not bound its streams")
)

// New builds a policy's ladder. Close gives back what it holds of s.
func New(p *policy.Policy, d *detect.Detector, s *State, o Observer) (*Ladder, error) {
	if p.Protocol == policy.OpenAI && p.Stream == nil {
		return nil, errNoStream
	}
	l := &Ladder{policy: p, detector: d, observer: o, refusal: ofLocal(local.Refusal(p)), chat: p.Protocol == policy.OpenAI}
	for i := range p.Ladder {
		if err := l.add(&p.Ladder[i], s); err != nil {
			l.Close()
			return nil, err
		}
	}
	if l.last == nil {
		l.Close()
		return nil, errNoDefault
	}
	if p.Budget != nil {
		l.budget = s.Budgets.Get(p.Route, *p.Budget)
	}
	return l, nil
}

func (l *Ladder) add(cfg *policy.Rung, s *State) error {
	switch {
	case cfg.Cache != nil:
		c, err := newCacheRung(cfg.Cache, l, s)
		if err != nil {
			return err
		}
		l.cache = c
		if cfg.Cache.When == policy.First {
			l.first = &firstRung{c}
		}
		l.rungs = append(l.rungs, c)
	case cfg.Fallback != nil:
		r, err := newModelRung(cfg.Fallback, l, s)
		if err != nil {
			return err
		}
		l.closers = append(l.closers, func() { s.release(cfg.Fallback) })
		l.rungs = append(l.rungs, r)
	case cfg.Rules != nil:
		r, err := newRulesRung(cfg.Rules, l.detector)
		if err != nil {
			return err
		}
		l.rungs = append(l.rungs, r)
	case cfg.SafeDefault != nil:
		r, release, err := newSafeDefaultRung(cfg.SafeDefault, l.detector, s.Refreshed)
		if err != nil {
			return err
		}
		l.closers = append(l.closers, release)
		l.last = r
	}
	return nil
}

// Configure gives what outlives policies the settings of this one's: the fallback
// models' breakers and bulkheads, and the budget.
func (l *Ladder) Configure(s *State) {
	for i := range l.policy.Ladder {
		if cfg := l.policy.Ladder[i].Fallback; cfg != nil && cfg.Breaker != nil {
			s.Breakers.Get(BreakerKeyRung(cfg.Model), *cfg.Breaker)
		}
		if cfg := l.policy.Ladder[i].Fallback; cfg != nil && cfg.MaxConcurrent > 0 {
			s.Bulkheads.Get("rung/"+cfg.Model, cfg.MaxConcurrent)
		}
	}
	if cfg := l.policy.Budget; cfg != nil {
		s.Budgets.Get(l.policy.Route, *cfg)
	}
}

// Close ends the background work that no ladder holds any more. Ladders
// must be closed before.
func (s *State) Close() {
	s.Flights.Close()
	s.Refreshed.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		c.client.Close()
	}
	clear(s.clients)
	s.closing.Wait()
}
