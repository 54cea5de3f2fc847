package signals

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/internal/signals/signalsv1"
)

// marked is a row of a version whose newest request came by some marks.
func (h *host) marked(node, route, version string, policy, kills uint64) {
	name := rowName{node, route, "default/m", version}
	h.rows[name] = &signalsv1.Counts{
		Node: node, Route: route, Model: name.model, Version: version, Since: h.now(), Asked: 1, LastAsked: h.now(), Policy: policy, Kills: kills, Marked: h.now(),
	}
	if policy == 0 {
		h.rows[name].Marked = 0
	}
}

// TestProxies: of a proxy and route the newest request counts, whoever met it and
// whichever version it was for, so that what it showed once says nothing of now.
func TestProxies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		a, b := newHost("a"), newHost("b")
		b.clock = time.Hour // its own clock is another one
		a.marked("gw", "ns/r/0", "v2", 1, 500)
		a.marked("gw", "ns/other/0", "v1", 1, 7)
		a.marked("plugin", "ns/r/0", "v1", 0, 0) // of a host that does not tell
		began := time.Now()
		deliver(t, h, a.report())
		time.Sleep(time.Minute)
		b.marked("gw", "ns/r/0", "v3", 2, 1)
		deliver(t, h, b.report(), a.report()) // what a has is older, though it is told of later
		want := []Proxy{
			{Node: "gw", Route: "ns/other/0", Policy: 1, Kills: 7, Asked: began},
			{Node: "gw", Route: "ns/r/0", Policy: 2, Kills: 1, Asked: time.Now()},
			{Node: "plugin", Route: "ns/r/0", Asked: began},
		}
		if got := h.Proxies(began.Add(-time.Second), nil); !same(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if got := h.Proxies(began.Add(-time.Second), func(route string) bool { return strings.HasPrefix(route, "ns/other") }); !same(got, want[:1]) {
			t.Errorf("of one route %+v", got)
		}
		// a tells of all it has for as long as it lives, but who asks no more is no more.
		deliver(t, h, a.report(), b.report())
		if got := h.Proxies(time.Now().Add(-time.Second), nil); !same(got, want[1:2]) {
			t.Errorf("lately %+v", got)
		}
	})
}

func same(a, b []Proxy) bool {
	for _, all := range [][]Proxy{a, b} {
		for i := range all {
			all[i].Asked = all[i].Asked.Truncate(time.Millisecond).UTC()
		}
	}
	return reflect.DeepEqual(a, b)
}

// TestMarks: a row has the marks of its newest request, also where there are none any
// more, and tells of them though nobody is asked.
func TestMarks(t *testing.T) {
	r := NewReporter(ReporterOptions{Name: "test"})
	defer r.Close()
	row := r.Rows("ns/r/0", "default/m", "v1").Of("gw")
	at := time.Now()
	told := func() *signalsv1.Counts { return row.message() }
	for _, c := range []struct {
		policy, kills uint64
		at            time.Time
		want          uint64 // kills
	}{{1, 9, at, 9}, {1, 3, at.Add(time.Second), 3}, {1, 9, at, 3}, {1, 0, at.Add(2 * time.Second), 0}} {
		row.SeenMarks(c.policy, c.kills, c.at)
		if got := told(); got.Kills != c.want || got.Policy != 1 || got.Marked == 0 {
			t.Errorf("after kills %d at %s: %+v", c.kills, c.at.Sub(at), got)
		}
	}
	var none *Row
	none.SeenMarks(1, 1, at)
}

// BenchmarkProxies is of 50 proxies that have had requests on each of 1,000 routes.
func BenchmarkProxies(b *testing.B) {
	h := NewHub(HubOptions{})
	defer h.Close()
	for node := range 50 {
		for part := range 5 {
			host := newHost(fmt.Sprintf("processor-%d-%d", node, part))
			for route := range MostRows {
				if n := part*MostRows + route; n < 1000 {
					host.marked(fmt.Sprintf("models/gateway-%d", node), fmt.Sprintf("models/route-%d/score", n), "v1", 1, uint64(n%100/99))
				}
			}
			if len(host.rows) > 0 {
				if err := h.Deliver(host.report()); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	for name, of := range map[string]func(string) bool{"all": nil, "1% of the routes": func(route string) bool { return strings.HasSuffix(route, "99/score") }} {
		b.Run(name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				n = len(h.Proxies(time.Now().Add(-time.Minute), of))
			}
			b.ReportMetric(float64(n), "rows")
		})
	}
}
