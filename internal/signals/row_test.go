package signals

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/signals/signalsv1"
	"github.com/safestate/safestate/internal/signals/slot"
	"github.com/safestate/safestate/internal/verdict"
)

func TestEveryDetectorHasASlot(t *testing.T) {
	if len(verdict.Detectors) >= detectorSlots {
		t.Fatalf("%d detectors, and one slot of %d is for those of newer hosts", len(verdict.Detectors), detectorSlots)
	}
	for _, d := range verdict.Detectors {
		if got := detectorAt(slotOf(string(d))); got != string(d) {
			t.Errorf("%s is counted as %s", d, got)
		}
	}
	if got := detectorAt(slotOf("of tomorrow")); got != other {
		t.Errorf("an unknown detector is counted as %s", got)
	}
}

func TestBucketOf(t *testing.T) {
	for _, c := range []struct {
		took time.Duration
		want int
	}{
		{-time.Second, 0},
		{0, 0},
		{999 * time.Microsecond, 0},
		{time.Millisecond, 1},
		{2 * time.Millisecond, 2},
		{3 * time.Millisecond, 2},
		{4 * time.Millisecond, 3},
		{262143 * time.Millisecond, 18},
		{262144 * time.Millisecond, 19},
		{1000 * time.Hour, 19},
	} {
		if got := slot.OfLatency(c.took); got != c.want {
			t.Errorf("%s is in bucket %d, want %d", c.took, got, c.want)
		}
	}
}

func TestPlaceOf(t *testing.T) {
	for _, same := range [][]string{
		{"10.1.2.3:1", "10.1.2.3:65535", "10.1.2.3", "[::ffff:10.1.2.3]:5"},
		{"[2001:db8:1:2::1]:443", "[2001:db8:1:2:ffff::9]:1", "2001:db8:1:2::7", "[2001:db8:1:2::1]"},
		{"@/run/app.sock"},
		{"", ":0"},
		{"["},
		{"[]:1"},
		{"::"},
		{"[not an address]:1"},
	} {
		for _, a := range same {
			if PlaceOf(a) != PlaceOf(same[0]) || PlaceOf(a) >= Places {
				t.Errorf("%q is in place %d, %q in %d", a, PlaceOf(a), same[0], PlaceOf(same[0]))
			}
		}
	}
	// The places are the same in every build, or replicas would count a caller twice.
	if got := PlaceOf("192.0.2.1:80"); got != 62 {
		t.Errorf("192.0.2.1 is in place %d, and was in 62", got)
	}
	var in [Places]int
	for a := range 64 {
		for b := range 64 {
			in[PlaceOf(fmt.Sprintf("10.0.%d.%d:9", a, b))]++
		}
	}
	for place, n := range in {
		if n < 32 || n > 128 {
			t.Errorf("%d of 4,096 addresses are in place %d", n, place)
		}
	}
}

func TestRowCounts(t *testing.T) {
	r := NewReporter(ReporterOptions{Name: "h"})
	defer r.Close()
	row := r.Row("n", "default/r/0", "default/m", "v1")
	row.Seen(7)
	row.Seen(5)
	at := time.Now()
	row.Asked(at)
	row.Clean(3*time.Millisecond, 1)
	row.Observed(3*time.Millisecond, 1)
	row.Bad(verdict.NonFinite, time.Hour, 63)
	row.CallerError()
	row.Fallback()
	reports, reading := r.reports(time.Now(), 0, true)
	if len(reports) != 1 || len(reports[0].Counts) != 1 {
		t.Fatalf("got %v", reports)
	}
	c := reports[0].Counts[0]
	if c.Asked != 1 || c.Clean != 2 || c.Bad != 1 || c.Observed != 1 || c.CallerErrors != 1 || c.Fallbacks != 1 || c.Generation != 7 {
		t.Errorf("counted %v", c)
	}
	if c.Detectors["nonfinite"] != 1 || len(c.Detectors) != 1 || len(c.Latency) != Buckets || c.Latency[2] != 2 || c.Latency[Buckets-1] != 1 {
		t.Errorf("detectors %v, latency %v", c.Detectors, c.Latency)
	}
	if len(c.Callers) != 2 || c.Callers[0].Clean != 2 || c.Callers[1].Bad != 1 || c.Callers[1].Place != 63 {
		t.Errorf("callers %v", c.Callers)
	}
	if c.LastAsked != uint64(r.stamp(at)) || c.FirstBad == 0 || c.LastBad != c.FirstBad || c.Since == 0 {
		t.Errorf("times %v", c)
	}
	var back tally
	if err := back.read(c); err != nil || back != *row.tally() {
		t.Errorf("read back with %v as another tally", err)
	}
	if again, _ := r.reports(time.Now(), reading, false); again != nil {
		t.Errorf("reported what has not changed: %v", again)
	}
	row.Fallback()
	if again, _ := r.reports(time.Now(), reading, false); len(again) != 1 || again[0].Sequence <= reports[0].Sequence {
		t.Errorf("got %v", again)
	}
}

func TestNilCountsNothing(t *testing.T) {
	var r *Reporter
	row := r.Rows("r", "m", "v").Of("n")
	row.Seen(1)
	row.Asked(time.Now())
	row.Clean(0, 0)
	row.Observed(0, 0)
	row.Bad(verdict.Late, 0, 0)
	row.CallerError()
	row.Fallback()
	r.Close()
}

func TestRowsAreBounded(t *testing.T) {
	r := NewReporter(ReporterOptions{})
	defer r.Close()
	r.mostRows, r.sharedRows = 8, 2
	rows := r.Rows("r", "m", "v1")
	for i := range 20 {
		rows.Of(fmt.Sprint("n", i)).Asked(time.Now())
	}
	r.Row("n0", "r", "m", "v2").Asked(time.Now())
	for i := range 3 {
		r.Row("n0", "r", "m", fmt.Sprint("w", i)).Asked(time.Now())
	}
	asked, shared := map[string]uint64{}, 0
	for _, m := range must(r.reports(time.Now(), 0, true)) {
		for _, c := range m.Counts {
			asked[c.Version] += c.Asked
			if c.Node == other {
				shared++
			}
		}
	}
	if asked["v1"] != 20 || asked["v2"] != 1 || shared != 2 {
		t.Errorf("asked %v, %d shared rows", asked, shared)
	}
	if r.Lost() != 3 {
		t.Errorf("%d lost, want those of the versions for which there was no room", r.Lost())
	}
}

func TestIdleRowsMakeRoom(t *testing.T) {
	r := NewReporter(ReporterOptions{})
	defer r.Close()
	r.mostRows, r.sharedRows = 8, 2
	rows := r.Rows("r", "m", "v1")
	first := rows.Of("n0")
	for i := range 7 {
		rows.Of(fmt.Sprint("n", i)).Asked(time.Now())
	}
	now := time.Now()
	_, reading := r.reports(now, 0, true)
	rows.Of("n1").Asked(now)
	r.reports(now.Add(idleRow), reading, true)
	if rows.Of("n1").tally()[askedAt] != 2 {
		t.Error("a row that counts was dropped")
	}
	again := rows.Of("n0")
	if again == first || again.since <= first.since || again.tally()[askedAt] != 0 {
		t.Error("an idle row did not begin anew")
	}
	if rows.Of("n0") != again {
		t.Error("the new row is not remembered")
	}
}

// TestWithoutRoomNobodyWaits: where there are more proxies than rows, requests find
// the row that they share while others read the table.
func TestWithoutRoomNobodyWaits(t *testing.T) {
	r := NewReporter(ReporterOptions{})
	defer r.Close()
	r.mostRows, r.sharedRows = 4, 2
	rows := r.Rows("r", "m", "v1")
	for i := range 3 {
		rows.Of(fmt.Sprint("n", i)).Asked(time.Now())
	}
	r.rows.mu.RLock()
	defer r.rows.mu.RUnlock()
	found := make(chan *Row)
	go func() { found <- rows.Of("n3") }()
	select {
	case row := <-found:
		if row != rows.Of("n2") {
			t.Error("not the row that its version's proxies share")
		}
	case <-time.After(10 * time.Second):
		t.Error("a request waits for those that read")
	}
}

func TestLastAskedNeverGoesBack(t *testing.T) {
	r := NewReporter(ReporterOptions{})
	defer r.Close()
	row := r.Row("n", "r", "m", "v1")
	now := time.Now()
	row.Asked(now)
	row.Asked(now.Add(-time.Second)) // held up behind its clock
	if got := row.message(); got.LastAsked != uint64(r.stamp(now)) || got.Asked != 2 {
		t.Errorf("last asked %d of %d", got.LastAsked, r.stamp(now))
	}
	row.Asked(now.Add(2 * time.Millisecond))
	if got := row.message(); got.LastAsked != uint64(r.stamp(now.Add(2*time.Millisecond))) {
		t.Error("a later request is not noted")
	}
}

// TestAStreakOverACleanAnswer is read while it ends and another begins.
func TestAStreakOverACleanAnswer(t *testing.T) {
	r := NewReporter(ReporterOptions{})
	defer r.Close()
	row := r.Row("n", "r", "m", "v1")
	bad := func(n int) {
		for range n {
			row.Bad(verdict.Late, 0, 0)
		}
	}
	bad(2)
	before := row.run.Load()
	bad(1)
	if got := lasting(before, row.run.Load()); got != 2 {
		t.Errorf("a streak of %d while it goes on, want 2", got)
	}
	row.Clean(0, 0)
	bad(3)
	if got := lasting(before, row.run.Load()); got != 0 {
		t.Errorf("a streak of %d over a clean answer", got)
	}
	if got := row.message().Streak; got != 3 {
		t.Errorf("a streak of %d, want 3", got)
	}
}

func must(reports []*signalsv1.Report, _ uint64) []*signalsv1.Report { return reports }

func BenchmarkRow(b *testing.B) {
	r := NewReporter(ReporterOptions{Name: "h"})
	defer r.Close()
	rows := r.Rows("default/fraud/score", "default/fraud", "v1")
	at := time.Now()
	b.Run("clean request", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			row := rows.Of("node-1")
			row.Seen(7)
			row.Asked(at)
			row.Clean(3*time.Millisecond, PlaceOf("10.23.45.67:50123"))
		}
	})
	b.Run("bad request", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			row := rows.Of("node-1")
			row.Seen(7)
			row.Asked(at)
			row.Bad(verdict.NonFinite, 3*time.Millisecond, PlaceOf("10.23.45.67:50123"))
		}
	})
	b.Run("in parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				row := rows.Of("node-1")
				row.Seen(7)
				row.Asked(at)
				row.Clean(3*time.Millisecond, PlaceOf("10.23.45.67:50123"))
			}
		})
	})
	b.Run("in parallel, without room", func(b *testing.B) {
		r := NewReporter(ReporterOptions{Name: "h"})
		defer r.Close()
		r.mostRows = r.sharedRows + 1
		rows := r.Rows("default/fraud/score", "default/fraud", "v1")
		rows.Of("node-1")
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				row := rows.Of("node-2")
				row.Asked(at)
				row.Clean(3*time.Millisecond, PlaceOf("10.23.45.67:50123"))
			}
		})
	})
	b.Run("in parallel, many callers", func(b *testing.B) {
		var next atomic.Uint64
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			caller := Place(next.Add(1) * 17)
			for p.Next() {
				row := rows.Of("node-1")
				row.Seen(7)
				row.Asked(time.Now())
				row.Clean(3*time.Millisecond, caller)
			}
		})
	})
	b.Run("IPv6", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			rows.Of("node-1").Clean(3*time.Millisecond, PlaceOf("[2001:db8:1:2::1]:50123"))
		}
	})
}

// What came last is told apart: of five bad answers of sixty a version that has
// just turned bad, from one that has a bad answer now and then.
func TestAStreakIsTold(t *testing.T) {
	h := NewHub(HubOptions{})
	defer h.Close()
	r := NewReporter(ReporterOptions{Name: "host", Links: []Link{h.Link()}})
	row := r.Row("proxy", "route", "default/fraud", "v2")
	for range 55 {
		row.Clean(time.Millisecond, 1)
	}
	for range 5 {
		row.Bad(verdict.NonFinite, time.Millisecond, 1)
	}
	mixed := r.Row("proxy", "route", "default/fraud", "v1")
	for range 5 {
		mixed.Bad(verdict.NonFinite, time.Millisecond, 1)
	}
	mixed.Clean(time.Millisecond, 1)
	r.Close()
	streaks, bad := map[string]uint64{}, map[string]uint64{}
	for _, i := range h.Take(time.Now()) {
		streaks[i.Name], bad[i.Name] = i.Streak, i.Bad
	}
	if streaks["v2"] != 5 || streaks["v1"] != 0 || bad["v1"] != 5 || bad["v2"] != 5 {
		t.Errorf("streaks %v of %v bad answers", streaks, bad)
	}
}
