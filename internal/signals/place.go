package signals

import (
	"net/netip"
	"strings"
)

// Place is one of Places places, in one of which every caller is.
type Place uint8

// FNV-1a, 64 bits: draft-eastlake-fnv. It has no seed, so that every replica
// puts a caller in the same place.
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// PlaceOf returns the place of who asks. source is an address with or without a
// port, as Envoy's source.address has it; anything else counts as a name. Of an
// IPv6 address the first 64 bits count, which is the least that one caller has.
func PlaceOf(source string) Place {
	h := uint64(fnvOffset)
	if strings.IndexByte(source, ':') == strings.LastIndexByte(source, ':') { // IPv4, a name, a socket's path
		host, _, _ := strings.Cut(source, ":")
		for i := range len(host) {
			h = (h ^ uint64(host[i])) * fnvPrime
		}
		return fold(h)
	}
	host := source
	if host[0] == '[' {
		host, _, _ = strings.Cut(host[1:], "]")
	}
	addr, err := netip.ParseAddr(host)
	if err == nil && addr.Is4In6() {
		return PlaceOf(addr.Unmap().String())
	}
	if err != nil {
		for i := range len(host) {
			h = (h ^ uint64(host[i])) * fnvPrime
		}
		return fold(h)
	}
	b := addr.As16()
	for _, c := range b[:8] {
		h = (h ^ uint64(c)) * fnvPrime
	}
	return fold(h)
}

// fold takes the highest bits of a product: FNV's own low ones depend on the low
// bits of the text alone.
func fold(h uint64) Place { return Place((h * 0x9E3779B97F4A7C15) >> 58) }
