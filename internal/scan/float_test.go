package scan

import (
	"math/big"
	"testing"
)

// The table is recomputed with exact arithmetic, its exponents with it.
func TestPowers(t *testing.T) {
	for e := minPower; e <= maxPower; e++ {
		num, den := big.NewInt(1), big.NewInt(1)
		ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(e, -e))), nil)
		if e >= 0 {
			num = ten
		} else {
			den = ten
		}
		// 10^e * 2^(63-floor(log2 10^e)), rounded down.
		if shift := 63 - (e*217706)>>16; shift >= 0 {
			num = new(big.Int).Lsh(num, uint(shift))
		} else {
			den = new(big.Int).Lsh(den, uint(-shift))
		}
		want := new(big.Int).Quo(num, den)
		if !want.IsUint64() || want.Uint64() != powers[e-minPower] || want.Uint64()>>63 != 1 {
			t.Fatalf("10^%d: %x, want %x", e, powers[e-minPower], want)
		}
	}
}
