package serve

import (
	"fmt"
	"net"
	"net/netip"
)

// onlyLocal refuses an address that other machines reach. Whoever can dial the
// gRPC port can bring a policy of its own making, which names endpoints and
// files: policies are not signed, so only this machine may.
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
	return fmt.Errorf("%s %s can be dialled by other machines, and policies are not signed: "+
		"want a loopback address or unix:PATH, or ask for it by --grpc-unprotected", flag, address)
}
