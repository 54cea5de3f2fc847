package policy

import (
	"math"
	"testing"
)

// TestKillMark: what is written is read; what is no such thing marks no kill.
func TestKillMark(t *testing.T) {
	for _, mark := range []uint64{1, 0xf00, math.MaxUint64} {
		if got := KillMark(KillsOf(3, mark)); got != mark {
			t.Errorf("%x is read as %x", mark, got)
		}
	}
	for _, text := range []string{"", "3", "3-", "3-x", "-", "3-10000000000000000"} {
		if got := KillMark(text); got != 0 {
			t.Errorf("%q is read as %x", text, got)
		}
	}
}
