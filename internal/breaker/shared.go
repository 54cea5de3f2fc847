package breaker

import "github.com/safestate/safestate/internal/time"

// VersionPrefix begins the keys of breakers of versions.
const VersionPrefix = "version/"

// VersionKey is the key of the breaker of a model's version, in a Set and
// wherever replicas tell each other of it. model is namespace/name.
func VersionKey(model, version string) string { return VersionPrefix + model + "/" + version }

// Trip opens a closed breaker, ramping or not, because all replicas together
// have seen the asked one fail. It stays open for d, and never for longer than
// its own recovery time, which 0 stands for too; then it recovers as from a
// failure of its own. An open or half-open breaker goes on as it was, and so does
// one that is held open or closed by hand. One that is only observed notes it and
// admits every request still. Trip reports whether the breaker opened.
func (b *Breaker) Trip(d time.Duration) bool {
	b.mu.Lock()
	if b.manual == ForcedOpen || b.manual == ForcedClosed {
		b.mu.Unlock()
		return false
	}
	before := b.m.state
	b.m.trip(d, b.now())
	change := b.settle(before)
	b.mu.Unlock()
	b.tell(change)
	return change.Cause != ""
}
