package fault

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/quick"
	"time"
)

// forms are the verbs that are written by whom, with what fmt is held against: a
// value of each kind. Calls of other forms fail TestCallsAreOfTheseForms.
var forms = map[string][]any{
	"%s string": {"", "a", "é\xff\"\n%d"},
	"%s []byte": {[]byte(nil), []byte("a\xff")},
	"%s String": {80 * time.Millisecond, time.Duration(0)},
	"%q string": {"", "a", "é\xff\"\n\x00\u2028\U0001f600"},
	"%.20q string": {
		"", "short", strings.Repeat("é", 20), strings.Repeat("é", 21), strings.Repeat("\xff", 30), strings.Repeat("a", 19) + "\n\n",
	},
	"%v error":   {errors.New("why")},
	"%v float64": {0.0, 0.5, 1e6, 1e21, -1e-7, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), math.NaN(), math.MaxFloat64, 1.0 / 3},
	"%g float64": {1e6, 0.1, 123456789.0},
	"%d int":     {0, -1, math.MaxInt, math.MinInt},
	"%d int64":   {int64(0), int64(math.MinInt64)},
	"%w error":   {errors.New("why"), fmt.Errorf("outer: %w", errInner)},
}

var errInner = errors.New("inner")

func same(t *testing.T, format string, args ...any) {
	t.Helper()
	got, want := Errorf(format, args...), fmt.Errorf(format, args...)
	if got.Error() != want.Error() {
		t.Errorf("%q of %q is %q, want %q", format, args, got, want)
	}
	for _, a := range append(args, errInner) {
		if err, ok := a.(error); ok && errors.Is(got, err) != errors.Is(want, err) {
			t.Errorf("%q of %q wraps %q: %v, want %v", format, args, err, errors.Is(got, err), errors.Is(want, err))
		}
	}
	if g, w := errors.Unwrap(got), errors.Unwrap(want); g != w {
		t.Errorf("%q of %q unwraps to %v, want %v", format, args, g, w)
	}
}

func TestFormsAreThoseOfFmt(t *testing.T) {
	for form, values := range forms {
		verb, _, _ := strings.Cut(form, " ")
		for _, v := range values {
			same(t, verb, v)
			same(t, "a 100%% "+verb+": é%%", v)
			for other, more := range forms {
				verb2, _, _ := strings.Cut(other, " ")
				for _, w := range more {
					same(t, "a "+verb+verb2+" b", v, w)
				}
			}
		}
	}
	same(t, "")
	same(t, "no verb")
	same(t, "%w, %v, %w", errInner, errors.New("not this"), errors.New("and this"))
	for _, wrong := range []string{"missing %d and %s", "%s%s", "an end %"} {
		same(t, wrong, []any{}...)
	}
}

func TestWhatIsUnknownIsWrittenAllTheSame(t *testing.T) {
	type named string
	for _, args := range [][]any{{named("a")}, {nil}, {1.5}, {uint8(1)}, {[]string{"a"}}} {
		if got := Errorf("a %d b", args...).Error(); got != "a %!d(?) b" {
			t.Errorf("%v is written as %q", args, got)
		}
	}
	if got := Errorf("%x and %.99999999999999999999q", "a", "b").Error(); !strings.HasPrefix(got, "%!x(?) and ") {
		t.Errorf("written as %q", got)
	}
}

func TestAnyValueIsWrittenAsFmtDoes(t *testing.T) {
	err := quick.Check(func(s string, b []byte, i int, l int64, f float64, d int64) bool {
		same(t, "%s %q %.20q %s %d %d %v %g %s "+strings.ReplaceAll(s, "%", "%%"), s, s, s, b, i, l, f, f, time.Duration(d))
		return !t.Failed()
	}, &quick.Config{MaxCount: 5000})
	if err != nil {
		t.Error(err)
	}
}

func FuzzErrorf(f *testing.F) {
	f.Add("a", "b", 1, 1.5)
	f.Fuzz(func(t *testing.T, text, s string, n int, v float64) {
		same(t, strings.ReplaceAll(text, "%", "%%")+"%s%q%.20q%d%v%g%w", s, s, s, n, v, v, errors.New(s))
	})
}
