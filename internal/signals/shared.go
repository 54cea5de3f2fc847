package signals

import (
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

// Breakers that all hosts share: where each host sees too little of a version for
// its own breaker to open, all together may see enough.
//
// What opens one is less than what all hosts say. Four things are held against
// it, since a shared breaker that opens wrongly takes a version away everywhere:
//
//   - Every host's clean answers count. Answers are weighed gatherFor after the
//     first of them came, which is twice as long as any host holds its counts back,
//     and of those that came together nobody knows the order: a clean one ends a
//     row of failures whenever it came, and failures beside it are no row.
//   - One host's failures count no more than those of all others together: of its
//     10 beside 3 of others, 3. A host whose own network fails sees failures only,
//     and alone it opens nothing. Its own breaker is there for that.
//   - A failure that a policy blames on a dependency is the dependency's.
//   - Only failures are shared. How long answers take differs from host to host by
//     where it stands, so slow calls open a host's own breaker only.

const (
	gatherFor = 200 * time.Millisecond
	// mostFed bounds the answers that are weighed at once; more are scaled down.
	mostFed = 1000
	// rateMemory is how long a rate remembers who failed, where it has no time
	// window of its own.
	rateMemory = time.Minute
	// echo is by how much an opening must outlast the one that is known to be
	// passed on: what two hubs tell each other ends.
	echo = time.Second
)

// shared holds the breakers. The hub's lock guards it.
type shared struct {
	byKey   map[string]*sharedBreaker
	open    map[string]time.Time // what hosts have been told, and until when
	weigher *time.Timer          // nil: nothing waits to be weighed
}

func (s *shared) init() {
	s.byKey, s.open = map[string]*sharedBreaker{}, map[string]time.Time{}
}

func (s *shared) stop() {
	if s.weigher != nil {
		s.weigher.Stop()
	}
}

// sharedBreaker is the breaker of one version for all hosts.
type sharedBreaker struct {
	settings policy.Breaker
	rules    []*rule
	clean    uint64            // since answers were last weighed
	bad      map[string]uint64 // by reporter
	until    time.Time         // hosts recover by themselves until then
}

// rule is one of a breaker's rules with a breaker of its own: what a clean answer
// means for who failed differs.
type rule struct {
	settings policy.Breaker
	row      bool // failures in a row: a clean answer wipes out who failed
	memory   time.Duration

	breaker *breaker.Breaker
	failed  map[string]uint64 // by reporter
	counted uint64            // of those, the ones that count
	began   time.Time         // when failed was last empty
}

// Breakers sets the breakers that hosts share, by breaker.VersionKey; those of
// other keys are dropped. A hub without any opens none: one that does not lead sees
// a part of the evidence only, and passes on what the one that leads opens.
func (h *Hub) Breakers(settings map[string]policy.Breaker) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key := range h.shared.byKey {
		if _, kept := settings[key]; !kept {
			delete(h.shared.byKey, key)
		}
	}
	for key, cfg := range settings {
		if known := h.shared.byKey[key]; known == nil || known.settings != cfg {
			h.shared.byKey[key] = newSharedBreaker(cfg)
		}
	}
}

func newSharedBreaker(cfg policy.Breaker) *sharedBreaker {
	b := &sharedBreaker{settings: cfg, bad: map[string]uint64{}}
	if cfg.Hold != policy.HoldNone {
		return b // held by hand
	}
	rates := cfg.FailurePercent > 0
	if slow := cfg.SlowCallPercent > 0 && cfg.SlowCall > 0; cfg.Failures > 0 || !rates && !slow {
		b.rules = append(b.rules, &rule{row: true, settings: policy.Breaker{Failures: cfg.Failures, Recovery: cfg.Recovery}})
	}
	if rates {
		own := cfg
		own.Failures, own.SlowCall, own.SlowCallPercent = 0, 0, 0
		memory := rateMemory
		if cfg.Window > 0 {
			memory = cfg.Window.D()
		}
		b.rules = append(b.rules, &rule{memory: memory, settings: own})
	}
	for _, r := range b.rules {
		r.renew()
	}
	return b
}

func (r *rule) renew() {
	r.breaker, r.failed, r.counted = breaker.New(r.settings, nil), map[string]uint64{}, 0
}

// feed notes what a row has more.
func (h *Hub) feed(row *hubRow, more *tally, now time.Time) {
	if len(h.shared.byKey) == 0 || h.isClosing() {
		return
	}
	clean, bad := more.clean(), more.bad()
	bad -= min(bad, more[detectorsAt+slotOf(string(verdict.Dependency))])
	if clean == 0 && bad == 0 {
		return
	}
	b := h.shared.byKey[row.version.key]
	if b == nil || now.Before(b.until) {
		return
	}
	b.clean += clean
	if bad > 0 {
		b.bad[row.reporter.name] += bad
	}
	if h.shared.weigher == nil {
		h.shared.weigher = time.AfterFunc(gatherFor, h.weigh)
	}
}

// weigh weighs what has come in of all versions.
func (h *Hub) weigh() {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shared.weigher = nil
	for key, b := range h.shared.byKey {
		if b.weigh(now) {
			recovery := b.settings.Recovery.D()
			if recovery <= 0 {
				recovery = breaker.DefaultRecovery
			}
			b.until = now.Add(recovery)
			h.spread(key, b.until, now)
		}
	}
}

// weigh reports whether the answers that have come open the breaker.
func (b *sharedBreaker) weigh(now time.Time) (opens bool) {
	for _, r := range b.rules {
		opens = r.weigh(b.clean, b.bad, now) || opens
	}
	b.clean = 0
	clear(b.bad)
	if opens {
		for _, r := range b.rules {
			r.renew()
		}
	}
	return opens
}

func (r *rule) weigh(clean uint64, bad map[string]uint64, now time.Time) (opens bool) {
	if clean > 0 && r.row || !r.row && now.Sub(r.began) >= r.memory {
		clear(r.failed)
		r.counted = 0
	}
	if r.row && clean > 0 {
		bad = nil
	}
	if len(r.failed) == 0 {
		r.began = now
	}
	for reporter, n := range bad {
		r.failed[reporter] += n
	}
	counted := countable(r.failed)
	failures := counted - r.counted
	r.counted = counted
	for _, o := range mixed(clean, failures) {
		permit, ok := r.breaker.Allow()
		if !ok {
			break
		}
		permit.Done(o, 0)
	}
	return r.breaker.State() == breaker.Open
}

// countable is how many failures count when no reporter counts more than all
// others together. It never gets less as failures come.
func countable(failed map[string]uint64) uint64 {
	var all, most uint64
	for _, n := range failed {
		all += n
		most = max(most, n)
	}
	return min(all, 2*(all-most))
}

// mixed puts answers whose order nobody knows in an even one, no more than
// mostFed of them.
func mixed(clean, bad uint64) []breaker.Outcome {
	all := clean + bad
	if all > mostFed {
		bad = (bad*mostFed + all - 1) / all
		all = mostFed
	}
	out := make([]breaker.Outcome, all)
	for i := range all {
		if (i+1)*bad/all > i*bad/all {
			out[i] = breaker.Failure
		}
	}
	return out
}

// spread tells every stream to open a breaker, and remembers it for those to come.
func (h *Hub) spread(key string, until, now time.Time) {
	for k, u := range h.shared.open {
		if !u.After(now) {
			delete(h.shared.open, k)
		}
	}
	if known, ok := h.shared.open[key]; ok && until.Sub(known) < echo || len(h.shared.open) >= mostVersions {
		return
	}
	h.shared.open[key] = until
	for box := range h.boxes {
		box.open(key, until)
	}
}
