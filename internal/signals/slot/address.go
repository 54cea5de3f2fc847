package slot

import (
	"strconv"
	"strings"
)

// address is an IPv6 address in its eight groups. It is read as net/netip reads
// it, which a test holds it against; netip's own addresses come with a table of
// zones that is shared by the whole process, and ten times the code.
type address [8]uint16

// parseAddress reads an IP address without a port; an IPv4 address has all zeros
// in its first four groups.
func parseAddress(s string) (a address, ok bool) {
	switch i := strings.IndexAny(s, ".:%"); {
	case i < 0 || s[i] == '%':
		return a, false
	case s[i] == '.':
		_, ok = dotted(s)
		return a, ok
	}
	s, zone, zoned := strings.Cut(s, "%")
	if zoned && zone == "" {
		return a, false
	}
	front, back, gap := strings.Cut(s, "::")
	if !gap {
		n, ok := groups(a[:], front, true)
		return a, ok && n == len(a)
	}
	var tail address
	n, ok := groups(a[:], front, false)
	m, good := groups(tail[:], back, true)
	if !ok || !good || n+m >= len(a) { // the gap is one group at least
		return a, false
	}
	copy(a[len(a)-m:], tail[:m])
	return a, true
}

// groups reads groups with colons between them, and returns how many there are; of
// the last one of an address an IPv4 address may take the place, and that of two.
func groups(dst []uint16, s string, last bool) (n int, ok bool) {
	for more := s != ""; more; n++ {
		var one string
		one, s, more = strings.Cut(s, ":")
		if n == len(dst) {
			return n, false
		}
		if v4, ok := dotted(one); ok && last && !more {
			if n+2 > len(dst) {
				return n, false
			}
			dst[n], dst[n+1] = uint16(v4>>16), uint16(v4)
			return n + 2, true
		}
		if len(one) > 4 || !hexadecimal(one) {
			return n, false
		}
		v, _ := strconv.ParseUint(one, 16, 16) // it is four digits at most
		dst[n] = uint16(v)
	}
	return n, true
}

func hexadecimal(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; (c < '0' || c > '9') && (c < 'a' || c > 'f') || s[i] < '0' {
			return false
		}
	}
	return s != ""
}

// dotted reads an IPv4 address: four numbers up to 255, without leading zeros.
func dotted(s string) (v4 uint32, ok bool) {
	for n := 1; ; n++ {
		one, rest, more := strings.Cut(s, ".")
		v := 0
		for i := range len(one) {
			if v = v*10 + int(one[i]-'0'); one[i] < '0' || one[i] > '9' || v > 255 || i > 0 && one[0] == '0' {
				return 0, false
			}
		}
		if one == "" || more != (n < 4) {
			return 0, false
		}
		v4, s = v4<<8|uint32(v), rest
		if !more {
			return v4, true
		}
	}
}

// v4 returns the IPv4 address that an address stands for, as ::ffff:192.0.2.1.
func (a address) v4() (string, bool) {
	if [5]uint16(a[:5]) != [5]uint16{} || a[5] != 0xffff {
		return "", false
	}
	text := make([]byte, 0, len("255.255.255.255"))
	for i, b := range [...]uint16{a[6] >> 8, a[6] & 0xff, a[7] >> 8, a[7] & 0xff} {
		if i > 0 {
			text = append(text, '.')
		}
		text = strconv.AppendUint(text, uint64(b), 10)
	}
	return string(text), true
}
