// Package plain is as much of the standard library's package time as the WASM
// filter needs, under the same names and with the same results: tests hold the two
// against each other. Times are pure values here; who makes them reads the clocks.
package plain

import "math"

// Time is a moment, as a clock on the wall had it and as a clock had it that
// nobody sets. The zero value is no time.
type Time struct {
	wall   int64 // nanoseconds since 1970
	steady int64 // nanoseconds since some beginning; what is compared and subtracted
}

// At is the time that both clocks tell, in nanoseconds.
func At(wall, steady int64) Time { return Time{wall, steady} }

// IsZero reports whether t is no time.
func (t Time) IsZero() bool { return t == Time{} }

// Add returns the time d later.
func (t Time) Add(d Duration) Time { return Time{t.wall + int64(d), t.steady + int64(d)} }

// Sub returns how much later t is than u; no time is as long before any other as
// a duration can say.
func (t Time) Sub(u Time) Duration {
	switch {
	case t.IsZero() == u.IsZero():
		return Duration(t.steady - u.steady)
	case u.IsZero():
		return math.MaxInt64
	}
	return math.MinInt64
}

// Before reports whether t is earlier than u.
func (t Time) Before(u Time) bool { return t.Sub(u) < 0 }

// After reports whether t is later than u.
func (t Time) After(u Time) bool { return t.Sub(u) > 0 }

// Equal reports whether t and u are one moment.
func (t Time) Equal(u Time) bool { return t.Sub(u) == 0 }

// UnixNano returns t as nanoseconds since 1970.
func (t Time) UnixNano() int64 { return t.wall }
