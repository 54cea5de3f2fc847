package signals

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/signals/signalsv1"
)

var v1 = Version{"default/m", "v1"}

// TestHosts: whoever counts a version is named with when it was last heard, and stays
// so while it is silent.
func TestHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		h := newHub(t)
		a, b, c := newHost("a"), newHost("b"), newHost("c")
		a.count(1, 0)
		b.count(1, 0)
		c.count(1, 0, "v2")
		deliver(t, h, a.report(), b.report(), c.report())
		time.Sleep(time.Minute)
		sign := b.report("none of them") // a report without a row tells that it lives
		deliver(t, h, sign, c.report())
		got, since := h.Hosts(v1)
		if len(got) != 2 || got[0] != (Host{Name: "a", Heard: began}) || got[1] != (Host{Name: "b", Heard: time.Now()}) || !since.Equal(began) {
			t.Errorf("hosts %v since %s", got, since)
		}
		time.Sleep(time.Second)
		deliver(t, h, sign) // once more
		if got, _ := h.Hosts(v1); time.Since(got[1].Heard) != time.Second {
			t.Error("a report that came twice is a sign of life")
		}
		end := a.report("none of them")
		end.Ends = true
		deliver(t, h, end)
		h.Begin(time.Now())
		if got, since := h.Hosts(v1); len(got) != 1 || got[0].Name != "b" || !since.Equal(time.Now()) {
			t.Errorf("hosts %v since %s, after the end of a", got, since)
		}
		if got, _ := h.Hosts(Version{"default/m", "v9"}); got != nil {
			t.Errorf("hosts %v of a version that nobody counts", got)
		}
	})
}

// TestHostsOfAnotherReplica are as silent as they were there, and what they say of
// their end is handed on.
func TestHostsOfAnotherReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		follower, leader := newHub(t), newHub(t)
		dead, idle := newHost("dead"), newHost("idle")
		dead.count(1, 0)
		idle.count(1, 0)
		deliver(t, follower, dead.report(), idle.report())
		died := time.Now()
		relay := NewRelay(follower, nil)
		defer relay.Close()
		alive := func(seconds int) {
			for range seconds {
				time.Sleep(time.Second)
				deliver(t, follower, idle.report("none of them"))
			}
		}
		alive(60)
		relay.To(leader.Link())
		alive(5)
		time.Sleep(2 * reportEvery)
		got, _ := leader.Hosts(v1)
		if len(got) != 2 || !got[0].Heard.Equal(died) || time.Since(got[1].Heard) > 3*reportEvery {
			t.Errorf("at %s the leader has heard %v", time.Now(), got)
		}
		end := idle.report() // with all that it has
		end.Ends = true
		deliver(t, follower, end)
		time.Sleep(2 * reportEvery)
		if got, _ := leader.Hosts(v1); len(got) != 1 || got[0].Name != "dead" {
			t.Errorf("after the end the leader has %v", got)
		}
	})
}

// TestARefusedReportForgetsNothing: the first of a new epoch is refused, and a late
// one of the old epoch comes behind it.
func TestARefusedReportForgetsNothing(t *testing.T) {
	h := newHub(t)
	x := newHost("h")
	x.count(5, 2)
	last := x.report()
	deliver(t, h, last)
	again := newHost("h")
	again.count(1, 0)
	mad := again.report()
	mad.Counts[0].Asked = mostAtOnce + 1
	if err := h.Deliver(mad); err == nil {
		t.Fatal("not refused")
	}
	last.Sequence++
	deliver(t, h, last)
	if got := totals(h); got != "v1 7 5 2" {
		t.Errorf("totals %s", got)
	}
	deliver(t, h, again.report())
	if got := totals(h); got != "v1 8 6 2" {
		t.Errorf("totals %s with the new epoch", got)
	}
}

// TestAFirstBadThatIsNotKnown does not hide another row's.
func TestAFirstBadThatIsNotKnown(t *testing.T) {
	h := newHub(t)
	x, y := newHost("x"), newHost("y")
	x.count(0, 1)
	y.count(0, 1)
	without := y.report()
	without.Counts[0].FirstBad = 0
	deliver(t, h, x.report(), without)
	if got := h.Take(time.Now()); got[0].FirstBad.IsZero() {
		t.Error("bad answers, and nobody knows since when")
	}
}

// TestAHubThatIsClosedStartsNothing.
func TestAHubThatIsClosedStartsNothing(t *testing.T) {
	h := NewHub(HubOptions{})
	h.Breakers(map[string]policy.Breaker{breaker.VersionKey("default/m", "v1"): {Failures: 1}})
	h.Close()
	x := newHost("x")
	for range 3 {
		x.count(1, 0)
		deliver(t, h, x.report())
	}
	x.count(0, 1)
	deliver(t, h, x.report(), &signalsv1.Report{Reporter: "y", Epoch: 1, Sequence: 1})
	if h.shared.weigher != nil || h.telling != nil {
		t.Error("a timer runs in a hub that has ended")
	}
}
