package conformance

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/admin"
)

// unhurried has no answer late on a busy machine, which would be evidence.
var unhurried = spec{"deadline": "10s"}

var releases = []feature{
	{name: "rollout by weights", route: "rollout", model: "rollout", versions: true, policy: unhurried, together: true, run: func(c *check) {
		c.safestate("rollout", "start", c.model(), "v2", "--reason", "a new version", "--step", "50,10m", "--step", "100")
		l := c.load(question{})
		c.share("half of the answers are v2's", l, "v2", 0.3, 0.7)
		c.weigh(50, 50)
		c.safestate("rollout", "abort", c.model(), "--reason", "enough")
		c.share("no answer is v2's", l, "v2", 0, 0)
		l.unharmed(c)
	}},
	{name: "promotion, and the holdback", route: "holdback", model: "holdback", versions: true, rollout: "{holdbackPercent: 10}", policy: unhurried, together: true, run: func(c *check) {
		l := c.load(question{})
		c.promote()
		c.weigh(10, 90)
		c.share("a tenth of the answers is v1's", l, "v1", 0.02, 0.25)
		l.unharmed(c)
	}},
	{name: "automatic rollback", route: "rollback", model: "rollback", versions: true, policy: unhurried, together: true, run: func(c *check) {
		l := c.load(question{})
		c.safestate("rollout", "start", c.model(), "v2", "--reason", "a new version", "--step", "50,10m", "--step", "100")
		c.share("half of the answers are v2's", l, "v2", 0.3, 0.7)
		l.fail.Store(true)
		c.weigh(100, 0)
		c.share("no answer is v2's", l, "v2", 0, 0)
		l.unharmed(c)
		if l.rescued == 0 {
			c.Error("no answer of v2's was replaced")
		}
	}},
	{name: "rollback by hand, and its proof", route: "by-hand", model: "by-hand", versions: true, policy: unhurried, together: true, run: func(c *check) {
		l := c.load(question{})
		c.promote()
		c.safestate("rollback", c.model(), "--reason", "somebody complained", "--wait", "30s") // exit code 0: it is proven
		c.weigh(100, 0)
		c.share("no answer is v2's", l, "v2", 0, 0)
		l.unharmed(c)
	}},
	{name: "the status lists the proxy", route: "status", policy: spec{}, run: func(c *check) {
		var s admin.Status
		defer func() {
			if c.Failed() {
				c.Logf("the status has %+v", s.Proxies)
			}
		}()
		c.eventually("the proxy is in the status", func() (bool, dataplane.Answer) {
			a := c.ask(question{})
			s = admin.Status{}
			if err := json.Unmarshal([]byte(c.safestate("status", "-o", "json")), &s); err != nil {
				c.Fatal(err)
			}
			for _, p := range s.Proxies.Proxies {
				if strings.Contains(p.Node, c.p.node) && p.State == admin.ProxyAcked {
					return true, a
				}
			}
			return false, a
		})
	}},
}

// model is the feature's Model as commands name it.
func (c *check) model() string { return c.p.namespace + "/" + c.f.model }

// promote rolls v2 out under load.
func (c *check) promote() {
	c.Helper()
	c.safestate("rollout", "start", c.model(), "v2", "--reason", "a new version", "--step", "50,1s,10", "--step", "100,1s,10")
	c.phase("promoted")
}

// phase waits for one of the model's.
func (c *check) phase(want string) {
	c.Helper()
	var last admin.Model
	defer func() {
		if c.Failed() {
			c.Logf("the model: phase %s, %s", last.Phase, last.Explanation)
		}
	}()
	dataplane.Eventually(c, patience, "the model is "+want, func() bool {
		out := c.safestate("rollout", "status", c.model(), "-o", "json")
		if err := json.Unmarshal([]byte(out), &last); err != nil {
			c.Fatalf("%v: %s", err, out)
		}
		return string(last.Phase) == want
	})
}

// weigh waits until the rule has weights in these shares: as somebody's HTTPRoute has
// them in a mesh.
func (c *check) weigh(v1, v2 int64) {
	c.Helper()
	if !c.p.mesh {
		return // the answers' shares tell
	}
	last := ""
	defer func() {
		if c.Failed() {
			c.Log("the HTTPRoute: ", last)
		}
	}()
	dataplane.Eventually(c, patience, fmt.Sprintf("the HTTPRoute has weights like %d and %d", v1, v2), func() bool {
		o, err := c.s.api.Admin.Get(c.Context(), "gateway.networking.k8s.io/v1 HTTPRoute", c.p.namespace, c.f.route)
		if err != nil {
			c.Fatal(err)
		}
		text, err := json.Marshal(o.Object["spec"])
		if err != nil {
			c.Fatal(err)
		}
		last = string(text)
		var spec struct {
			Rules []struct{ BackendRefs []struct{ Weight int64 } }
		}
		if err := json.Unmarshal(text, &spec); err != nil {
			c.Fatal(err)
		}
		w := spec.Rules[0].BackendRefs
		return w[0].Weight*v2 == w[1].Weight*v1 && w[0].Weight+w[1].Weight > 0
	})
}

// load asks for predictions until the check ends, and keeps who answered last.
type load struct {
	fail atomic.Bool // v2 says NaN

	mu                   sync.Mutex
	recent               []string // versions, and what else answered
	answers, failed, nan int
	rescued              int
	worst                dataplane.Answer
	ending               chan struct{}
	running              sync.WaitGroup
}

// perSecond is how often a load asks.
const perSecond = 50

// kept is of how many answers shares are taken.
const kept = 100

func (c *check) load(q question) *load { return c.loadEvery(q, time.Second/perSecond) }

func (c *check) loadEvery(q question, interval time.Duration) *load {
	l := &load{ending: make(chan struct{})}
	l.running.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-l.ending:
				return
			case <-tick.C:
				l.running.Go(func() {
					now := q
					if l.fail.Load() {
						now.header = map[string]string{headerSecond: "NaN"}
					}
					l.count(c.ask(now))
				})
			}
		}
	})
	c.Cleanup(l.stop)
	return l
}

func (l *load) stop() {
	select {
	case <-l.ending:
	default:
		close(l.ending)
	}
	l.running.Wait()
}

func (l *load) count(a dataplane.Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers++
	by := a.Header.Get("X-Safestate-Version")
	switch {
	case a.Err != nil || a.Status != 200:
		l.failed++
		l.worst = a
	case strings.Contains(string(a.Body), "NaN"):
		l.nan++
		l.worst = a
	case a.Source() != "primary":
		l.rescued++
		by = a.Source()
	}
	l.recent = append(l.recent, by)
	if len(l.recent) > kept {
		l.recent = l.recent[1:]
	}
}

// unharmed ends the load and fails the case where a caller got an error or a NaN.
func (l *load) unharmed(c *check) {
	c.Helper()
	l.stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed > 0 || l.nan > 0 {
		c.Errorf("of %d answers %d failed and %d had a NaN: %s", l.answers, l.failed, l.nan, say(l.worst))
	}
}

// share waits until of the newest answers a share is by a version.
func (c *check) share(what string, l *load, version string, least, most float64) {
	c.Helper()
	last := 0.0
	defer func() {
		if c.Failed() {
			c.Logf("the share of %s is %.2f; %s", version, last, say(l.worst))
		}
	}()
	dataplane.Eventually(c, patience, what, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		n := 0
		for _, by := range l.recent {
			if by == version {
				n++
			}
		}
		last = float64(n) / kept
		return len(l.recent) == kept && last >= least && last <= most
	})
}
