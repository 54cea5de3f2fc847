package control

import (
	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/signing"
)

// signer is who signs policies now; nil: nobody.
func (c *Control) signer() *signing.Signer {
	if c.o.Signer == nil {
		return nil
	}
	return c.o.Signer()
}

func signedBy(s *signing.Signer, o envoy.Options) envoy.Options {
	if s != nil {
		o.Sign = s.Sign
	}
	return o
}

// Resign publishes what holds once more where another key signs now.
func (c *Control) Resign() { c.publishNow() }

// Signed is the key that signed the policies which this replica's proxies were
// given last, empty before there are any, and the proxies that may not have them,
// each in a line.
func (c *Control) Signed() (keyID string, lacking []string) {
	c.publishing.Lock()
	by, version := c.rendered.signer, c.rendered.version
	c.publishing.Unlock()
	if by == nil {
		return "", nil
	}
	return by.KeyID(), c.proofs.lacking(version)
}

// lacking are the proxies that may not have a configuration of this replica's. One
// that has gone to another replica is that one's.
func (p *proofs) lacking(version string) (out []string) {
	proof := p.xds.Proof(version)
	if !proof.Known || !p.expects() {
		return []string{"which proxies there are is not known yet"}
	}
	p.mu.Lock()
	elsewhere := p.look().elsewhere
	p.mu.Unlock()
	for _, m := range proof.Missing {
		if m.Reason != xds.Silent || !elsewhere[m.Node] {
			out = append(out, "proxy "+m.Node+": "+string(m.Reason))
		}
	}
	return out
}
