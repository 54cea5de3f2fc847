package time

import "github.com/safestate/safestate/internal/time/plain"

// The types and units of package plain.
type (
	Duration = plain.Duration
	Time     = plain.Time
)

const (
	Nanosecond  = plain.Nanosecond
	Millisecond = plain.Millisecond
	Second      = plain.Second
	Minute      = plain.Minute
)

// The clocks of WASI preview 1, which the Go runtime asks as well.
const (
	realtime  = 0
	monotonic = 1
)

//go:wasmimport wasi_snapshot_preview1 clock_time_get
//go:noescape
func clockTimeGet(clock uint32, precision uint64, now *uint64) uint32

// Now returns the current time.
func Now() Time {
	var wall, steady uint64
	clockTimeGet(realtime, 1, &wall)
	clockTimeGet(monotonic, 1, &steady)
	return plain.At(int64(wall), int64(steady))
}

// ParseDuration reads Go's duration text.
func ParseDuration(s string) (Duration, error) { return plain.ParseDuration(s) }
