package admin

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/safestate/safestate/internal/access"
)

// Attempt is what somebody wanted to do and was refused.
type Attempt struct {
	By      string // empty: nobody knows who
	How     string // proved to be it
	Address string // that it came from
	Target  string
	Why     string // what it was, and why not
	// LeftOut is how many attempts this one stands for, which were over their bounds;
	// 0: it is one by itself.
	LeftOut int
}

// What refused requests write at most: of each principal, and of all whom nobody
// knows together. Nobody can use up what is another's.
var (
	attemptRate  = rate{0.2, 100}
	strangerRate = rate{1. / 60, 10}
)

const (
	// leftOutEvery is how long what is over the bounds is counted before it is told.
	leftOutEvery = time.Minute
	// mostLeftOut is how many of those who went over are told by name.
	mostLeftOut = 10
)

// stranger is who brought nothing that says who it is.
const stranger = "nobody"

// attempts tells of refused requests. What is over the bounds is counted, and told
// as one. Safe for concurrent use.
type attempts struct {
	tell   func(Attempt) // nil: nobody hears of them
	limits *buckets

	mu    sync.Mutex
	left  map[string]int // that were left out since it was told last, by who
	timer *time.Timer    // nil: none were
}

func newAttempts(tell func(Attempt)) *attempts {
	return &attempts{tell: tell, limits: newBuckets(), left: map[string]int{}}
}

// attempt tells of a change that was refused: of what may not be done, and of what
// cannot be done in this state. What is only mistaken is nobody's concern, and a
// page that a browser has open is nobody who asks.
func (s *server) attempt(c *call, p *Problem) {
	r, who := c.route, c.principal
	known := who.ID != "" && who.How != access.HowNone
	switch {
	case s.attempts.tell == nil || !r.changes() && r.action == access.Read:
		return
	case p.Status == http.StatusForbidden && who.ID == "":
		return
	case p.Status != http.StatusUnauthorized && p.Status != http.StatusForbidden && p.Status != http.StatusConflict:
		return
	}
	bucket, limit := stranger, strangerRate
	if known {
		bucket, limit = who.ID, attemptRate
	}
	if _, ok := s.attempts.limits.take(bucket, "", limit, s.now()); !ok {
		s.attempts.leaveOut(bucket)
		return
	}
	s.attempts.tell(Attempt{
		By: cmp.Or(who.Name, stranger), How: who.How, Address: cmp.Or(who.Address, c.front.peer()),
		Target: cmp.Or(c.about, r.path), Why: string(r.action) + ": " + p.Message,
	})
}

func (a *attempts) leaveOut(who string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.left[who]; !known && len(a.left) >= mostLeftOut {
		who = "others"
	}
	a.left[who]++
	if a.timer == nil {
		a.timer = time.AfterFunc(leftOutEvery, a.flush)
	}
}

// flush tells of what was left out.
func (a *attempts) flush() {
	a.mu.Lock()
	left := a.left
	a.left = map[string]int{}
	if a.timer != nil {
		a.timer.Stop()
	}
	a.timer = nil
	a.mu.Unlock()
	if len(left) == 0 {
		return
	}
	all, parts := 0, make([]string, 0, len(left))
	for _, who := range slices.SortedFunc(maps.Keys(left), func(x, y string) int { return cmp.Or(left[y]-left[x], cmp.Compare(x, y)) }) {
		all += left[who]
		parts = append(parts, fmt.Sprintf("%d of %s", left[who], who))
	}
	a.tell(Attempt{By: "safestate", LeftOut: all, Why: fmt.Sprintf("%d refused attempts have no entry of their own: %s", all, strings.Join(parts, ", "))})
}
