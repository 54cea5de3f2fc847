package signals

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/internal/signals/signalsv1"
)

// TestAnyOrder delivers cumulative reports lost, doubled and out of order: once the
// last whole one is there, the totals are what was counted, whatever came when.
// What Take gives adds up to the same.
func TestAnyOrder(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		h := NewHub(HubOptions{})
		var want, taken [3]Counts
		versions := []string{"v1", "v2", "v3"}
		var reports []*signalsv1.Report
		var last []*signalsv1.Report
		for i := range 1 + rnd.IntN(4) {
			x := newHost(fmt.Sprint("h", i))
			for range rnd.IntN(30) {
				v := rnd.IntN(3)
				clean, bad := rnd.Uint64N(5), rnd.Uint64N(3)
				x.count(clean, bad, versions[v])
				want[v].Clean += clean
				want[v].Bad += bad
				if rnd.IntN(3) == 0 {
					continue // lost
				}
				m := x.report(versions[v])
				if rnd.IntN(2) == 0 {
					m = x.report() // a whole one
				}
				reports = append(reports, m)
				for rnd.IntN(3) == 0 {
					reports = append(reports, m) // once more
				}
			}
			last = append(last, x.report())
		}
		rnd.Shuffle(len(reports), func(i, j int) { reports[i], reports[j] = reports[j], reports[i] })
		at := rnd.IntN(len(reports) + 1) // some come even after the last
		sequence := append(append(append([]*signalsv1.Report{}, reports[:at]...), last...), reports[at:]...)
		for _, m := range sequence {
			if err := h.Deliver(m); err != nil {
				t.Fatalf("seed %d: refused: %v", seed, err)
			}
			if rnd.IntN(4) == 0 {
				sum(&taken, versions, h.Take(time.Now()))
			}
		}
		sum(&taken, versions, h.Take(time.Now()))
		for _, v := range h.Totals() {
			for i, name := range versions {
				if v.Name == name && (v.Clean != want[i].Clean || v.Bad != want[i].Bad || v.Callers[3].Bad != want[i].Bad) {
					t.Errorf("seed %d, %s: %d clean, %d bad, want %d, %d", seed, name, v.Clean, v.Bad, want[i].Clean, want[i].Bad)
				}
			}
		}
		for i, name := range versions {
			if taken[i].Clean != want[i].Clean || taken[i].Bad != want[i].Bad {
				t.Errorf("seed %d, %s: taken %d clean, %d bad, want %d, %d", seed, name, taken[i].Clean, taken[i].Bad, want[i].Clean, want[i].Bad)
			}
		}
		h.Close()
	}
}

func sum(into *[3]Counts, versions []string, got []Increment) {
	for _, i := range got {
		for v, name := range versions {
			if i.Name == name {
				into[v].Clean += i.Clean
				into[v].Bad += i.Bad
			}
		}
	}
}

func TestEpochs(t *testing.T) {
	h := newHub(t)
	x := newHost("h")
	x.count(3, 1)
	first := x.report()
	deliver(t, h, first)
	again := newHost("h") // the same name, begun later
	again.count(2, 0)
	deliver(t, h, again.report())
	deliver(t, h, first)
	x.count(5, 5)
	deliver(t, h, x.report()) // of the epoch that is over
	again.count(0, 1)
	deliver(t, h, again.report())
	if got := totals(h); got != "v1 7 5 2" {
		t.Errorf("totals %s", got)
	}
	if s := h.Stats(); s.Taken != 3 || s.Old != 2 || s.Refused != 0 || s.Reporters != 1 || s.Rows != 1 {
		t.Errorf("%+v", s)
	}
}

// TestBeforeTheHub: what was counted before is nobody's increment, by whatever
// clock the host goes.
func TestBeforeTheHub(t *testing.T) {
	for _, ahead := range []time.Duration{0, time.Hour, -time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				old := newHost("old")
				old.clock = ahead
				old.count(100, 50)
				time.Sleep(time.Minute)
				h := newHub(t)
				time.Sleep(time.Second)
				fresh := newHost("fresh")
				fresh.clock = ahead
				fresh.count(1, 1)
				old.count(10, 0, "v2") // a row that it began since
				time.Sleep(time.Second)
				deliver(t, h, fresh.report(), old.report())
				if got := totals(h); got != "v1 2 1 1, v2 10 10 0" {
					t.Errorf("totals %s", got)
				}
				old.count(0, 3)
				asked := time.Now()
				time.Sleep(time.Second)
				deliver(t, h, old.report())
				if got := totals(h); got != "v1 5 1 4, v2 10 10 0" {
					t.Errorf("totals %s", got)
				}
				for _, i := range h.Take(time.Now()) {
					if i.Name == "v1" && (!i.LastAsked.Equal(asked) || !i.LastBad.Equal(asked)) {
						t.Errorf("last asked %s, last bad %s, want %s by the hub's clock", i.LastAsked, i.LastBad, asked)
					}
				}
			})
		})
	}
}

// TestBegin: a hub that begins to lead counts what its own reporters send, and
// nothing that another has counted.
func TestBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		mine, moved, theirs := newHost("mine"), newHost("moved"), newHost("theirs")
		mine.count(5, 0)
		moved.count(5, 0)
		theirs.count(5, 0)
		deliver(t, h, mine.report(), moved.report())
		time.Sleep(time.Minute) // moved reports to the other replica now
		moved.count(50, 0)
		mine.count(1, 0)
		deliver(t, h, mine.report())
		h.Begin(time.Now())
		if got := h.Take(time.Now()); len(got) != 1 || got[0].Asked+got[0].Clean+got[0].Bad != 0 || !got[0].LastAsked.Equal(time.Now()) {
			t.Errorf("took %+v, want when it was last asked and nothing else", got)
		}
		mine.count(0, 1)
		moved.count(0, 2)
		theirs.count(0, 4)
		time.Sleep(time.Second)
		deliver(t, h, mine.report(), moved.report(), theirs.report())
		if got := h.Take(time.Now()); len(got) != 1 || got[0].Bad != 1 || got[0].Clean != 0 {
			t.Errorf("took %+v, want what came since of the host that was known", got)
		}
		moved.count(0, 2)
		theirs.count(0, 4)
		deliver(t, h, moved.report(), theirs.report())
		if got := h.Take(time.Now()); len(got) != 1 || got[0].Bad != 6 {
			t.Errorf("took %+v", got)
		}
	})
}

func TestARowThatBeginsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		time.Sleep(time.Second)
		x := newHost("h")
		x.count(10, 0)
		before := x.report()
		deliver(t, h, before)
		clear(x.rows)
		time.Sleep(time.Second)
		x.count(2, 1)
		deliver(t, h, x.report())
		deliver(t, h, before)
		if got := totals(h); got != "v1 13 12 1" {
			t.Errorf("totals %s", got)
		}
	})
}

// TestSilentReporters are forgotten; what they counted stays, and does not count
// again when they come back.
func TestSilentReporters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		time.Sleep(time.Second)
		x, y := newHost("h"), newHost("k")
		x.count(10, 1)
		deliver(t, h, x.report())
		for range 16 {
			time.Sleep(time.Minute)
			y.count(1, 0)
			deliver(t, h, y.report())
		}
		if s := h.Stats(); s.Reporters != 1 || s.Rows != 1 {
			t.Errorf("%+v", s)
		}
		deliver(t, h, x.report())
		if got := totals(h); got != "v1 27 26 1" {
			t.Errorf("totals %s", got)
		}
		x.count(0, 1)
		deliver(t, h, x.report())
		if got := totals(h); got != "v1 28 26 2" {
			t.Errorf("totals %s", got)
		}
	})
}

func TestChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		x := newHost("h")
		told := func() bool {
			synctest.Wait()
			select {
			case <-h.Changed():
				return true
			default:
				return false
			}
		}
		send := func(clean, bad uint64) {
			x.count(clean, bad)
			deliver(t, h, x.report())
		}
		send(1, 0)
		if !told() {
			t.Error("not told of the first")
		}
		send(1, 0)
		send(1, 0)
		if told() {
			t.Error("told twice within 100 ms")
		}
		time.Sleep(changedEvery)
		if !told() {
			t.Error("not told at all")
		}
		time.Sleep(changedEvery / 2)
		send(0, 1)
		if !told() {
			t.Error("not told of a bad answer at once")
		}
		send(0, 1)
		if !told() {
			t.Error("not told of the second bad answer")
		}
		time.Sleep(time.Second)
		deliver(t, h, x.report())
		if told() {
			t.Error("told of nothing new")
		}
	})
}

func TestTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		x, y := newHost("a"), newHost("b")
		begin := time.Now()
		x.count(1, 1)
		time.Sleep(time.Second)
		y.count(0, 1)
		x.count(4, 0, "v2")
		for _, c := range x.rows {
			c.Generation = 7
		}
		deliver(t, h, x.report(), y.report())
		got := h.Take(time.Now())
		if len(got) != 2 || got[0].Name != "v1" || got[1].Name != "v2" || got[0].Model != "default/m" {
			t.Fatalf("took %+v", got)
		}
		v1 := got[0]
		if v1.Asked != 3 || v1.Clean != 1 || v1.Bad != 2 || v1.Detectors["nonfinite"] != 2 || v1.Callers[3] != (Caller{1, 2}) {
			t.Errorf("counts %+v", v1.Counts)
		}
		if !v1.FirstBad.Equal(begin) || !v1.LastBad.Equal(begin.Add(time.Second)) || !v1.LastAsked.Equal(begin.Add(time.Second)) {
			t.Errorf("first bad %s, last bad %s, last asked %s", v1.FirstBad, v1.LastBad, v1.LastAsked)
		}
		if len(v1.Nodes) != 2 || v1.Nodes[0].Name != "node-a" || v1.Nodes[0].Generation != 7 || !v1.Nodes[0].LastAsked.Equal(begin) {
			t.Errorf("nodes %+v", v1.Nodes)
		}
		if again := h.Take(time.Now()); len(again) != 0 {
			t.Errorf("took twice: %+v", again)
		}
		time.Sleep(time.Second)
		deliver(t, h, x.report(), y.report()) // whole ones, with nothing new
		if again := h.Take(time.Now()); len(again) != 0 {
			t.Errorf("took nothing as something: %+v", again)
		}
		y.rows[rowName{"node-b", "default/r/0", "default/m", "v1"}].Generation = 8
		deliver(t, h, y.report())
		if again := h.Take(time.Now()); len(again) != 1 || again[0].Bad != 0 || !again[0].FirstBad.IsZero() || again[0].Nodes[0].Generation != 8 {
			t.Errorf("took %+v, want the new generation alone", again)
		}
		y.rows[rowName{"node-b", "default/r/0", "default/m", "v1"}].Fallbacks++
		late := y.report()
		time.Sleep(5 * time.Second) // on its way
		deliver(t, h, late)
		if again := h.Take(time.Now()); len(again) != 1 || !again[0].LastAsked.Equal(begin.Add(time.Second)) {
			t.Errorf("took %+v: a report that takes its time makes no request later", again)
		}
	})
}

func TestOnReport(t *testing.T) {
	var got []uint64
	h := NewHub(HubOptions{OnReport: func(m *signalsv1.Report) { got = append(got, m.Sequence) }})
	defer h.Close()
	x := newHost("h")
	x.count(1, 0)
	first, second := x.report(), x.report()
	deliver(t, h, first, first, second)
	bad := x.report()
	bad.Reporter = ""
	_ = h.Deliver(bad)
	if len(got) != 2 || got[0] != 1 || got[1] != 2 {
		t.Errorf("told of %v", got)
	}
}

func BenchmarkDeliver(b *testing.B) {
	h := NewHub(HubOptions{})
	defer h.Close()
	x := newHost("h")
	for i := range 10 {
		x.count(1000, 1, fmt.Sprint("v", i))
	}
	m := x.report()
	b.ReportAllocs()
	for b.Loop() {
		m.Sequence++
		for _, c := range m.Counts {
			c.Clean++
			c.Callers[0].Clean++
		}
		if err := h.Deliver(m); err != nil {
			b.Fatal(err)
		}
	}
}
