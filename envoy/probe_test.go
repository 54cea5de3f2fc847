package envoy

import "testing"

func TestABootstrapSaysWhereTheProxyIsAsked(t *testing.T) {
	b, err := Bootstrap(Options{Probe: "https://:10443"})
	if err != nil || b.GetNode().GetMetadata().GetFields()[ProbeMetadata].GetStringValue() != "https://:10443" {
		t.Errorf("%v, %v", b.GetNode(), err)
	}
	if b, err := Bootstrap(Options{}); err != nil || b.GetNode().GetMetadata() != nil {
		t.Errorf("%v, %v", b.GetNode(), err)
	}
	for _, bad := range []string{"10443", "http://x", "ftp://x:1", "unix:///s", "http://x:1/y", "http://x:70000"} {
		if _, err := Bootstrap(Options{Probe: bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
