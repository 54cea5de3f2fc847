package plain

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func sameText(t *testing.T, d int64) {
	t.Helper()
	if got, want := Duration(d).String(), time.Duration(d).String(); got != want {
		t.Errorf("%d is %s, want %s", d, got, want)
	}
	if got, want := Duration(d).Milliseconds(), time.Duration(d).Milliseconds(); got != want {
		t.Errorf("%d is %d ms, want %d", d, got, want)
	}
}

func sameParse(t *testing.T, s string) {
	t.Helper()
	got, err := ParseDuration(s)
	want, wantErr := time.ParseDuration(s)
	if int64(got) != int64(want) || (err == nil) != (wantErr == nil) {
		t.Errorf("%q is %d (%v), want %d (%v)", s, got, err, want, wantErr)
	}
}

var texts = []string{
	"", "0", "+0", "-0", "00", "0s", "1", "s", ".", ".s", "1.s", ".5s", "-.5s", "80ms", "1h2m3s", "1h-2m", "1 s", "1s ", "1S", "1µs", "1μs", "1us", "1ns1",
	"9223372036854775807ns", "9223372036854775808ns", "-9223372036854775808ns", "-9223372036854775809ns", "2562047h47m16.854775807s", "2562047h47m16.854775808s",
	"-2562047h47m16.854775808s", "0.9223372036854775808h", "0.100000000000000000000h", "0.3333333333333333333h", "0.9999999999999999999999h", "99999999999999999999s",
	"1.5.5s", "1..5s", "--1s", "+-1s", "1e3s", "9223372036854775807.9ns", "1d", "0x1s", "1m1m1m", "1.0000000000000000001ns", "5124095h", "3000000h",
	"2562047h2562047h",
}

func TestDurationsAreTheStandardOnes(t *testing.T) {
	for _, d := range []int64{0, 1, 999, 1000, 1001, 999_999, 1_000_000, 1_500_000, 999_999_999, 1_000_000_000, 59_999_999_999, 60_000_000_000, 3_599_999_999_999, 3_600_000_000_000, 3_600_000_000_001, math.MaxInt64, math.MinInt64} {
		sameText(t, d)
		sameText(t, -d)
	}
	for _, s := range texts {
		sameParse(t, s)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		d := rnd.Int64() >> rnd.IntN(63)
		if rnd.IntN(2) == 0 {
			d = -d
		}
		sameText(t, d)
		sameParse(t, time.Duration(d).String())
		var b strings.Builder
		for range rnd.IntN(6) {
			b.WriteString([]string{"1", "0", "25", ".", "h", "m", "s", "ms", "us", "µs", "ns", "-", "+", "9223372036854775807", "x"}[rnd.IntN(15)])
		}
		sameParse(t, b.String())
	}
}

func FuzzDurations(f *testing.F) {
	for _, s := range texts {
		f.Add(s, int64(len(s)))
	}
	f.Fuzz(func(t *testing.T, s string, d int64) {
		sameParse(t, s)
		sameText(t, d)
	})
}

func TestTimesAreTheStandardOnes(t *testing.T) {
	begin := time.Unix(1_700_000_000, 5)
	std := []time.Time{{}, begin, begin.Add(1), begin.Add(-1), begin.Add(time.Hour), begin.Add(-time.Hour)}
	at := func(d time.Duration) Time { return At(begin.UnixNano(), 1000).Add(Duration(d)) }
	own := []Time{{}, at(0), at(1), at(-1), at(time.Hour), at(-time.Hour)}
	for i, a := range own {
		if a.IsZero() != std[i].IsZero() || !a.IsZero() && a.UnixNano() != std[i].UnixNano() {
			t.Errorf("%d is %+v, want %v", i, a, std[i])
		}
		for j, b := range own {
			if got, want := a.Sub(b), std[i].Sub(std[j]); int64(got) != int64(want) {
				t.Errorf("%d less %d is %s, want %s", i, j, got, want)
			}
			if a.Before(b) != std[i].Before(std[j]) || a.After(b) != std[i].After(std[j]) || a.Equal(b) != std[i].Equal(std[j]) {
				t.Errorf("%d and %d are in another order", i, j)
			}
		}
	}
}

// What is compared is the clock that nobody sets, as of the standard times.
func TestTimesDoNotMindAClockThatIsSet(t *testing.T) {
	before, after := At(5_000, 10), At(1_000, 20)
	if after.Sub(before) != 10 || !before.Before(after) || after.UnixNano() != 1_000 {
		t.Errorf("the time between is %s", after.Sub(before))
	}
}
