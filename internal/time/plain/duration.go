package plain

import (
	"errors"
	"strconv"
	"strings"
)

// Duration is a length of time in nanoseconds.
type Duration int64

// The units.
const (
	Nanosecond  Duration = 1
	Microsecond          = 1000 * Nanosecond
	Millisecond          = 1000 * Microsecond
	Second               = 1000 * Millisecond
	Minute               = 60 * Second
	Hour                 = 60 * Minute
)

// Milliseconds returns the whole milliseconds in d.
func (d Duration) Milliseconds() int64 { return int64(d / Millisecond) }

// String returns Go's duration text: 1h2m3.5s, and under a second in its largest
// unit, as 1.5ms.
func (d Duration) String() string {
	var out []byte
	left := uint64(d)
	if d < 0 {
		out, left = append(out, '-'), -left
	}
	switch {
	case left == 0:
		return "0s"
	case left < uint64(Microsecond):
		return string(appendUnits(out, left, 1, "ns"))
	case left < uint64(Millisecond):
		return string(appendUnits(out, left, uint64(Microsecond), "µs"))
	case left < uint64(Second):
		return string(appendUnits(out, left, uint64(Millisecond), "ms"))
	}
	if hours := left / uint64(Hour); hours > 0 {
		out = append(strconv.AppendUint(out, hours, 10), 'h')
	}
	if left >= uint64(Minute) {
		out = append(strconv.AppendUint(out, left%uint64(Hour)/uint64(Minute), 10), 'm')
	}
	return string(appendUnits(out, left%uint64(Minute), uint64(Second), "s"))
}

// appendUnits appends n nanoseconds in a unit, with as many decimals as it takes.
func appendUnits(dst []byte, n, unit uint64, name string) []byte {
	dst = strconv.AppendUint(dst, n/unit, 10)
	if rest := n % unit; rest > 0 {
		dst = append(dst, '.')
		for rest > 0 {
			unit /= 10
			dst = append(dst, '0'+byte(rest/unit))
			rest %= unit
		}
	}
	return append(dst, name...)
}

var errDuration = errors.New("no duration such as 80ms or 1m30s")

// most is the largest magnitude, that of the smallest Duration.
const most = 1 << 63

// ParseDuration reads Go's duration text: a sign or none, and numbers with units.
func ParseDuration(s string) (Duration, error) {
	negative := strings.HasPrefix(s, "-")
	if negative || strings.HasPrefix(s, "+") {
		s = s[1:]
	}
	if s == "0" {
		return 0, nil
	}
	var sum uint64
	for more := true; more; more = s != "" {
		n, rest, ok := parseUnits(s)
		if sum += n; !ok || sum > most {
			return 0, errDuration
		}
		s = rest
	}
	switch {
	case negative:
		return -Duration(sum), nil
	case sum == most:
		return 0, errDuration
	}
	return Duration(sum), nil
}

// parseUnits reads one number with its unit.
func parseUnits(s string) (n uint64, rest string, ok bool) {
	end := digits(s)
	whole, fraction := s[:end], ""
	if s = s[end:]; strings.HasPrefix(s, ".") {
		end = digits(s[1:])
		fraction, s = s[1:1+end], s[1+end:]
	}
	name := s
	if i := strings.IndexAny(s, ".0123456789"); i >= 0 {
		name = s[:i]
	}
	unit := uint64(unitNamed(name))
	if whole == "" && fraction == "" || unit == 0 {
		return 0, "", false
	}
	if whole != "" {
		v, err := strconv.ParseUint(whole, 10, 64)
		if err != nil || v > most/unit {
			return 0, "", false
		}
		n = v * unit
	}
	// As floating point, so that fractions of hours are right to the nanosecond.
	part, scale := decimals(fraction)
	n += uint64(float64(part) * (float64(unit) / scale))
	return n, s[len(name):], n <= most
}

// digits returns how many digits s begins with.
func digits(s string) int {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return i
		}
	}
	return len(s)
}

// decimals reads as many digits as a number can hold, and says what they are parts
// of.
func decimals(s string) (part uint64, scale float64) {
	scale = 1
	for i := range len(s) {
		next := part*10 + uint64(s[i]-'0')
		if part > (most-1)/10 || next > most {
			break
		}
		part, scale = next, scale*10
	}
	return part, scale
}

func unitNamed(s string) Duration {
	switch s {
	case "ns":
		return Nanosecond
	case "us", "µs", "μs": // micro sign, and the Greek letter
		return Microsecond
	case "ms":
		return Millisecond
	case "s":
		return Second
	case "m":
		return Minute
	case "h":
		return Hour
	}
	return 0
}
