package extproc

import (
	"context"
	"fmt"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/budget"
	"github.com/safestate/safestate/internal/bulkhead"
	"github.com/safestate/safestate/internal/cache"
	"github.com/safestate/safestate/internal/ladder"
	"github.com/safestate/safestate/internal/refresh"
	"github.com/safestate/safestate/internal/telemetry"
	"github.com/safestate/safestate/internal/tenant"
)

// State is what outlives a policy: breakers, bulkheads, budgets, the cache,
// connections to fallback models. It is safe for concurrent use.
type State struct {
	Breakers  *breaker.Set
	Bulkheads *bulkhead.Set
	Ladder    *ladder.State

	store      string // of the cache, a label
	closeCache func()
}

// StateOptions are what a State is made of. Metrics is required.
type StateOptions struct {
	Metrics *telemetry.Metrics
	Log     *telemetry.Log
	// Redis is the URL of the shared cache; empty: a cache in the process of
	// at most CacheBytes.
	Redis string
	// RedisPasswordFile holds its password; empty: the URL does, or there is
	// none.
	RedisPasswordFile string
	CacheBytes        int64
	// Files is where the files that policies name have to be: a policy that names others
	// is refused.
	Files tenant.Files
}

// NewState makes an empty state. It connects to nothing: a Redis that is away
// keeps nobody from starting.
func NewState(o StateOptions) (*State, error) {
	if o.Log == nil {
		o.Log = telemetry.NopLog()
	}
	store, name, closeStore, err := newStore(o)
	if err != nil {
		return nil, err
	}
	s := &State{Bulkheads: bulkhead.NewSet(), store: name, closeCache: closeStore}
	s.Breakers = breaker.NewSet(time.Now, func(key string, c breaker.Change) {
		o.Metrics.BreakerChanged(key, c)
		o.Log.Warn().Str("breaker", key).Stringer("from", c.From).Stringer("to", c.To).
			Str("cause", string(c.Cause)).Msg("breaker changed")
	})
	o.Metrics.Breakers(s.Breakers)
	o.Metrics.Bulkheads(func(emit func(string, int, uint64)) {
		s.Bulkheads.Each(func(key string, b *bulkhead.Bulkhead) { emit(key, b.InFlight(), b.Refused()) })
	})
	s.Ladder = &ladder.State{
		Breakers: s.Breakers, Bulkheads: s.Bulkheads, Budgets: budget.NewSet(),
		Cache: store, CacheRemote: name == telemetry.StoreRedis, Flights: cache.NewFlights(0, 0),
		Files: o.Files,
		Refreshed: refresh.NewRegistry(context.Background(), refresh.Options{
			Files: o.Files,
			OnResult: func(source string, err error) {
				if err == nil {
					o.Metrics.Refresh(telemetry.OK)
					return
				}
				o.Metrics.Refresh(telemetry.Error)
				o.Log.Warn().Err(err).Str("source", source).Msg("a default's body could not be refreshed, the last good one stays")
			},
		}),
		OnProblem: func(model string, err error) {
			if err != nil {
				o.Log.Error().Err(err).Str("model", model).Msg("files of a fallback model cannot be used")
				return
			}
			o.Log.Info().Str("model", model).Msg("files of a fallback model can be used again")
		},
	}
	return s, nil
}

// Check says what is wrong with the options, as far as it can be told without the
// others' help.
func (o StateOptions) Check() error {
	if o.Redis == "" {
		return nil
	}
	if err := cache.CheckURL(o.Redis); err != nil {
		return fmt.Errorf("--redis: %w", err)
	}
	return nil
}

// newStore makes the cache's store. close ends it.
func newStore(o StateOptions) (store cache.Store, name string, closeStore func(), err error) {
	if o.Redis == "" {
		m, err := cache.NewMemory(cache.MemoryOptions{Bytes: o.CacheBytes})
		if err != nil {
			return nil, "", nil, err
		}
		o.Metrics.CacheSize(
			func() float64 { return float64(m.Stats().Entries) },
			func() float64 { return float64(m.Stats().Bytes) })
		return m, telemetry.StoreMemory, m.Close, nil
	}
	r, err := cache.NewRedis(cache.RedisOptions{
		URL: o.Redis, PasswordFile: o.RedisPasswordFile,
		OnLink: func(err error) {
			if err != nil {
				o.Log.Error().Err(err).Msg("the shared cache is away, its rung is skipped")
				return
			}
			o.Log.Info().Msg("connected to the shared cache")
		},
	})
	if err != nil {
		return nil, "", nil, fmt.Errorf("--redis: %w", err)
	}
	return r, telemetry.StoreRedis, r.Close, nil
}

// Close ends what runs in the background. The Server that uses s must be
// closed before.
func (s *State) Close() {
	s.Ladder.Close()
	s.closeCache()
}
