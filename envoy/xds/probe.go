package xds

import (
	"net"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/safestate/safestate/envoy"
)

// maxProbe bounds what a proxy says of where it is asked, in bytes.
const maxProbe = 512

// probeOf is where a proxy says that it is asked by which kills it routes; empty: it
// does not say, or may not. Whoever asks connects there: to another host than the one
// that it comes from a proxy may send it only if the transport has proven who it is.
func probeOf(node *corev3.Node, who *identity) string {
	said := node.GetMetadata().GetFields()[envoy.ProbeMetadata].GetStringValue()
	if said == "" || len(said) > maxProbe {
		return ""
	}
	scheme, host, port, err := envoy.ParseProbe(said)
	if err != nil || host != "" && host != who.host && !who.proven {
		return ""
	}
	if host == "" {
		host = who.near()
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// near is the host that a peer comes from; one of a Unix socket is on this machine.
func (i *identity) near() string {
	if host, _, err := net.SplitHostPort(i.address); err == nil {
		return host
	}
	return "127.0.0.1"
}
