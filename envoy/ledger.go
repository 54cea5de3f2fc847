package envoy

import (
	"cmp"
	"context"
	"slices"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
)

// ProxyState is what one connected proxy said of one type of resource.
type ProxyState struct {
	Node     string
	TypeURL  string
	Accepted uint64 // how often
	Refused  uint64 // how often
	Version  string // the last accepted one; empty: none
	// RefusedVersion and Message are the refusal that still stands: empty once
	// a later version was accepted.
	RefusedVersion string
	Message        string
}

// ledger remembers what was sent on which stream and what came back.
// go-control-plane's server does not read a refusal's message, and sends a
// refused version again at once where the protocol is state-of-the-world.
type ledger struct {
	observer   Observer // may be nil
	onAccepted func()   // called without the lock, must not block

	mu      sync.Mutex
	streams map[streamKey]*proxyStream
}

// streamKey: the two protocols count their streams apart.
type streamKey struct {
	delta bool
	id    int64
}

type proxyStream struct {
	node  string
	types map[string]*typeState
}

type typeState struct {
	nonce string // of the last response
	sent  string // its version
	ProxyState
}

func newLedger(o Observer, onAccepted func()) *ledger {
	return &ledger{observer: o, onAccepted: onAccepted, streams: map[streamKey]*proxyStream{}}
}

func (l *ledger) callbacks() serverv3.Callbacks {
	return serverv3.CallbackFuncs{
		StreamClosedFunc:      func(id int64, _ *corev3.Node) { l.close(streamKey{false, id}) },
		DeltaStreamClosedFunc: func(id int64, _ *corev3.Node) { l.close(streamKey{true, id}) },
		StreamRequestFunc: func(id int64, r *discoveryv3.DiscoveryRequest) error {
			refused := l.request(streamKey{false, id}, r.GetNode(), r.GetTypeUrl(), r.GetResponseNonce(), r.GetErrorDetail())
			if refused != "" {
				// Park it: the server takes the request for an acceptance and
				// waits for the next version.
				r.VersionInfo = refused
			}
			return nil
		},
		StreamResponseFunc: func(_ context.Context, id int64, _ *discoveryv3.DiscoveryRequest, r *discoveryv3.DiscoveryResponse) {
			l.response(streamKey{false, id}, r.GetTypeUrl(), r.GetNonce(), r.GetVersionInfo())
		},
		StreamDeltaRequestFunc: func(id int64, r *discoveryv3.DeltaDiscoveryRequest) error {
			l.request(streamKey{true, id}, r.GetNode(), r.GetTypeUrl(), r.GetResponseNonce(), r.GetErrorDetail())
			return nil
		},
		StreamDeltaResponseFunc: func(id int64, _ *discoveryv3.DeltaDiscoveryRequest, r *discoveryv3.DeltaDiscoveryResponse) {
			l.response(streamKey{true, id}, r.GetTypeUrl(), r.GetNonce(), r.GetSystemVersionInfo())
		},
	}
}

func (l *ledger) close(key streamKey) {
	l.mu.Lock()
	delete(l.streams, key)
	l.mu.Unlock()
	l.onAccepted() // nobody waits for this proxy any longer
}

func (l *ledger) state(key streamKey, typeURL string) *typeState {
	s := l.streams[key]
	if s == nil {
		s = &proxyStream{types: map[string]*typeState{}}
		l.streams[key] = s
	}
	t := s.types[typeURL]
	if t == nil {
		t = &typeState{ProxyState: ProxyState{TypeURL: typeURL}}
		s.types[typeURL] = t
	}
	t.Node = s.node
	return t
}

func (l *ledger) response(key streamKey, typeURL, nonce, version string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.state(key, typeURL)
	t.nonce, t.sent = nonce, version
}

// request books an acceptance or a refusal, and returns the version that is
// refused, if one is.
func (l *ledger) request(key streamKey, node *corev3.Node, typeURL, nonce string, refusal *rpcstatus.Status) (refused string) {
	l.mu.Lock()
	if s := l.streams[key]; s == nil || s.node == "" {
		l.state(key, typeURL)
		l.streams[key].node = node.GetId()
	}
	t := l.state(key, typeURL)
	if nonce == "" || nonce != t.nonce { // a subscription, or about an older response
		l.mu.Unlock()
		return ""
	}
	id, version := t.Node, t.sent
	accepted := refusal == nil
	first := accepted && t.Version != version
	if accepted {
		t.Accepted++
		t.Version, t.RefusedVersion, t.Message = version, "", ""
	} else {
		t.Refused++
		t.RefusedVersion, t.Message = version, refusal.GetMessage()
	}
	l.mu.Unlock()

	if !accepted {
		if l.observer != nil {
			l.observer.Refused(id, typeURL, version, refusal.GetMessage())
		}
		return version
	}
	if l.observer != nil && first {
		l.observer.Accepted(id, typeURL, version)
	}
	l.onAccepted()
	return ""
}

// allAccepted reports whether every stream that was sent this type has
// accepted this version of it.
func (l *ledger) allAccepted(typeURL, version string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.streams {
		if t := s.types[typeURL]; t != nil && t.sent != "" && t.Version != version {
			return false
		}
	}
	return true
}

func (l *ledger) states() []ProxyState {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []ProxyState
	for _, s := range l.streams {
		for _, t := range s.types {
			out = append(out, t.ProxyState)
		}
	}
	slices.SortFunc(out, func(a, b ProxyState) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.TypeURL, b.TypeURL))
	})
	return out
}

// typeVersion is the content hash of the resources of one type, in the order
// of their names.
func typeVersion(items []types.Resource) string {
	ms := make([]proto.Message, len(items))
	for i, r := range items {
		ms[i] = r
	}
	slices.SortFunc(ms, func(a, b proto.Message) int {
		return cmp.Compare(cachev3.GetResourceName(a), cachev3.GetResourceName(b))
	})
	return hashOf(ms)
}
