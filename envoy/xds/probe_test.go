package xds

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/safestate/safestate/envoy"
)

// A proxy says where it is asked. To another host than its own it sends nobody, unless
// the transport has proven who it is.
func TestWhereAProxyIsAsked(t *testing.T) {
	near := identity{address: "10.0.0.7:40000", host: "10.0.0.7"}
	proven := near
	proven.proven = true
	for _, x := range []struct {
		who        identity
		said, want string
	}{
		{near, "", ""},
		{near, "http://:10443", "http://10.0.0.7:10443"},
		{near, "https://10.0.0.7:10443", "https://10.0.0.7:10443"},
		{near, "http://10.0.0.8:10443", ""},
		{proven, "http://10.0.0.8:10443", "http://10.0.0.8:10443"},
		{proven, "https://[2001:db8::1]:443", "https://[2001:db8::1]:443"},
		{identity{address: "[2001:db8::1]:40000", host: "2001:db8::1"}, "http://:80", "http://[2001:db8::1]:80"},
		{identity{address: "@", host: "@"}, "http://:80", "http://127.0.0.1:80"},
		{proven, "unix:///run/docker.sock", ""},
		{proven, "http://10.0.0.8:10443/path", ""},
		{proven, "http://user@10.0.0.8:10443", ""},
		{proven, "http://10.0.0.8", ""},
		{proven, "http://10.0.0.8:0", ""},
		{proven, "10.0.0.8:80", ""},
	} {
		node := &corev3.Node{Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{envoy.ProbeMetadata: structpb.NewStringValue(x.said)}}}
		if got := probeOf(node, &x.who); got != x.want {
			t.Errorf("%q of %+v: %q, want %q", x.said, x.who, got, x.want)
		}
	}
}
