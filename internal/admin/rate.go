package admin

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// rate is how many requests of one kind one principal may make: bursts of a script
// pass, a loop gone wild does not.
type rate struct {
	perSecond, atOnce float64
}

// The rates. Of what is read: commands that wait ask for a model five times a second,
// and each history is read from the store.
var (
	changeRate  = rate{5, 20}
	readRate    = rate{50, 100}
	historyRate = rate{10, 20}
	killRate    = rate{50, 200} // nobody is kept from a kill by kills
)

// mostLimits bounds how many buckets there are. More principals than that share one.
const mostLimits = 1024

// buckets are the token buckets of who asks for what. What one person's loop uses up is
// none of another's, nor of that person's other actions: a pipeline that starts
// rollouts all the time keeps nobody from aborting one. Safe for concurrent use.
type buckets struct {
	mu  sync.Mutex
	all map[string]*bucket
}

func newBuckets() *buckets { return &buckets{all: map[string]*bucket{}} }

// take takes a token of who asks for what, or says how long until there is one.
func (l *buckets) take(who, what string, r rate, now time.Time) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := who + "\x00" + what
	b := l.all[key]
	if b == nil && len(l.all) >= mostLimits {
		l.tidy(now)
		if len(l.all) >= mostLimits {
			key = "\x00" + what
			b = l.all[key]
		}
	}
	if b == nil {
		b = &bucket{rate: r, tokens: r.atOnce, last: now}
		l.all[key] = b
	}
	return b.take(now)
}

// tidy forgets the buckets that are full: new ones are as good.
func (l *buckets) tidy(now time.Time) {
	for key, b := range l.all {
		if b.fill(now); b.tokens >= b.rate.atOnce {
			delete(l.all, key)
		}
	}
}

// bucket is a token bucket, guarded by its buckets.
type bucket struct {
	rate   rate
	tokens float64
	last   time.Time
}

func (b *bucket) fill(now time.Time) {
	if d := now.Sub(b.last); d > 0 {
		b.tokens = min(b.rate.atOnce, b.tokens+d.Seconds()*b.rate.perSecond)
		b.last = now
	}
}

func (b *bucket) take(now time.Time) (wait time.Duration, ok bool) {
	b.fill(now)
	if b.tokens < 1 {
		return time.Duration((1 - b.tokens) / b.rate.perSecond * float64(time.Second)), false
	}
	b.tokens--
	return 0, true
}

// limited refuses what is asked for too often.
func (s *server) limited(c *call) error {
	r := c.route
	what, limit := r.method+" "+r.path, r.rate
	switch {
	case limit != rate{}:
	case r.method == http.MethodPost:
		limit = changeRate
		what += " " + actionOf(c.body)
	default:
		limit = readRate
	}
	wait, ok := s.limits.take(c.principal.Name, what, limit, s.now())
	if ok {
		return nil
	}
	return &Problem{Status: http.StatusTooManyRequests, Message: "too many requests of this kind at once", Hint: "try again in a second", Retry: wait}
}

// actionOf is what a change is to do where its route does several things: any other
// text is none of them, and refused later.
func actionOf(body []byte) string {
	var r struct {
		Action string `json:"action"`
	}
	if json.Unmarshal(body, &r) != nil || oneOf("action", r.Action, actions...) != nil {
		return ""
	}
	return r.Action
}
