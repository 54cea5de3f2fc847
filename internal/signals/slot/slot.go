// Package slot says where an answer counts: by who asked, and by how long it took.
// Every host puts the same answer in the same place, whoever counts it. It is pure.
package slot

import (
	"math/bits"
	"strings"

	"github.com/safestate/safestate/internal/time"
)

const (
	// Places is into how many places callers are put, by a hash of who they are.
	Places = 64
	// Buckets is how many buckets latencies have: bucket i holds those of less
	// than 2^i ms, the last one all others (262 s and more).
	Buckets = 20
)

// MostName is the longest name that rows have, in bytes.
const MostName = 256

// Name returns a name as rows have it: valid UTF-8 of at most MostName bytes.
func Name(name string) string {
	if len(name) > MostName {
		name = name[:MostName]
	}
	return strings.ToValidUTF8(name, "?")
}

// OfLatency returns the bucket of a latency; a negative one counts as none.
func OfLatency(took time.Duration) int {
	return min(bits.Len64(uint64(max(took.Milliseconds(), 0))), Buckets-1)
}

// Place is one of Places places, in one of which every caller is.
type Place uint8

// FNV-1a, 64 bits: draft-eastlake-fnv. It has no seed, so that every replica
// puts a caller in the same place.
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// OfCaller returns the place of who asks. source is an address with or without a
// port, as Envoy's source.address has it; anything else counts as a name. Of an
// IPv6 address the first 64 bits count, which is the least that one caller has.
func OfCaller(source string) Place {
	if strings.IndexByte(source, ':') == strings.LastIndexByte(source, ':') { // IPv4, a name, a socket's path
		host, _, _ := strings.Cut(source, ":")
		return ofText(host)
	}
	host := source
	if host[0] == '[' {
		host, _, _ = strings.Cut(host[1:], "]")
	}
	a, ok := parseAddress(host)
	if !ok {
		return ofText(host)
	}
	if v4, ok := a.v4(); ok {
		return ofText(v4)
	}
	h := uint64(fnvOffset)
	for _, group := range a[:4] {
		h = (h ^ uint64(group>>8)) * fnvPrime
		h = (h ^ uint64(group&0xff)) * fnvPrime
	}
	return fold(h)
}

func ofText(s string) Place {
	h := uint64(fnvOffset)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * fnvPrime
	}
	return fold(h)
}

// fold takes the highest bits of a product: FNV's own low ones depend on the low
// bits of the text alone.
func fold(h uint64) Place { return Place((h * 0x9E3779B97F4A7C15) >> 58) }
