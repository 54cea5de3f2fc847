//go:build !wasip1

// Package time is the standard library's, as far as the core needs it: everywhere
// but in the WASM filter the two are one, type by type. There, package plain takes
// its place: the standard one comes with time zones, layouts and the settings of
// GODEBUG, which are nearly a tenth of the size that the filter may have.
package time

import "time"

// The types, units and functions of the standard library.
type (
	Duration = time.Duration
	Time     = time.Time
)

const (
	Nanosecond  = time.Nanosecond
	Millisecond = time.Millisecond
	Second      = time.Second
	Minute      = time.Minute
)

// Now returns the current time.
func Now() Time { return time.Now() }

// ParseDuration reads Go's duration text.
func ParseDuration(s string) (Duration, error) { return time.ParseDuration(s) }
