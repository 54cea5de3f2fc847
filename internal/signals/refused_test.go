package signals

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/safestate/safestate/internal/signals/signalsv1"
)

func TestRefused(t *testing.T) {
	long := strings.Repeat("x", mostName+1)
	for _, c := range []struct {
		name   string
		change func(*signalsv1.Report)
		says   string
	}{
		{"fewer clean", func(m *signalsv1.Report) { m.Counts[0].Clean--; m.Counts[0].Callers[0].Clean-- }, "less than it was"},
		{"fewer asked", func(m *signalsv1.Report) { m.Counts[0].Asked = 0 }, "less than it was"},
		{"a detector less", func(m *signalsv1.Report) { m.Counts[0].Detectors = nil }, "less than it was"},
		{"more than there is", func(m *signalsv1.Report) { m.Counts[0].Asked = 1 << 60 }, "larger than anything"},
		{"more than there can be", func(m *signalsv1.Report) { m.Counts[0].Asked += mostAtOnce + 1 }, "grown by more"},
		{"a bucket more", func(m *signalsv1.Report) { m.Counts[0].Latency = make([]uint64, Buckets+1) }, "buckets"},
		{"a place that is none", func(m *signalsv1.Report) { m.Counts[0].Callers[0].Place = 64 }, "place"},
		{"a place twice", func(m *signalsv1.Report) {
			m.Counts[0].Callers = append(m.Counts[0].Callers, m.Counts[0].Callers[0])
		}, "place"},
		{"a sum that is none", func(m *signalsv1.Report) { m.Counts[0].Bad++ }, "sums"},
		{"a row twice", func(m *signalsv1.Report) { m.Counts = append(m.Counts, m.Counts[0]) }, "two rows"},
		{"a long name", func(m *signalsv1.Report) { m.Counts[0].Node = long }, "longer than"},
		{"a second row that is bad", func(m *signalsv1.Report) {
			second := proto.Clone(m.Counts[0]).(*signalsv1.Counts)
			second.Node, second.Clean = "another", 1<<60
			m.Counts[0].Asked++
			m.Counts = append(m.Counts, second)
		}, "sums"},
		{"no name", func(m *signalsv1.Report) { m.Reporter = "" }, "no reporter"},
		{"no number", func(m *signalsv1.Report) { m.Sequence = 0 }, "sequence"},
		{"no epoch", func(m *signalsv1.Report) { m.Epoch = 0 }, "epoch"},
		{"the end of time", func(m *signalsv1.Report) { m.Counts[0].Since = 1 << 63 }, "time"},
		{"too many rows", func(m *signalsv1.Report) { m.Counts = make([]*signalsv1.Counts, MostRows+1) }, "rows"},
		{"too many breakers", func(m *signalsv1.Report) { m.Breakers = make([]*signalsv1.Breaker, mostBreakers+1) }, "breakers"},
		{"too large", func(m *signalsv1.Report) { m.Counts[0].Route = strings.Repeat("x", mostBytes) }, "1 MiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHub(t)
			x := newHost("h")
			x.count(5, 2)
			deliver(t, h, x.report())
			h.Take(time.Now())
			m := x.report()
			c.change(m)
			err := h.Deliver(m)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("said %v, want %q", err, c.says)
			}
			if s := h.Stats(); s.Refused != 1 || s.LastRefused == "" {
				t.Errorf("%+v", s)
			}
			if got := totals(h); got != "v1 7 5 2" || len(h.Take(time.Now())) != 0 {
				t.Errorf("a refused report counted: %s", got)
			}
			x.count(1, 0)
			deliver(t, h, x.report())
			if got := totals(h); got != "v1 8 6 2" {
				t.Errorf("the next one counted %s", got)
			}
		})
	}
}

func TestHubIsBounded(t *testing.T) {
	t.Run("reporters and proxies", func(t *testing.T) {
		h := newHub(t)
		for i := range MostReporters {
			deliver(t, h, &signalsv1.Report{Reporter: fmt.Sprint("h", i), Epoch: 1, Sequence: 1, Counts: []*signalsv1.Counts{
				{Node: fmt.Sprint("a", i), Model: "m"}, {Node: fmt.Sprint("b", i), Model: "m"},
			}})
		}
		if err := h.Deliver(&signalsv1.Report{Reporter: "one more", Epoch: 1, Sequence: 1}); err == nil {
			t.Error("as many reporters as there are")
		}
		if n := len(h.Totals()[0].Nodes); n != mostNodes+1 {
			t.Errorf("%d proxies, want the bound and one for all others", n)
		}
	})
	t.Run("streams", func(t *testing.T) {
		h := newHub(t)
		for range MostReporters {
			if _, err := h.open(""); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := h.open(""); err == nil {
			t.Error("as many streams as come")
		}
	})
}

// FuzzDeliver: whatever a stranger sends, nothing panics and no total gets less.
func FuzzDeliver(f *testing.F) {
	x := newHost("h")
	x.count(5, 2)
	good, err := proto.Marshal(x.report())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, good)
	f.Fuzz(func(t *testing.T, a, b []byte) {
		h := NewHub(HubOptions{})
		defer h.Close()
		before := map[Version]tally{}
		for _, text := range [][]byte{good, a, b, a} {
			m := new(signalsv1.Report)
			if proto.Unmarshal(text, m) != nil {
				continue
			}
			_ = h.Deliver(m) // refused or not
			for name, v := range h.versions {
				old := before[name]
				for i := range v.total {
					if v.total[i] < old[i] || v.total[i] > 100*mostAtOnce {
						t.Fatalf("count %d was %d and is %d", i, old[i], v.total[i])
					}
				}
				before[name] = v.total
			}
			h.Take(time.Now())
		}
	})
}
