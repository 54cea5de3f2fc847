package xds

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/envoy/xds"
)

const (
	followers  = 10
	slowest    = 300 * time.Millisecond // a follower's acceptance
	everyShift = 75 * time.Millisecond
	// inWindow is how many requests begin and are answered under each set of weights.
	inWindow = 5
	// atRest is after how many shifts all proxies come to rest, so that what
	// has left the configuration leaves them too.
	atRest = 10
	// numberPath is answered with the number of the shift that the routes are of.
	numberPath = "/number-of-the-shift"
)

// window is a time in which one set of weights held: from when all workers of the
// real Envoy had it until the next change.
type window struct {
	from, to time.Time
	weights  map[string]int // percent
}

// TestShifts changes the weights of five versions, which come and go, while
// requests flow and ten other proxies take their time to accept: no request
// meets a route without its cluster, the traffic follows the weights, and every
// change is proven in the end.
func TestShifts(t *testing.T) {
	o := options(t)
	j := newJournal(o.NodeID)
	c := startControl(t, o.XDS, xds.Options{Linger: 50 * time.Millisecond, Observer: j})
	random := rand.New(rand.NewPCG(1, uint64(*shifts)))
	var versions []share
	for i := range 5 {
		name := fmt.Sprintf("v%d", i+1)
		versions = append(versions, share{version: name, port: model(t, name)})
	}
	current := drawn(random, versions)
	c.set(t, world(t, o, current...))
	p := startEnvoy(t, o)
	p.ready(t)
	var others []*follower
	for i := range followers {
		delays := rand.New(rand.NewPCG(2, uint64(i)))
		others = append(others, follow(t, o.XDS, fmt.Sprintf("follower-%d", i), func() time.Duration { return time.Duration(delays.Int64N(int64(slowest))) }))
	}
	dataplane.Eventually(t, soon, "all proxies have the first weights", func() bool { return c.Proof(c.Version()).Expected == followers+1 && c.Proof(c.Version()).Complete() })

	l := startLoad(t, o.Listen)
	pace := time.NewTicker(everyShift)
	defer pace.Stop()
	var (
		windows   []window
		published []string
	)
	for i := range *shifts {
		next := drawn(random, versions)
		r := numbered(world(t, o, next...), i)
		j.forget()
		accepted := taken(others)
		began := time.Now()
		if n := len(windows); n > 0 {
			windows[n-1].to = began
		}
		c.set(t, r)
		published = append(published, r.Version())
		// In this order: a busy machine may have them all take it in between.
		if proven, now := c.Proof(r.Version()).Complete(), taken(others); proven && !allMore(accepted, now) {
			t.Fatalf("shift %d is proven before all proxies can have taken it", i)
		}
		dataplane.Eventually(t, soon, "Envoy takes the new routes", func() bool { return j.took(resourcev3.RouteType) })
		p.everywhere(t, i)
		from := time.Now()
		windows = append(windows, window{from: from, weights: weightsOf(next)})
		<-pace.C
		dataplane.Eventually(t, soon, "requests go by the new weights", func() bool { return l.since(from) >= inWindow })
		if i%atRest == atRest-1 {
			rest(t, c, p, r.Version(), clusterNames(r))
		}
	}
	windows[len(windows)-1].to = time.Now()
	l.stop()

	l.unharmed(t, len(windows)*int(everyShift)*perSecond/int(time.Second)/2)
	p.noMissingCluster(t)
	for _, f := range others {
		f.check(t)
	}
	for i, v := range published {
		dataplane.Eventually(t, soon, fmt.Sprintf("shift %d is proven", i), func() bool { return c.Proof(v).Complete() })
	}
	left := p.counter(t, "cluster_manager.cluster_removed")
	if left == 0 {
		t.Error("no cluster ever left: nothing was tried of that")
	}
	sharesFollow(t, windows, l.all())
	t.Logf("%d shifts, %d requests, %d times a cluster left", len(published), l.count(), left)
}

// drawn is some of the versions with weights that sum up to 100; some get 0.
func drawn(random *rand.Rand, versions []share) []share {
	some := slices.Clone(versions)
	random.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	some = some[:2+random.IntN(3)]
	rest := 100
	for i := range some[1:] {
		some[i].weight = random.IntN(rest + 1)
		rest -= some[i].weight
	}
	some[len(some)-1].weight = rest
	return some
}

func weightsOf(shares []share) map[string]int {
	out := map[string]int{}
	for _, s := range shares {
		out[s.version] = s.weight
	}
	return out
}

// numbered has the routes tell which shift they are of.
func numbered(r *envoy.Resources, shift int) *envoy.Resources {
	r = copied(r)
	host := r.Routes[0].VirtualHosts[0]
	host.Routes = append([]*routev3.Route{{
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: numberPath}},
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 200, Body: inline(fmt.Sprint(shift))}},
	}}, host.Routes...)
	return r
}

// everywhere waits until Envoy answers by the routes of a shift on so many new
// connections that no worker is likely to be missed.
func (p *proxy) everywhere(t *testing.T, shift int) {
	t.Helper()
	dataplane.Eventually(t, soon, fmt.Sprintf("all workers have shift %d", shift), func() bool {
		for range 24 {
			c := dataplane.NewClient(p.options.Listen)
			a := c.Do(dataplane.Request{Method: http.MethodGet, Path: numberPath})
			c.Close()
			if a.Err != nil || string(a.Body) != fmt.Sprint(shift) {
				return false
			}
		}
		return true
	})
}

// taken is how much each has accepted.
func taken(others []*follower) (out []int) {
	for _, f := range others {
		out = append(out, f.taken())
	}
	return out
}

// allMore reports whether each has grown.
func allMore(before, now []int) bool {
	for i := range now {
		if now[i] <= before[i] {
			return false
		}
	}
	return true
}

// rest waits until all proxies have accepted, and Envoy has no cluster but
// those that are to be there.
func rest(t *testing.T, c *control, p *proxy, version string, want []string) {
	t.Helper()
	dataplane.Eventually(t, soon, "all proxies take the new routes", func() bool { return c.Proof(version).Complete() })
	dataplane.Eventually(t, soon, "what has left the configuration leaves Envoy", func() bool { return slices.Equal(p.clusters(t), want) })
}

// sharesFollow holds the answers against the weights of their time. A request
// counts where it began after its window's weights were in force and was
// answered before they changed.
func sharesFollow(t *testing.T, windows []window, samples []sample) {
	t.Helper()
	type tally struct{ got, want, variance float64 }
	byVersion, byWeight := map[string]*tally{}, map[string]*tally{}
	add := func(m map[string]*tally, key string, hit bool, p float64) {
		if m[key] == nil {
			m[key] = &tally{}
		}
		if hit {
			m[key].got++
		}
		m[key].want += p
		m[key].variance += p * (1 - p)
	}
	counted, next := 0, 0
	for _, w := range windows {
		for next < len(samples) && samples[next].sent.Before(w.from) {
			next++
		}
		for _, s := range samples[next:] {
			if s.sent.After(w.to) {
				break
			}
			if s.done.After(w.to) {
				continue
			}
			counted++
			if w.weights[s.version] == 0 {
				t.Errorf("%s answered a request although its weights were %v", s.version, w.weights)
			}
			for version, weight := range w.weights {
				p := float64(weight) / 100
				add(byVersion, version, s.version == version, p)
				add(byWeight, fmt.Sprintf("%d to %d %%", weight/20*20, weight/20*20+19), s.version == version, p)
			}
		}
	}
	if least := len(windows); counted < least {
		t.Errorf("only %d requests fell into %d windows", counted, least)
	}
	for _, m := range []map[string]*tally{byVersion, byWeight} {
		for key, c := range m {
			// Five standard deviations: chance does it once in a million.
			if off := math.Abs(c.got - c.want); off > 5*math.Sqrt(c.variance)+1 {
				t.Errorf("%s: %.0f answers, want %.1f ± %.1f", key, c.got, c.want, math.Sqrt(c.variance))
			}
		}
	}
	t.Logf("%d requests in %d windows", counted, len(windows))
}
