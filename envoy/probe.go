package envoy

import (
	"fmt"
	"net"
	"net/url"
	"strconv"

	"google.golang.org/protobuf/types/known/structpb"
)

// ProbeNode is the header of an answer to ProbeDomain that names the proxy: behind
// one address there may be another than was asked.
const ProbeNode = "x-safestate-node"

// nodeID is the id of the proxy that writes it, in a header that a route adds.
const nodeID = "%CEL(xds.node.id)%"

// ProbeMetadata is the key of a proxy's node metadata that says where it is asked for
// ProbeDomain, as ParseProbe takes it. Without it that is the address that the proxy
// connects from, at the port of Options.Listen.
const ProbeMetadata = "safestate.probe"

// ParseProbe takes apart where a proxy is asked: "http://HOST:PORT", or https for a
// listener with TLS. Without a host it is the one that the proxy connects from.
func ParseProbe(text string) (scheme, host, port string, err error) {
	u, err := url.Parse(text)
	if err == nil {
		host, port, err = net.SplitHostPort(u.Host)
	}
	n := 0
	if err == nil {
		n, err = strconv.Atoi(port)
	}
	if err != nil || n < 1 || n > 65535 || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", "", "", fmt.Errorf("probe address %q: want http://HOST:PORT, https://HOST:PORT or without a host http://:PORT", text)
	}
	return u.Scheme, host, port, nil
}

// nodeMetadata is what a proxy says of itself; nil: nothing.
func nodeMetadata(o Options) (*structpb.Struct, error) {
	if o.Probe == "" {
		return nil, nil //nolint:nilnil // it says nothing
	}
	if _, _, _, err := ParseProbe(o.Probe); err != nil {
		return nil, err
	}
	return &structpb.Struct{Fields: map[string]*structpb.Value{ProbeMetadata: structpb.NewStringValue(o.Probe)}}, nil
}
