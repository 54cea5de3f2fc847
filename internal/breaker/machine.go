package breaker

import "github.com/safestate/safestate/internal/time"

// grant is what the machine remembers of an admitted request: the generation
// of the state that admitted it (0 never counts) and, half-open, its slot.
type grant struct {
	generation uint64
	slot       uint64 // half-open only; 0: none
}

// slot is a half-open request that has not finished.
type slot struct {
	id     uint64
	issued time.Time
}

// machine is the decision. It has no clock and no lock: it is not safe for
// concurrent use, and every method takes the present time.
type machine struct {
	rules      rules
	state      State
	cause      Cause // of the latest change
	generation uint64
	since      time.Time     // when state was entered
	openFor    time.Duration // of an open state that ends before the recovery time; 0: none

	// Closed.
	consecutive int
	window      window
	ramping     bool
	credit      float64 // requests that the ramp owes; 1 admits one

	// Half-open.
	slots     []slot
	lastSlot  uint64
	succeeded int
	slow      int
}

// leastShare is what a ramp begins with: enough that a failure shows soon,
// little enough that a model which is still starting is not drowned.
const leastShare = 0.1

func newMachine(r rules, now time.Time) machine {
	return machine{rules: r, generation: 1, since: now, window: newWindow(r.window, now)}
}

// allow decides one request.
func (m *machine) allow(now time.Time) (grant, bool) {
	if m.state == Open {
		if now.Sub(m.since) < m.recovery() {
			return grant{}, false
		}
		m.enter(HalfOpen, CauseRecoveryOver, now)
	}
	if m.state == HalfOpen {
		return m.allowHalfOpen(now)
	}
	if m.ramping && !m.admitRamp(now) {
		return grant{}, false
	}
	return grant{generation: m.generation}, true
}

// recovery is how long the open state lasts.
func (m *machine) recovery() time.Duration {
	if m.openFor > 0 {
		return min(m.openFor, m.rules.recovery)
	}
	return m.rules.recovery
}

// trip opens a closed machine for d, or for the recovery time where that is less
// or d is 0. One that is open or half-open knows by itself, and goes on.
func (m *machine) trip(d time.Duration, now time.Time) {
	if m.state != Closed {
		return
	}
	m.enter(Open, CauseShared, now)
	m.openFor = max(d, 0)
}

// allowHalfOpen admits as many requests as have still to succeed. A request
// that did not finish within the recovery time has lost its slot.
func (m *machine) allowHalfOpen(now time.Time) (grant, bool) {
	if m.succeeded+len(m.slots) >= m.rules.halfOpenRequests {
		kept := m.slots[:0]
		for _, s := range m.slots {
			if now.Sub(s.issued) < m.rules.recovery {
				kept = append(kept, s)
			}
		}
		m.slots = kept
		if m.succeeded+len(m.slots) >= m.rules.halfOpenRequests {
			return grant{}, false
		}
	}
	m.lastSlot++
	m.slots = append(m.slots, slot{m.lastSlot, now})
	return grant{m.generation, m.lastSlot}, true
}

// admitRamp admits the share of requests that the ramp has grown to, evenly:
// the credit gains the share with every request and pays one for each that is
// admitted. The first request after half-open is always admitted.
func (m *machine) admitRamp(now time.Time) bool {
	s := m.share(now)
	if s >= 1 {
		m.ramping = false
		return true
	}
	m.credit += s
	if m.credit < 1 {
		return false
	}
	m.credit--
	return true
}

// share is the part of requests that a closed machine admits.
func (m *machine) share(now time.Time) float64 {
	if !m.ramping || m.rules.ramp <= 0 {
		return 1
	}
	return min(1, max(leastShare, float64(now.Sub(m.since))/float64(m.rules.ramp)))
}

// done takes a result. One that another state admitted does not count.
func (m *machine) done(g grant, o Outcome, latency time.Duration, now time.Time) {
	if g.generation != m.generation {
		return
	}
	if m.state == HalfOpen {
		m.doneHalfOpen(g, o, latency, now)
		return
	}
	if o == Ignored || m.state == Open {
		return
	}
	m.consecutive++
	if o == Success {
		m.consecutive = 0
	}
	if m.rules.windowed() {
		m.window.record(o == Failure, m.isSlow(latency), now)
	}
	if cause := m.trips(o, now); cause != "" {
		m.enter(Open, cause, now)
	}
}

// trips names the rule that a closed machine has just broken. A rate can be
// reached by a success as well: by a slow one, or by the one that completes
// the minimum.
func (m *machine) trips(o Outcome, now time.Time) Cause {
	r := &m.rules
	if o == Failure && r.failures > 0 && m.consecutive >= r.failures {
		return CauseConsecutive
	}
	if !r.windowed() {
		return ""
	}
	c := m.window.counts(now)
	if c.Requests < r.minRequests {
		return ""
	}
	if r.failurePct > 0 && percent(c.Failures, c.Requests) >= r.failurePct {
		return CauseFailureRate
	}
	if r.slowPct > 0 && percent(c.Slow, c.Requests) >= r.slowPct {
		return CauseSlowRate
	}
	return ""
}

func (m *machine) doneHalfOpen(g grant, o Outcome, latency time.Duration, now time.Time) {
	if !m.takeSlot(g.slot) {
		return
	}
	switch o {
	case Ignored:
		return
	case Failure:
		m.enter(Open, CauseHalfOpenFailed, now)
		return
	case Success:
	}
	m.succeeded++
	if m.isSlow(latency) {
		m.slow++
	}
	m.finishHalfOpen(now)
}

// finishHalfOpen leaves half-open once enough requests have succeeded.
func (m *machine) finishHalfOpen(now time.Time) {
	if m.succeeded < m.rules.halfOpenRequests {
		return
	}
	if m.rules.slowPct > 0 && percent(m.slow, m.succeeded) >= m.rules.slowPct {
		m.enter(Open, CauseHalfOpenSlow, now)
		return
	}
	m.enter(Closed, CauseHalfOpenSucceed, now)
	m.ramping, m.credit = m.rules.ramp > 0, 1
}

// takeSlot removes a slot and reports whether it was held.
func (m *machine) takeSlot(id uint64) bool {
	for i, s := range m.slots {
		if s.id == id {
			m.slots = append(m.slots[:i], m.slots[i+1:]...)
			return true
		}
	}
	return false
}

func (m *machine) isSlow(latency time.Duration) bool {
	return m.rules.slowPct > 0 && latency > m.rules.slowCall
}

// enter goes to a state with nothing counted. Results of requests that were
// admitted before do not count any more.
func (m *machine) enter(s State, why Cause, now time.Time) {
	m.state, m.cause, m.since = s, why, now
	m.generation++
	m.consecutive, m.ramping, m.credit, m.openFor = 0, false, 0, 0
	m.slots, m.succeeded, m.slow = m.slots[:0], 0, 0
	m.window.reset(now)
}

// reconfigure changes the rules and keeps the state, and the counts unless the
// window's shape changes. Thresholds that the counts already pass act at the
// next result.
func (m *machine) reconfigure(r rules, now time.Time) {
	if r.window != m.rules.window {
		m.window = newWindow(r.window, now)
	}
	m.rules = r
	if r.ramp <= 0 {
		m.ramping = false
	}
	if m.state == HalfOpen {
		m.finishHalfOpen(now)
	}
}

func percent(part, of int) float64 { return 100 * float64(part) / float64(of) }
