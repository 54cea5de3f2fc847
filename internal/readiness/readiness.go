// Package readiness finds out which versions have an endpoint that takes
// connections, so that no traffic is sent to one that has none. It asks from
// where the control plane runs: a proxy's own health checks say more about the
// way to the model, and act by themselves.
package readiness

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/safestate/safestate/internal/compile"
)

// Interval is how often every endpoint is asked, Timeout how long it may take to
// answer: connecting, and the answer to its health check where it has one.
const (
	Interval = 2 * time.Second
	Timeout  = time.Second
)

// Served is how long a clean answer says that a version is ready.
const Served = 15 * time.Second

// atOnce is how many endpoints are asked at the same time.
const atOnce = 32

// Prober knows, of each cluster that it was given, whether some endpoint was
// ready when it was last asked. It is safe for concurrent use.
type Prober struct {
	client  *http.Client
	changed func() // called where a cluster is otherwise than before

	mu       sync.Mutex
	clusters map[string]*compile.Cluster
	known    map[string]answer // by cluster; absent: not asked yet
}

// answer is what is known of one cluster.
type answer struct {
	ready   bool
	reached bool // it was ready once
}

// New returns a prober that knows nothing. changed is called, on the prober's
// goroutine, when a cluster becomes ready or ceases to be; it may be nil.
func New(changed func()) *Prober {
	if changed == nil {
		changed = func() {}
	}
	return &Prober{
		changed: changed,
		client: &http.Client{
			Timeout:       Timeout,
			Transport:     &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: Timeout}).DialContext},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		known: map[string]answer{},
	}
}

// Watch replaces the clusters that are asked. They must not change any more.
func (p *Prober) Watch(clusters []compile.Cluster) {
	next := make(map[string]*compile.Cluster, len(clusters))
	for i := range clusters {
		next[clusters[i].Name] = &clusters[i]
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clusters = next
	maps.DeleteFunc(p.known, func(name string, _ answer) bool { return next[name] == nil })
}

// Ready reports whether a version has a ready endpoint, by its clusters and by
// those of all versions of its model. answered is when it gave a clean answer
// last, zero for never: one that did a moment ago is ready whatever the probes say.
//
// nil: that is not known. Its clusters were not asked yet, or none of its model was
// ever reached from here: then a probe that fails says nothing about the model, but
// that there is no way to it from where the control plane runs.
func (p *Prober) Ready(version, model []string, answered, now time.Time) *bool {
	yes, no := true, false
	if !answered.IsZero() && now.Sub(answered) < Served {
		return &yes
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := false
	for _, name := range version {
		a, is := p.known[name]
		if a.ready {
			return &yes
		}
		asked = asked || is
	}
	if reached := slices.ContainsFunc(model, func(name string) bool { return p.known[name].reached }); asked && reached {
		return &no
	}
	return nil
}

// Run asks every endpoint each Interval until ctx ends.
func (p *Prober) Run(ctx context.Context) {
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for {
		p.round(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// round asks every cluster once.
func (p *Prober) round(ctx context.Context) {
	p.mu.Lock()
	clusters := slices.Collect(maps.Values(p.clusters))
	p.mu.Unlock()
	slots := make(chan struct{}, atOnce)
	var asking sync.WaitGroup
	for _, c := range clusters {
		slots <- struct{}{}
		asking.Go(func() {
			p.note(c, p.ask(ctx, c))
			<-slots
		})
	}
	asking.Wait()
}

func (p *Prober) note(c *compile.Cluster, ready bool) {
	p.mu.Lock()
	before, asked := p.known[c.Name]
	if p.clusters[c.Name] == c {
		p.known[c.Name] = answer{ready, ready || before.reached}
	}
	p.mu.Unlock()
	if asked && before.ready != ready {
		p.changed()
	}
}

// ask reports whether an endpoint is ready: the first one that is ends it.
func (p *Prober) ask(ctx context.Context, c *compile.Cluster) bool {
	for _, e := range c.Endpoints {
		where := net.JoinHostPort(e.Address, strconv.Itoa(e.Port))
		if c.HealthCheck != nil && c.TLS == nil {
			if p.healthy(ctx, "http://"+where+c.HealthCheck.Path) {
				return true
			}
			continue
		}
		// Behind TLS we may not have the certificates that the proxy has.
		conn, err := (&net.Dialer{Timeout: Timeout}).DialContext(ctx, "tcp", where)
		if err == nil {
			_ = conn.Close()
			return true
		}
	}
	return false
}

func (p *Prober) healthy(ctx context.Context, url string) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := p.client.Do(r)
	if err != nil {
		return false
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // the status says it all
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
