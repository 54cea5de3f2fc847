package xds

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	serverconfig "github.com/envoyproxy/go-control-plane/pkg/server/config"
	deltav3 "github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	sotwv3 "github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"
	"google.golang.org/grpc/codes"
)

// Both protocols' loops are go-control-plane's. It reads requests, keeps what
// is asked for, and numbers answers. Here a stream is at once the loop's
// gRPC stream, where requests are booked and answers made, and its
// configuration cache, which says when one is due.

// loop are the settings of both. An empty request for clusters or listeners
// asks for all of them; of the other types it asks for none, as the protocol
// has it and gRPC's client relies on.
var loop = []serverconfig.XDSOption{
	sotwv3.WithOrderedADS(),
	serverconfig.DeactivateLegacyWildcardForTypes([]string{endpoints.url(), routes.url(), secrets.url(), runtimes.url()}),
}

// serveDelta serves one incremental stream.
func (s *Server) serveDelta(raw streamv3.DeltaStream, service string) error {
	c, err := s.open(s.identityOf(raw.Context()), service, true)
	if err != nil {
		s.tellDenied("", err)
		return err
	}
	defer c.close()
	d := &deltaStream{DeltaStream: raw, stream: c}
	return c.reason(deltav3.NewServer(s.ctx, c, nil, loop...).DeltaStreamHandler(d, service))
}

// serveWhole serves one state-of-the-world stream.
func (s *Server) serveWhole(raw streamv3.Stream, service string) error {
	c, err := s.open(s.identityOf(raw.Context()), service, false)
	if err != nil {
		s.tellDenied("", err)
		return err
	}
	defer c.close()
	w := &wholeStream{Stream: raw, stream: c}
	return c.reason(sotwv3.NewServer(s.ctx, c, nil, loop...).StreamHandler(w, service))
}

type deltaStream struct {
	streamv3.DeltaStream
	stream *stream
}

// Recv returns the next request that concerns the loop.
func (d *deltaStream) Recv() (*discoveryv3.DeltaDiscoveryRequest, error) {
	for {
		r, err := d.DeltaStream.Recv()
		if err != nil {
			return nil, err
		}
		pass, err := d.stream.receive(request{
			node: r.GetNode(), typeURL: r.GetTypeUrl(), nonce: r.GetResponseNonce(), refusal: r.GetErrorDetail(),
			names: r.GetResourceNamesSubscribe(), dropped: r.GetResourceNamesUnsubscribe(), has: r.GetInitialResourceVersions(),
		})
		// The loop keeps both as long as the stream lives, and needs neither.
		r.Node, r.InitialResourceVersions = nameOnly(r.GetNode()), nil
		if pass || err != nil {
			return r, err
		}
	}
}

// Send fills the loop's answer, which has its nonce, and sends it.
func (d *deltaStream) Send(r *discoveryv3.DeltaDiscoveryResponse) error {
	k, _ := kindOf(r.GetTypeUrl())
	b := d.stream.answer(k, r.GetNonce())
	r.SystemVersionInfo, r.Resources, r.RemovedResources = b.delta.SystemVersionInfo, b.delta.Resources, b.delta.RemovedResources
	return d.SendMsg(&envelope{Message: r, body: b, nonce: r.GetNonce()})
}

// nameOnly leaves out what else a proxy says of itself: of Envoy's all extensions
// that it has, tens of kilobytes.
func nameOnly(n *corev3.Node) *corev3.Node {
	if n == nil {
		return nil
	}
	return &corev3.Node{Id: n.GetId()}
}

type wholeStream struct {
	streamv3.Stream
	stream *stream
}

// Recv returns the next request that concerns the loop.
func (w *wholeStream) Recv() (*discoveryv3.DiscoveryRequest, error) {
	for {
		r, err := w.Stream.Recv()
		if err != nil {
			return nil, err
		}
		pass, err := w.stream.receive(request{
			node: r.GetNode(), typeURL: r.GetTypeUrl(), nonce: r.GetResponseNonce(), refusal: r.GetErrorDetail(),
			names: r.GetResourceNames(), version: r.GetVersionInfo(),
		})
		r.Node = nameOnly(r.GetNode())
		if pass || err != nil {
			return r, err
		}
	}
}

// Send fills the loop's answer, which has its nonce, and sends it.
func (w *wholeStream) Send(r *discoveryv3.DiscoveryResponse) error {
	k, _ := kindOf(r.GetTypeUrl())
	b := w.stream.answer(k, r.GetNonce())
	r.VersionInfo, r.Resources = b.whole.VersionInfo, b.whole.Resources
	return w.SendMsg(&envelope{Message: r, body: b, nonce: r.GetNonce()})
}

// CreateDeltaWatch implements cachev3.ConfigWatcher: the proxy waits for an
// answer. What is handed over is empty: Send makes it of what is newest then.
// So the loop has nothing to remember, and is given maps of its own to do so.
func (c *stream) CreateDeltaWatch(r *cachev3.DeltaRequest, view cachev3.Subscription, out chan cachev3.DeltaResponse) (func(), error) {
	return c.watch(r.GetTypeUrl(), view, func() {
		out <- &cachev3.DeltaPassthroughResponse{
			DeltaRequest:           r,
			DeltaDiscoveryResponse: &discoveryv3.DeltaDiscoveryResponse{TypeUrl: r.GetTypeUrl()},
			NextVersionMap:         map[string]string{},
		}
	})
}

// CreateWatch implements cachev3.ConfigWatcher, as CreateDeltaWatch.
func (c *stream) CreateWatch(r *cachev3.Request, view cachev3.Subscription, out chan cachev3.Response) (func(), error) {
	return c.watch(r.GetTypeUrl(), view, func() {
		out <- &cachev3.PassthroughResponse{
			Request:           r,
			DiscoveryResponse: &discoveryv3.DiscoveryResponse{TypeUrl: r.GetTypeUrl()},
			ReturnedResources: map[string]string{},
		}
	})
}

// watch notes that the proxy waits, and returns how the loop ends that. view is
// the loop's: it changes it only after that. tell does not block: the loop's
// channels have room for an answer of every kind, and there is one at a time.
//
// By delta the loop gives every answer that it was told of, also where it waits
// anew meanwhile: told a second time it would send a second one, and the word on
// one be taken for that on the other. The other loop drops it.
func (c *stream) watch(typeURL string, view cachev3.Subscription, tell func()) (cancel func(), err error) {
	k, _ := kindOf(typeURL)
	if n := len(view.SubscribedResources()); n > maxNames {
		return nil, deny(CauseRequest, codes.ResourceExhausted, "the stream asks for %d %s by name, at most %d are allowed", n, k, maxNames)
	}
	sub := &c.subs[k]
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if c.closed.IsZero() {
		sub.view, sub.wildcard, sub.tell = view, view.IsWildcard(), tell
		sub.open, sub.dirty = true, true
		sub.told = sub.told && c.delta
		sub.trim()
		c.advance()
		c.server.retire()
		c.server.review(c.node)
	}
	return c.server.locked(func() { sub.open = false }), nil
}
