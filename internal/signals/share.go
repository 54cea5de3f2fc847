package signals

import (
	"context"
	"strings"
)

// share is what one peer takes of the room that a hub has: streams, reporters,
// their rows, and versions that the configuration does not name. Of each it gets
// half at the most, so that one host that has gone mad, or was taken over, leaves
// the others room to be heard. A replica's relay is a peer like any other.
type share struct{ streams, reporters, rows, strays int }

// shareOf is what a peer takes. Those whose names nobody proves take nothing: they
// cannot be told apart.
func (h *Hub) shareOf(peer string) share {
	if s := h.peers[peer]; s != nil {
		return *s
	}
	return share{}
}

// hasRoom reports whether a peer that takes used may take one more of most.
func hasRoom(used, most int) bool { return used < most/2 }

// charge adds to what a peer takes, or takes off.
func (h *Hub) charge(peer string, more share) {
	if peer == "" {
		return
	}
	s := h.peers[peer]
	if s == nil {
		s = &share{}
		h.peers[peer] = s
	}
	s.streams += more.streams
	s.reporters += more.reporters
	s.rows += more.rows
	s.strays += more.strays
	if *s == (share{}) {
		delete(h.peers, peer)
	}
}

// nameless is the peer that has no name, where others have one.
const nameless = "nobody"

// peerOf is the name of a stream's peer; empty: the transport proves none.
func (h *Hub) peerOf(ctx context.Context) string {
	if h.o.Identity == nil {
		return ""
	}
	names, proven := h.o.Identity(ctx)
	switch {
	case !proven:
		return ""
	case len(names) == 0:
		return nameless
	}
	return strings.Join(names, " ")
}
