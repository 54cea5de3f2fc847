package admin

import (
	"sync"
	"time"
)

// The rate of changes that one route takes: bursts of a script pass, a loop
// gone wild does not.
const (
	changesPerSecond = 5
	changesAtOnce    = 20
)

// bucket is a token bucket. Safe for concurrent use.
type bucket struct {
	rate, size float64 // tokens a second; most tokens

	mu     sync.Mutex
	tokens float64
	last   time.Time
}

func newBucket(rate, size float64) *bucket { return &bucket{rate: rate, size: size, tokens: size} }

// take takes a token, or says how long until there is one.
func (b *bucket) take(now time.Time) (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if d := now.Sub(b.last); d > 0 {
		if !b.last.IsZero() {
			b.tokens = min(b.size, b.tokens+d.Seconds()*b.rate)
		}
		b.last = now
	}
	if b.tokens < 1 {
		return time.Duration((1 - b.tokens) / b.rate * float64(time.Second)), false
	}
	b.tokens--
	return 0, true
}
