package admin

import "sync"

// places bounds how many do something that lasts: in all, and each of them. Safe for
// concurrent use.
type places struct {
	all, each int

	mu    sync.Mutex
	taken map[string]int // by who; absent: none
	sum   int
}

// take takes one of somebody's places until leave is called; ok: there is one.
func (p *places) take(who string) (leave func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sum >= p.all || p.taken[who] >= p.each {
		return func() {}, false
	}
	if p.taken == nil {
		p.taken = map[string]int{}
	}
	p.sum++
	p.taken[who]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.sum--
		if p.taken[who]--; p.taken[who] == 0 {
			delete(p.taken, who)
		}
	}, true
}
