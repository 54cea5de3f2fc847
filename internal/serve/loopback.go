package serve

import (
	"fmt"
	"net"
	"net/netip"
)

// onlyLocal refuses an address that other machines reach. In plain text whoever is
// on the way reads what callers ask and writes what they get; that a policy has to
// be signed there keeps nobody from sending one that was.
func onlyLocal(flag, address string) error {
	if _, ok := cutUnix(address); ok {
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%s %q is no address: want host:port or unix:PATH", flag, address)
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsLoopback() || host == "localhost" {
		return nil
	}
	return fmt.Errorf("%s %s can be dialled by other machines, in plain text: "+
		"want --tls-cert, --tls-key and --tls-client-ca, a loopback address or unix:PATH, or ask for it by --grpc-unprotected", flag, address)
}
