package compile

import (
	"math/big"
	"slices"
)

// apportion divides total among parts in proportion, in whole numbers that sum
// to it: by the largest remainders (Hamilton's method), the earlier part among
// equals. A part of 0 gets 0; all do where all parts are 0.
func apportion(parts []*big.Int, total uint64) []uint64 {
	sum := new(big.Int)
	for _, p := range parts {
		sum.Add(sum, p)
	}
	out := make([]uint64, len(parts))
	if sum.Sign() == 0 {
		return out
	}
	rest := total
	order, remainders := make([]int, len(parts)), make([]*big.Int, len(parts))
	for i, p := range parts {
		share := new(big.Int).Mul(p, new(big.Int).SetUint64(total))
		share, remainders[i] = share.QuoRem(share, sum, new(big.Int))
		order[i], out[i] = i, share.Uint64()
		rest -= out[i]
	}
	slices.SortStableFunc(order, func(a, b int) int { return remainders[b].Cmp(remainders[a]) })
	for _, i := range order[:rest] {
		out[i]++
	}
	return out
}

func wholeNumbers(in []uint64) []*big.Int {
	out := make([]*big.Int, len(in))
	for i, n := range in {
		out[i] = new(big.Int).SetUint64(n)
	}
	return out
}
