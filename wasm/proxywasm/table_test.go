package proxywasm

import (
	"math/rand/v2"
	"testing"
)

// TestTableIsAMap does the same to a table and to a map, with ids as hosts give
// them out: one after the other, in steps, and anyhow.
func TestTableIsAMap(t *testing.T) {
	for name, id := range map[string]func(i int, r *rand.Rand) uint32{
		"one after the other": func(i int, _ *rand.Rand) uint32 { return uint32(i) },
		"in steps":            func(i int, _ *rand.Rand) uint32 { return uint32(4 * i) },
		"anyhow":              func(_ int, r *rand.Rand) uint32 { return r.Uint32N(500) * 0x10001 },
	} {
		r := rand.New(rand.NewPCG(1, 2))
		var tab table[int]
		want := map[uint32]int{}
		var known []uint32
		for i := range 20_000 {
			n := id(i, r)
			if _, ok := want[n]; !ok && r.IntN(3) > 0 {
				*tab.put(n) = i
				want[n] = i
				known = append(known, n)
			}
			if len(known) > 0 && r.IntN(2) == 0 {
				k := r.IntN(len(known))
				n := known[k]
				known[k] = known[len(known)-1]
				known = known[:len(known)-1]
				if got := tab.take(n); got != want[n] {
					t.Fatalf("%s: %d has %d, want %d", name, n, got, want[n])
				}
				delete(want, n)
			}
			if v := tab.get(n); (v != nil) != has(want, n) || v != nil && *v != want[n] {
				t.Fatalf("%s: %d is wrong", name, n)
			}
		}
		if tab.count != len(want) {
			t.Errorf("%s: %d, want %d", name, tab.count, len(want))
		}
		for n, v := range want {
			if got := tab.get(n); got == nil || *got != v {
				t.Errorf("%s: %d is lost", name, n)
			}
		}
	}
}

func has(m map[uint32]int, n uint32) bool {
	_, ok := m[n]
	return ok
}

func TestEmptyTable(t *testing.T) {
	var tab table[int]
	if tab.get(1) != nil || tab.take(1) != 0 {
		t.Error("an empty table has something")
	}
}
