package slot

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

// byNetip is OfCaller with net/netip for the parser.
func byNetip(source string) Place {
	if strings.Count(source, ":") < 2 {
		host, _, _ := strings.Cut(source, ":")
		return ofText(host)
	}
	host := source
	if strings.HasPrefix(host, "[") {
		host, _, _ = strings.Cut(host[1:], "]")
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return ofText(host)
	}
	if addr.Is4In6() {
		return ofText(addr.Unmap().String())
	}
	b := addr.As16()
	return ofText(string(b[:8]))
}

func same(t *testing.T, source string) {
	t.Helper()
	host := strings.TrimPrefix(source, "[")
	host, _, _ = strings.Cut(host, "]")
	for _, s := range []string{source, "[" + source + "]:443", host} {
		if got, want := OfCaller(s), byNetip(s); got != want {
			t.Errorf("%q is at %d, want %d", s, got, want)
		}
	}
	a, ok := parseAddress(host)
	addr, err := netip.ParseAddr(host)
	if ok != (err == nil) {
		t.Errorf("%q is read: %v, want %v", host, ok, err)
	}
	if err != nil || addr.Is4() {
		return
	}
	b := addr.As16()
	for i, group := range a {
		if group != uint16(b[2*i])<<8|uint16(b[2*i+1]) {
			t.Errorf("%q is read as %x, want %x", host, a, b)
			return
		}
	}
}

var sources = []string{
	"", "a", "192.0.2.1", "192.0.2.1:80", "/a/socket", "a:b:c", "::", ":", ":::", "::1", "1::", "1::2", "1:2:3:4:5:6:7:8",
	"1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7", "::2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "1::3:4:5:6:7:8", "1:2:3:4::5:6:7:8", "1::2::3",
	"2001:DB8::a:b", "2001:db8:0:1::%eth0", "fe80::1%", "fe80::1%a%b", "%a::", "::%1", "::ffff:192.0.2.1", "::FFFF:c000:201",
	"::ffff:192.0.2.1%z", "::192.0.2.1", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5::1.2.3.4", "1:2:3:4:5:6::1.2.3.4",
	"1.2.3.4::", "1:2:3:4:5:6:1.2.3.4::", "::1.2.3.4:5", "::1.2.3", "::1.2.3.4.5", "::01.2.3.4", "::256.1.1.1", "::1..3.4", "::.1.2.3", "::1.2.3.",
	"12345::", "::00001", "::g", "::@", "::`", "::1 ", " ::1", ":1::2", "1::2:", "[::1", "::1]:5", "[1.2.3.4]:1:2", "[1.2.3.4.5]:1:2", "[]::", "[a]::",
	"::0.0.0.0", "::1a.1.1.1", "0:0:0:0:0:ffff:0:0", "::ffff:0:0:0",
}

func TestCallersAreReadAsNetipReadsThem(t *testing.T) {
	for _, s := range sources {
		same(t, s)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200_000 { // what is nearly an address
		var b strings.Builder
		for range rnd.IntN(12) {
			b.WriteString([]string{":", ":", "::", ".", "0", "1", "25", "ffff", "a", "%", "fe80", "::ffff:", "1.2.3.4", "12345", "[", "]"}[rnd.IntN(16)])
		}
		same(t, b.String())
	}
	for range 20_000 {
		var b [16]byte
		for i := range b {
			b[i] = byte(rnd.Uint32() & rnd.Uint32() & rnd.Uint32() & rnd.Uint32())
		}
		same(t, netip.AddrFrom16(b).String())
		same(t, netip.AddrFrom16(b).StringExpanded())
	}
	if !t.Failed() && OfCaller("[2001:db8::1]:1") != OfCaller("2001:db8::2") {
		t.Error("two addresses of one caller are at two places")
	}
}

func FuzzCallers(f *testing.F) {
	for _, s := range sources {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { same(t, s) })
}
