package signing

import "sync"

// Signer signs policies with one key, each once: proxies' configurations are made
// anew with every release, and their policies rarely change. It is safe for
// concurrent use.
type Signer struct {
	key Private
	id  string

	mu    sync.Mutex
	known map[Subject]string
}

// mostKnown bounds what a signer remembers; past it, it begins anew.
const mostKnown = 4096

// NewSigner makes a signer of a key.
func NewSigner(key Private) *Signer {
	return &Signer{key: key, id: key.Public().ID, known: map[Subject]string{}}
}

// KeyID names the key; empty for a nil Signer.
func (s *Signer) KeyID() string {
	if s == nil {
		return ""
	}
	return s.id
}

// Public is the key that verifies what it signs.
func (s *Signer) Public() Public { return s.key.Public() }

// Sign makes the signature of a route's policy.
func (s *Signer) Sign(route, namespace, policy string) string {
	about := Subject{Route: route, Namespace: namespace, Policy: policy}
	s.mu.Lock()
	text, known := s.known[about]
	s.mu.Unlock()
	if known {
		return text
	}
	text = s.key.Sign(about)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= mostKnown {
		clear(s.known)
	}
	s.known[about] = text
	return text
}
