package xds

import (
	"context"
	"fmt"
	"net"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
)

const (
	// maxNodes bounds the proxies that peers are known by. One more is refused
	// then, and none forgotten for it: one that is silent may still serve what was
	// taken out.
	maxNodes = 25_000
	// DefaultPeerNodes is half of that, so that no peer alone keeps all others out.
	DefaultPeerNodes = maxNodes / 2
	// streamsPerNode bounds a peer's streams, by its node ids: most proxies have
	// one.
	streamsPerNode = 2
)

// identity is who is at the other end of a stream: the names that the transport
// has proven, and where it comes from. proven is false where the transport
// vouches for nobody.
type identity struct {
	names   []string
	proven  bool
	address string
	host    string // of address
}

func (s *Server) identityOf(ctx context.Context) (i identity) {
	if s.options.Identity != nil {
		i.names, i.proven = s.options.Identity(ctx)
	}
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		i.address = p.Addr.String()
		i.host = i.address
		if host, _, err := net.SplitHostPort(i.address); err == nil {
			i.host = host
		}
	}
	return i
}

// account is by what a peer's node ids and streams are counted: all proven names
// together, or the host.
func (i *identity) account() string {
	if i.proven {
		return "names\x00" + strings.Join(i.names, "\x00")
	}
	return "host\x00" + i.host
}

// String names the peer in an error.
func (i *identity) String() string {
	if i.proven {
		return printable(fmt.Sprintf("the certificate of %q", i.names), maxNode)
	}
	return fmt.Sprintf("the host %q", i.host)
}

// account is what one peer takes of the ledger's room.
type account struct{ nodes, streams int }

// charge changes what a peer is charged with. One that has nothing more is
// forgotten.
func (l *ledger) charge(key string, nodes, streams int) {
	a := l.accounts[key]
	a.nodes += nodes
	a.streams += streams
	if a == (account{}) {
		delete(l.accounts, key)
		return
	}
	l.accounts[key] = a
}

// roomForNode refuses a node id that is new where there are enough.
func (s *Server) roomForNode(c *stream) error {
	if len(s.ledger.nodes) >= maxNodes {
		return deny(CauseRoom, codes.ResourceExhausted,
			"%d proxies are known, and no more are taken: one that is gone is forgotten after %s, or when it is deregistered",
			len(s.ledger.nodes), s.options.Expect)
	}
	if most := s.options.PeerNodes; s.ledger.accounts[c.account].nodes >= most {
		return deny(CauseRoom, codes.ResourceExhausted,
			"%s has %d node ids, and no more are taken: a proxy that restarts has to keep its node.id, or to have a certificate of its own; one that is gone is forgotten after %s",
			&c.who, most, s.options.Expect)
	}
	return nil
}

// roomForStream refuses a peer's stream where it has enough.
func (s *Server) roomForStream(c *stream) error {
	if most := streamsPerNode * s.options.PeerNodes; s.ledger.accounts[c.account].streams >= most {
		return deny(CauseRoom, codes.ResourceExhausted, "%s has %d streams open, and no more are taken", &c.who, most)
	}
	return nil
}

// own charges the peer of a node's newest stream with it.
func (n *node) own(l *ledger, key string) {
	if n.owner == key {
		return
	}
	n.disown(l)
	n.owner = key
	l.charge(key, 1, 0)
}

// disown charges nobody with it any longer.
func (n *node) disown(l *ledger) {
	if n.owner != "" {
		l.charge(n.owner, -1, 0)
		n.owner = ""
	}
}
