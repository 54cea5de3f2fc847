package kill

import "fmt"

// Mode is what callers of a killed target get.
type Mode string

// The modes, from the mildest.
const (
	// Degrade has the ladder answer: cache, fallback model, rules, default.
	Degrade Mode = "degrade"
	// Default has Envoy alone answer, with the policy's safe default; where it can
	// give none, with 503.
	Default Mode = "default"
	// Blackhole answers a plain 503.
	Blackhole Mode = "blackhole"
)

// Modes lists every mode, the mildest first.
func Modes() []Mode { return []Mode{Degrade, Default, Blackhole} }

// Validate says what is wrong with a mode; nil: nothing.
func (m Mode) Validate() error {
	if m.strictness() == 0 {
		return fmt.Errorf("mode %q: want degrade, default or blackhole", m)
	}
	return nil
}

// strictness orders modes; 0: it is none.
func (m Mode) strictness() int {
	for i, known := range Modes() {
		if m == known {
			return i + 1
		}
	}
	return 0
}

// Stricter is the one of two modes that lets less through.
func Stricter(a, b Mode) Mode {
	if b.strictness() > a.strictness() {
		return b
	}
	return a
}
