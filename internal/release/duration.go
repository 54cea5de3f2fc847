package release

import (
	"fmt"
	"time"
)

// Duration is a time.Duration that is text in JSON, such as "1m30s".
type Duration time.Duration

// String is the text.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes the text.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no duration such as 90s or 5m", text)
	}
	*d = Duration(parsed)
	return nil
}

// between is the time from a to b; 0 where a clock ran backwards or one of the
// two is not known.
func between(a, b time.Time) Duration {
	if a.IsZero() || b.IsZero() {
		return 0
	}
	return Duration(max(0, b.Sub(a)))
}
