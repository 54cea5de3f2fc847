package signals

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/signals/signalsv1"
)

// fleet is some hosts with a hub that shares the breaker of v1.
type fleet struct {
	t     *testing.T
	hub   *Hub
	hosts []*host
	box   *mailbox
}

func newFleet(t *testing.T, n int, cfg policy.Breaker) *fleet {
	f := &fleet{t: t, hub: newHub(t)}
	f.hub.Breakers(map[string]policy.Breaker{breaker.VersionKey("default/m", "v1"): cfg})
	for i := range n {
		x := newHost(fmt.Sprint("h", i))
		x.count(0, 0)
		f.hosts = append(f.hosts, x)
		deliver(t, f.hub, x.report())
	}
	box, err := f.hub.open("")
	if err != nil {
		t.Fatal(err)
	}
	f.box = box
	return f
}

// answers has a host report answers.
func (f *fleet) answers(host int, clean, bad uint64) {
	f.t.Helper()
	f.hosts[host].count(clean, bad)
	deliver(f.t, f.hub, f.hosts[host].report())
}

// opened waits until all is weighed, and returns for how long hosts were told to
// open the breaker.
func (f *fleet) opened() time.Duration {
	time.Sleep(gatherFor)
	synctest.Wait()
	for _, o := range f.box.take(time.Now()).GetOpen() {
		if o.Key == "version/default/m/v1" {
			return time.Duration(o.Milliseconds) * time.Millisecond
		}
	}
	return 0
}

func TestSharedBreakers(t *testing.T) {
	row := policy.Breaker{Failures: 5, Recovery: policy.Duration(time.Hour)}
	rate := policy.Breaker{FailurePercent: 50, MinRequests: 10, WindowRequests: 20, Recovery: policy.Duration(time.Hour)}
	slow := policy.Breaker{SlowCall: policy.Duration(time.Second), SlowCallPercent: 50, Recovery: policy.Duration(time.Hour)}
	each := func(clean, bad uint64) func(*fleet) {
		return func(f *fleet) {
			for i := range f.hosts {
				f.answers(i, clean, bad)
			}
		}
	}
	for _, c := range []struct {
		name  string
		cfg   policy.Breaker
		hosts int
		play  func(*fleet)
		opens bool
	}{
		{"thin traffic", row, 6, func(f *fleet) {
			for i := range f.hosts {
				f.answers(i, 0, 1)
				time.Sleep(20 * time.Second)
			}
		}, true},
		{"a dependency fails", row, 6, func(f *fleet) {
			for i, x := range f.hosts {
				x.count(0, 3)
				for _, c := range x.rows {
					c.Detectors = map[string]uint64{"dependency": 3}
				}
				deliver(f.t, f.hub, f.hosts[i].report())
			}
		}, false},
		{"too little of it", row, 4, each(0, 1), false},
		{"no rules: the default ones", policy.Breaker{}, 6, each(0, 1), true},
		{"a host whose network fails", row, 6, func(f *fleet) { f.answers(0, 0, 1000) }, false},
		{"again and again", row, 6, func(f *fleet) {
			for range 100 {
				f.answers(0, 0, 10)
				time.Sleep(time.Second)
			}
		}, false},
		{"and another's failures, by chance", row, 6, func(f *fleet) {
			f.answers(0, 0, 1000)
			f.answers(1, 0, 2)
		}, false},
		{"two that fail", row, 6, func(f *fleet) {
			f.answers(0, 0, 1000)
			f.answers(1, 0, 3)
		}, true},
		{"all fail but one", row, 6, func(f *fleet) {
			each(0, 10)(f)
			f.answers(3, 1, 0)
		}, false},
		{"clean answers that come a report later", row, 6, func(f *fleet) {
			for i := range 5 {
				f.answers(i, 0, 2)
			}
			time.Sleep(reportEvery + 10*time.Millisecond)
			f.answers(5, 1, 0)
		}, false},
		{"a clean answer between", row, 6, func(f *fleet) {
			for i := range 4 {
				f.answers(i, 0, 1)
			}
			time.Sleep(time.Second)
			f.answers(5, 1, 0)
			time.Sleep(time.Second)
			for i := range 4 {
				f.answers(i, 0, 1)
			}
		}, false},
		{"failures of before a clean answer", row, 6, func(f *fleet) {
			f.answers(0, 0, 1000)
			time.Sleep(time.Second)
			f.answers(5, 1, 0)
			time.Sleep(time.Second)
			f.answers(1, 0, 3)
		}, false},
		{"a rate: all fail", rate, 6, each(0, 3), true},
		{"a rate: six of ten", rate, 6, each(4, 6), true},
		{"a rate: four of ten", rate, 6, each(6, 4), false},
		{"a rate: too few", rate, 3, each(0, 2), false},
		{"a rate: six of ten, one by one", rate, 6, func(f *fleet) {
			for i := range 60 {
				bad := uint64(0)
				if i%10 < 6 {
					bad = 1
				}
				f.answers(i%6, 1-bad, bad)
				time.Sleep(time.Second)
			}
		}, true},
		{"a rate: a busy host whose network fails", rate, 6, func(f *fleet) {
			for range 10 {
				f.answers(0, 0, 5000)
				for i := range 5 {
					f.answers(i+1, 10, 0)
				}
				time.Sleep(time.Second)
			}
		}, false},
		{"only slow calls would open it", slow, 6, each(0, 100), false},
		{"held by hand", policy.Breaker{Failures: 5, Hold: policy.HoldClosed}, 6, each(0, 100), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, c.hosts, c.cfg)
				f.opened()
				c.play(f)
				if got := f.opened(); (got > 0) != c.opens {
					t.Errorf("open for %s, want it to open: %v", got, c.opens)
				}
			})
		})
	}
}

func TestAfterASharedBreakerOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 6, policy.Breaker{Failures: 5, Recovery: policy.Duration(10 * time.Second)})
		fail := func() {
			for i := range f.hosts {
				f.answers(i, 0, 1)
			}
		}
		fail()
		if got := f.opened(); got != 10*time.Second {
			t.Fatalf("open for %s", got)
		}
		fail()
		if got := f.opened(); got != 0 {
			t.Errorf("opened while hosts recover by themselves: %s", got)
		}
		time.Sleep(4 * time.Second)
		late, err := f.hub.open("")
		if err != nil {
			t.Fatal(err)
		}
		if d := late.take(time.Now()); len(d.GetOpen()) != 1 || d.Open[0].Milliseconds > 6000 || d.Open[0].Milliseconds < 5000 {
			t.Errorf("a host that comes later is told %v", d)
		}
		time.Sleep(10 * time.Second)
		if late, err = f.hub.open(""); err != nil || late.take(time.Now()) != nil {
			t.Error("told of what is over")
		}
		for i := range 4 {
			f.answers(i, 0, 1)
		}
		if got := f.opened(); got != 0 {
			t.Error("what failed before counts again")
		}
		fail()
		if got := f.opened(); got != 10*time.Second {
			t.Errorf("did not open again: %s", got)
		}
		f.hub.Breakers(nil)
		time.Sleep(20 * time.Second)
		fail()
		if got := f.opened(); got != 0 {
			t.Error("opened without settings")
		}
	})
}

func TestSharedBreakerReachesEveryHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		key := breaker.VersionKey("default/m", "v1")
		cfg := policy.Breaker{Failures: 5, Recovery: policy.Duration(10 * time.Second)}
		h.Breakers(map[string]policy.Breaker{key: cfg})
		var rows []*Row
		var own []*breaker.Breaker
		for i := range 6 {
			set := breaker.NewSet(nil, nil)
			own = append(own, set.Get(key, cfg))
			r := NewReporter(ReporterOptions{Name: fmt.Sprint("h", i), Links: []Link{h.Link()}, Breakers: set})
			defer r.Close()
			rows = append(rows, r.Row("n", "r", "default/m", "v1"))
		}
		for _, row := range rows {
			row.Bad("nonfinite", 0, 0)
			time.Sleep(20 * time.Second)
		}
		time.Sleep(gatherFor + 2*burst)
		synctest.Wait()
		for i, b := range own {
			if b.Snapshot().Generation == 1 {
				t.Errorf("the breaker of host %d did not open", i)
			}
		}
	})
}

func TestBreakerStates(t *testing.T) {
	h := newHub(t)
	for i, states := range []map[string]string{
		{"version/default/m/v1": stateOpen},
		{"version/default/m/v1": stateHalfOpen, "version/default/m/v2": stateRamp},
		{},
	} {
		m := newHost(fmt.Sprint("h", i)).report()
		m.BreakersKnown = true
		for _, key := range keys(states) {
			m.Breakers = append(m.Breakers, &signalsv1.Breaker{Key: key, State: states[key]})
		}
		deliver(t, h, m)
	}
	got := h.BreakerStates()
	want := []BreakerState{{Key: "version/default/m/v1", Open: 1, HalfOpen: 1}, {Key: "version/default/m/v2", Ramp: 1}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %+v", got)
	}
	again := newHost("h0")
	again.sequence = 1
	closed := again.report()
	closed.Epoch, closed.BreakersKnown = h.reporters["h0"].epoch, true
	deliver(t, h, closed)
	if got := h.BreakerStates(); got[0].Open != 0 {
		t.Errorf("got %+v of one that is closed again", got)
	}
}

func TestCountable(t *testing.T) {
	for _, c := range []struct {
		failed []uint64
		want   uint64
	}{
		{nil, 0},
		{[]uint64{9}, 0},
		{[]uint64{9, 1}, 2},
		{[]uint64{5, 5}, 10},
		{[]uint64{1, 1, 1}, 3},
		{[]uint64{10, 2, 1}, 6},
	} {
		failed := map[string]uint64{}
		for i, n := range c.failed {
			failed[fmt.Sprint(i)] = n
		}
		if got := countable(failed); got != c.want {
			t.Errorf("%v: %d count, want %d", c.failed, got, c.want)
		}
	}
}

func TestMixed(t *testing.T) {
	for _, c := range [][2]uint64{{0, 0}, {3, 0}, {0, 3}, {1, 1}, {7, 3}, {1_000_000, 1}, {1 << 40, 1 << 40}} {
		got := mixed(c[0], c[1])
		var bad, run, longest uint64
		for _, o := range got {
			run++
			if o != breaker.Failure {
				run = 0
				continue
			}
			bad++
			longest = max(longest, run)
		}
		all := c[0] + c[1]
		if all <= mostFed && (bad != c[1] || uint64(len(got)) != all) {
			t.Errorf("%v: %d of %d", c, bad, len(got))
		}
		if all > mostFed && (len(got) != mostFed || bad == 0) {
			t.Errorf("%v: %d of %d", c, bad, len(got))
		}
		if c[0] >= c[1] && longest > 1 {
			t.Errorf("%v: %d failures in a row", c, longest)
		}
	}
}
